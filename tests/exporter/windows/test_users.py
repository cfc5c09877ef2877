"""Counts by user, and percentiles of them, without a database."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.windows.users import UserCounts, percentile
from tests.exporter.windows.arrays import rows


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
    """Each step advances by some minutes and re-reads the last three; the model keeps every row."""
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
