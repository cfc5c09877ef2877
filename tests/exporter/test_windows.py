"""Sliding windows, without a database: minutes, users, latest activity, percentiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.windows import (
    DAY,
    HOUR,
    LATE,
    MINUTE,
    SECOND,
    SOMEWHAT_LATE,
    Integers,
    LatestActivity,
    MinuteSums,
    ReadCursor,
    UserCounts,
    Wheel,
    latest_of,
    minute,
    percentile,
)

NOON = 1_767_268_800_000_000  # 2026-01-01 12:00 UTC


def rows(*values: tuple[int, ...]) -> Integers:
    return np.array(values, dtype=np.int64).reshape(len(values), -1 if values else 3)


def test_a_minute_is_open_at_its_start_and_closed_at_its_end() -> None:
    assert minute(NOON) == NOON // MINUTE
    assert minute(NOON + 1) == NOON // MINUTE + 1
    assert minute(NOON - 1) == NOON // MINUTE
    assert minute(NOON - MINUTE + 1) == NOON // MINUTE


def test_a_cursor_fills_at_first_and_then_reads_what_late_commits_can_still_change() -> None:
    cursor = ReadCursor(DAY)
    assert cursor.since(NOON) == (NOON - DAY, True)
    cursor.advance(NOON, fill=True)
    assert cursor.since(NOON + MINUTE) == (NOON - LATE, False)


def test_a_cursor_looks_back_far_once_in_a_while_and_else_a_minute() -> None:
    cursor = ReadCursor(DAY)
    cursor.advance(NOON, fill=True)
    starts = []
    for refresh in range(1, 9):
        now = NOON + refresh * 15 * SECOND
        starts.append(cursor.since(now)[0])
        cursor.advance(now, fill=False)
    near, far = NOON - SOMEWHAT_LATE, NOON - LATE
    assert starts == [near, near, far, near, near + MINUTE, far, near + MINUTE, near + MINUTE]


def test_a_cursor_whose_refresh_failed_looks_back_far_again() -> None:
    cursor = ReadCursor(DAY)
    cursor.advance(NOON, fill=True)
    for refresh in (3, 4):
        assert cursor.since(NOON + refresh * 15 * SECOND) == (NOON - LATE, False)


def test_a_cursor_looks_back_far_when_it_is_told_to() -> None:
    cursor = ReadCursor(DAY)
    cursor.advance(NOON, fill=True)
    cursor.look_back()
    assert cursor.since(NOON + 15 * SECOND) == (NOON - LATE, False)
    cursor.advance(NOON + 15 * SECOND, fill=False)
    assert cursor.since(NOON + 30 * SECOND) == (NOON - SOMEWHAT_LATE, False)


def test_a_cursor_reads_all_of_a_gap() -> None:
    cursor = ReadCursor(DAY)
    cursor.since(NOON)
    cursor.advance(NOON, fill=True)
    start, fill = cursor.since(NOON + 40 * MINUTE)
    assert (start, fill) == (NOON - LATE, False)


@pytest.mark.parametrize("later", [-1, HOUR, DAY], ids=["the clock went back", "a gap worth a resync", "a long gap"])
def test_a_cursor_fills_again_when_what_it_has_is_of_no_use(later: int) -> None:
    cursor = ReadCursor(DAY)
    cursor.advance(NOON, fill=True)
    assert cursor.since(NOON + later)[1]


def test_a_fill_that_was_not_finished_is_a_fill_again() -> None:
    cursor = ReadCursor(DAY)
    cursor.advance(NOON, fill=True)
    assert not cursor.filling
    cursor.since(NOON - 1)
    assert cursor.filling


def test_a_cursor_fills_when_it_is_told_to() -> None:
    cursor = ReadCursor(DAY)
    cursor.advance(NOON, fill=True)
    cursor.filling = True
    assert cursor.since(NOON + 1) == (NOON + 1 - DAY, True)
    cursor.advance(NOON + 1, fill=True)
    assert not cursor.filling


@given(
    wheel=st.sampled_from([Wheel(HOUR, 25, HOUR), Wheel(HOUR, 721, DAY), Wheel(10 * MINUTE, 7, HOUR)]),
    start=st.integers(NOON, NOON + DAY),
    steps=st.lists(st.integers(1, 20 * MINUTE), max_size=50),
)
def test_every_part_that_is_over_is_read_again_once_in_a_period(wheel: Wheel, start: int, steps: list[int]) -> None:
    now, end, read = start, start + wheel.period, list[tuple[int, int]]()
    for step in [*steps, wheel.period]:
        later = min(now + step, end)
        due = wheel.due(now, later)
        assert all(until <= later and until - since == wheel.length for since, until in due)
        read += due
        now = later
    newest = start // wheel.length
    for number in range(newest - wheel.parts + wheel.period // wheel.length + 1, newest):
        assert (number * wheel.length, (number + 1) * wheel.length) in read
    assert len(read) <= wheel.parts + 1


def test_turns_are_spread_evenly_and_a_long_gap_is_no_more_than_one_of_each() -> None:
    wheel = Wheel(HOUR, 24, HOUR)
    seen = [len(wheel.due(NOON + step * MINUTE // 4, NOON + (step + 1) * MINUTE // 4)) for step in range(240)]
    assert (sum(seen), max(seen)) == (24, 1)
    assert len(wheel.due(NOON - 30 * DAY, NOON)) == 24
    assert wheel.due(NOON, NOON) == []
    assert wheel.due(NOON, NOON - HOUR) == []


def test_minutes_are_replaced_whole_and_those_without_a_row_become_zero() -> None:
    sums = MinuteSums(span=10, width=2)
    sums.replace(0, 5, rows((1, 10, 1), (4, 40, 4), (5, 50, 5)))
    assert sums.total(0, 5).tolist() == [100, 10]
    sums.replace(3, 6, rows((6, 60, 6)))
    assert sums.total(0, 6).tolist() == [70, 7]


def test_minutes_that_left_the_ring_are_gone() -> None:
    sums = MinuteSums(span=5, width=1)
    sums.replace(0, 5, rows(*((m, 1) for m in range(1, 6))))
    sums.replace(4, 8, rows((7, 100)))
    assert sums.total(3, 8).tolist() == [101]
    with pytest.raises(ValueError, match="6 minutes"):
        sums.total(2, 8)


def test_replacing_tells_by_how_much_it_changed_each_sum() -> None:
    sums = MinuteSums(span=10, width=2)
    assert sums.replace(0, 5, rows((1, 10, 1), (4, 40, 4))).tolist() == [50, 5]
    assert sums.replace(0, 5, rows((1, 10, 1), (4, 40, 4))).tolist() == [0, 0]
    assert sums.replace(0, 5, rows((1, 13, 1), (5, 40, 4))).tolist() == [3 + 40 + 40, 4 + 4]
    assert sums.replace(5, 5, rows()).tolist() == [0, 0]


def test_rows_outside_what_is_replaced_are_left_out() -> None:
    sums = MinuteSums(span=5, width=1)
    sums.replace(2, 4, rows((2, 1), (3, 10), (4, 100), (5, 1000)))
    assert sums.total(0, 5).tolist() == [110]


def test_user_counts_follow_what_is_replaced_and_forgotten() -> None:
    counts = UserCounts()
    counts.replace(0, 3, rows((1, 7, 2), (2, 7, 1), (2, 8, 5), (3, 9, 1)))
    nobody = np.empty((0, 2), dtype=np.int64)
    assert sorted(counts.with_edge(nobody)) == [1, 3, 5]
    counts.replace(1, 4, rows((4, 9, 4)))
    assert sorted(counts.with_edge(nobody)) == [2, 4]
    counts.forget(1)
    assert sorted(counts.with_edge(nobody)) == [4]


def test_an_edge_counts_once_and_leaves_no_trace() -> None:
    counts = UserCounts()
    counts.replace(0, 1, rows((1, 7, 2)))
    edge = rows((7, 3), (8, 1))
    assert sorted(counts.with_edge(edge)) == [1, 5]
    assert sorted(counts.with_edge(edge)) == [1, 5]


steps = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3)), max_size=8)), max_size=20
)


@given(steps)
def test_user_counts_equal_counting_everything_again(steps: list[tuple[int, list[tuple[int, int]]]]) -> None:
    """Each step goes on by some minutes and re-reads the last three; the model keeps every row."""
    counts, model, now = UserCounts(), list[tuple[int, int]](), 0
    for passed, new in steps:
        now += passed
        model = [row for row in model if row[0] > now - 10] + [
            (now - age, user) for age, user in new if age < 3 and now - age > now - 10
        ]
        recent = [row for row in model if now - 3 < row[0] <= now]
        grouped = [(*row, recent.count(row)) for row in sorted(set(recent))]
        counts.replace(now - 3, now, np.array(grouped, dtype=np.int64).reshape(-1, 3))
        counts.forget(now - 10)
        by_user = [sum(user == row[1] for row in model) for user in {row[1] for row in model}]
        assert sorted(counts.with_edge(np.empty((0, 2), dtype=np.int64)).tolist()) == sorted(by_user)


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
    assert before.differing(after, until=50) == 3  # 2 is lower, 3 gone, 6 come; 5 and 7 were active since


def test_merging_nothing_changes_nothing() -> None:
    latest = LatestActivity()
    latest.merge(np.empty((0, 2), dtype=np.int64))
    assert latest.since(0).tolist() == []


@pytest.mark.parametrize(
    ("counts", "fraction", "expected"),
    [
        ([4], 0.9, 4.0),
        ([1, 2], 0.5, 1.5),
        ([3, 1, 2], 0.5, 2.0),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.9, 9.1),
        ([10, 20], 0.9, 19.0),
    ],
)
def test_a_percentile_lies_between_neighbours_as_percentile_cont_has_it(
    counts: list[int], fraction: float, expected: float
) -> None:
    assert percentile(np.array(counts, dtype=np.int64), fraction) == pytest.approx(expected, rel=1e-15)
