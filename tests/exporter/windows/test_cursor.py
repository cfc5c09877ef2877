"""The start of the rows that a refresh reads."""

from __future__ import annotations

import pytest

from exporter.windows import DAY, HOUR, MINUTE, SECOND
from exporter.windows.cursor import LATE, SOMEWHAT_LATE, ReadCursor
from tests.exporter.windows.arrays import NOON


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
