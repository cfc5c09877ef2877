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
    Integers,
    LatestActivity,
    MinuteSums,
    ReadCursor,
    UserCounts,
    minute,
    percentile,
)

NOON = 1_767_268_800_000_000  # 2026-01-01 12:00 UTC


def rows(*values: tuple[int, ...]) -> Integers:
    return np.array(values, dtype=np.int64)


def test_a_minute_is_open_at_its_start_and_closed_at_its_end() -> None:
    assert minute(NOON) == NOON // MINUTE
    assert minute(NOON + 1) == NOON // MINUTE + 1
    assert minute(NOON - 1) == NOON // MINUTE
    assert minute(NOON - MINUTE + 1) == NOON // MINUTE


def test_a_cursor_fills_at_first_and_then_reads_what_late_commits_can_still_change() -> None:
    cursor = ReadCursor(DAY)
    assert cursor.since(NOON) == (NOON - DAY, True)
    cursor.advance(NOON, fill=True)
    assert cursor.since(NOON + 15_000_000) == (NOON - LATE, False)


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


def test_a_cursor_asks_for_a_resync_once_an_hour() -> None:
    cursor = ReadCursor(DAY)
    cursor.advance(NOON, fill=True)
    cursor.advance(NOON + HOUR - 1, fill=False)
    assert not cursor.filling
    cursor.advance(NOON + HOUR, fill=False)
    assert cursor.filling
    cursor.advance(NOON + HOUR + 1, fill=True)
    assert not cursor.filling


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
