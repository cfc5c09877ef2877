"""Sums by minute, without a database."""

from __future__ import annotations

import pytest

from exporter.windows.minutes import MinuteSums
from tests.exporter.windows.arrays import rows


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
