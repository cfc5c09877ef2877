"""Days that are due, and the pieces in which they are read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollup import days
from rollup.days import due, parse_day, parse_duration, pieces, seconds_until_next, span, start_of

DAY = timedelta(days=1)
TODAY = date(2026, 3, 17)

some_days = st.sets(st.dates(date(2024, 1, 1), date(2026, 3, 17)), max_size=60)


def test_a_first_run_fills_every_day_from_the_first_activity_to_today() -> None:
    assert due(date(2024, 2, 27), date(2024, 3, 2), set()) == [
        date(2024, 2, 27),
        date(2024, 2, 28),
        date(2024, 2, 29),
        date(2024, 3, 1),
        date(2024, 3, 2),
    ]


def test_later_runs_write_missing_days_today_and_the_three_days_before() -> None:
    present = set(span(TODAY - 20 * DAY, TODAY)) - {TODAY - 9 * DAY, TODAY - 15 * DAY}
    assert due(TODAY - 20 * DAY, TODAY, present) == [
        TODAY - 15 * DAY,
        TODAY - 9 * DAY,
        TODAY - 3 * DAY,
        TODAY - 2 * DAY,
        TODAY - DAY,
        TODAY,
    ]


def test_no_activity_makes_no_day_due() -> None:
    assert due(None, TODAY, set()) == []
    assert due(TODAY + DAY, TODAY, set()) == []
    assert due(TODAY, TODAY, set()) == [TODAY]


def test_a_time_of_long_ago_does_not_make_twenty_thousand_days_due() -> None:
    found = due(date(1970, 1, 1), TODAY, set())
    assert (len(found), found[-1]) == (days.LONGEST_DAYS + 1, TODAY)


@given(some_days)
def test_pieces_hold_all_days_once_and_in_order_and_none_is_too_long(wanted: set[date]) -> None:
    found = pieces(wanted)
    assert [day for piece in found for day in piece.days] == sorted(wanted)
    for piece in found:
        assert (piece.first, piece.last) == (piece.days[0], piece.days[-1])
        assert (piece.last - piece.first).days < days.PIECE_DAYS


def test_a_piece_with_the_days_before_it_fits_the_bits_of_a_bigint() -> None:
    assert days.PIECE_DAYS + days.WINDOW_DAYS - 1 <= 63


def test_a_day_begins_at_midnight_in_utc() -> None:
    assert start_of(date(2024, 2, 29)) == datetime(2024, 2, 29, tzinfo=UTC)


def test_a_range_that_ends_before_it_begins_has_no_days() -> None:
    assert list(span(TODAY, TODAY - DAY)) == []
    assert list(span(TODAY, TODAY)) == [TODAY]


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("90s", 90), ("5m", 300), ("1h", 3600), ("24h", 86_400)])
def test_durations_have_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "m", "0m", "-5m", "5 m", "05m", "1.5h", "9s", "25h", "1d", "5M", "٥m", "5m\n"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_a_day_is_written_as_iso_8601_has_it() -> None:
    assert parse_day("2024-02-29") == date(2024, 2, 29)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "today",
        "2026-02-30",
        "2025-02-29",
        "2026-13-01",
        "0000-01-01",
        "20260101",
        "2026-1-1",
        "2026-W01-1",
        "2026-01-01T00:00",
        "01.02.2026",
        "٢٠٢٦-٠١-٠١",
        "2026-01-01\n",
    ],
)
def test_anything_else_is_no_day(text: str) -> None:
    with pytest.raises(ValueError, match="day"):
        parse_day(text)


@given(st.floats(0, 4e9), st.integers(10, 86_400))
def test_the_next_run_is_at_a_full_multiple_and_never_now(now: float, every: int) -> None:
    wait = seconds_until_next(now, every)
    assert 0 < wait <= every
    assert round(now + wait, 3) % every == pytest.approx(0, abs=1e-3) or (now + wait) % every > every - 1e-3
