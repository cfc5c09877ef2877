"""The latest activity of users, without a database."""

from __future__ import annotations

import numpy as np

from exporter.windows.latest import LatestActivity, latest_of
from tests.exporter.windows.arrays import rows


def test_the_latest_activity_of_a_user_is_a_maximum() -> None:
    latest = LatestActivity()
    latest.merge(rows((5, 100), (3, 50), (5, 90)))
    latest.merge(rows((3, 70), (5, 80), (9, 60)))
    assert latest.since(0).tolist() == [3, 5, 9]
    assert latest.since(69).tolist() == [3, 5]
    assert latest.since(70).tolist() == [5]
    latest.forget(70)
    assert latest.since(0).tolist() == [5]


def test_merging_tells_how_many_users_are_new_or_were_active_later() -> None:
    latest = LatestActivity()
    assert latest.merge(rows((5, 100), (3, 50), (5, 90))) == 2
    assert latest.merge(rows((5, 100), (3, 40))) == 0
    assert latest.merge(rows((5, 101), (3, 50), (9, 1))) == 2


def test_a_second_look_lowers_and_raises_and_finds_who_vanished() -> None:
    latest = LatestActivity()
    latest.merge(rows((1, 100), (2, 60), (3, 55), (4, 52), (5, 50)))
    assert latest.check(50, 60, rows((1, 58), (2, 57), (3, 55), (7, 51))) == (2, 1)  # 2 lower, 7 new; 4 vanished
    assert [latest.since(time).tolist() for time in (99, 57, 56, 55, 54)] == [[1], [1], [1, 2], [1, 2], [1, 2, 3]]
    assert latest.since(0).tolist() == [1, 2, 3, 4, 5, 7]
    assert latest.check(50, 60, rows((1, 58), (2, 57), (3, 59), (4, 52), (7, 51))) == (1, 0)


def test_what_is_filled_by_ranges_is_what_is_merged() -> None:
    some, others = rows((-7, 3), (-9, 5), (-7, 4)), rows((2, 1), (8, 9))
    merged = LatestActivity()
    merged.merge(np.concatenate([others, some]))
    filled = LatestActivity.of([latest_of(some), latest_of(others)])
    for time in range(10):
        assert filled.since(time).tolist() == merged.since(time).tolist()
    assert LatestActivity.of([]).since(0).tolist() == []


def test_users_are_counted_by_class_and_newcomers_have_none() -> None:
    latest = LatestActivity()
    latest.merge(rows((1, 10), (2, 20), (3, 30)))
    assert latest.unclassed().tolist() == [1, 2, 3]
    latest.classify(np.array([1, 2, 3, 99]), np.array([0, 1, 0, 1], dtype=np.int8))
    assert latest.count(0, 3).tolist() == [2, 1, 0]
    assert latest.count(10, 3).tolist() == [1, 1, 0]
    latest.merge(rows((0, 5), (2, 25)))
    assert latest.unclassed().tolist() == [0]
    latest.classify(np.array([0]), np.array([2], dtype=np.int8))
    latest.forget(10)
    assert latest.count(0, 3).tolist() == [1, 1, 0]


def test_what_differs_is_told_for_what_both_can_know() -> None:
    before, after = LatestActivity(), LatestActivity()
    before.merge(rows((1, 10), (2, 20), (3, 30), (4, 40), (5, 45)))
    after.merge(rows((1, 10), (2, 19), (4, 40), (5, 60), (6, 35), (7, 70)))
    assert before.differing(after, until=50) == 3  # 2 is lower, 3 gone, 6 added; 5 and 7 were active since


def test_merging_nothing_changes_nothing() -> None:
    latest = LatestActivity()
    latest.merge(np.empty((0, 2), dtype=np.int64))
    assert latest.since(0).tolist() == []
