"""The days that a run fills, and their pieces: pure, on dates; every day is a UTC day.

`store.py` reads the existing days, `daily.py` the rows of the pieces made here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

DAY = timedelta(days=1)

RECENT_DAYS = 3
"""Number of days before today that every run rewrites, because rows may be committed late."""

WINDOW_DAYS = 30
"""Days in the window of `mau`."""

PIECE_DAYS = 63 - (WINDOW_DAYS - 1)
"""Number of days per pass: 34, as a user's days with those of the window before them are the 63 bits of a bigint
(`daily.py`). The rows of 29 days are read by two pieces, one right after the other. Longer pieces would need more
integers per user, at a cost that equals the saving."""

LONGEST_DAYS = 10 * 366
"""Longest reach of a run without a range: one row with a time of 1970 must not create twenty thousand empty days."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Days that are read together: `first` to `last`, of which `days` are to be written."""

    first: date
    last: date
    days: tuple[date, ...]


def span(first: date, last: date) -> Iterator[date]:
    """Return the days from `first` to `last`, both included; none when `last` comes before."""
    return (first + index * DAY for index in range((last - first).days + 1))


def due(first_activity: date | None, today: date, present: AbstractSet[date]) -> list[date]:
    """Return the days of a run without a range: those missing since the first activity, and the recent ones."""
    if first_activity is None or first_activity > today:
        return []
    recent = today - RECENT_DAYS * DAY
    first = max(first_activity, today - LONGEST_DAYS * DAY)
    return [day for day in span(first, today) if day >= recent or day not in present]


def pieces(days: Iterable[date]) -> list[Piece]:
    """Return the days, in order, in pieces of at most `PIECE_DAYS`; a long gap in them begins a new piece."""
    found: list[list[date]] = []
    for day in sorted(days):
        if not found or (day - found[-1][0]).days >= PIECE_DAYS or (day - found[-1][-1]).days > RECENT_DAYS * 10:
            found.append([])
        found[-1].append(day)
    return [Piece(group[0], group[-1], tuple(group)) for group in found]


def start_of(day: date) -> datetime:
    """Return the instant at which a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


_UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> int:
    """Return the seconds of `90s`, `5m` or `1h`, from ten seconds to a day. Raises ValueError on anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smh])", text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 10 <= seconds <= 86_400:
        raise ValueError(f"should be a duration from 10s to 24h, as in 90s, 5m or 1h, not {text!r}")
    return seconds


def parse_day(text: str) -> date:
    """Return the day of `2026-01-31`. Raises ValueError on anything else."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text!r} is no day of the calendar") from None
    raise ValueError(f"should be a day, as in 2026-01-31, not {text!r}")


def seconds_until_next(now: float, every: int) -> float:
    """Return the seconds to the next whole multiple of `every` seconds since the epoch: runs are aligned to the
    clock."""
    return every - now % every
