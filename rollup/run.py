"""One run of the roll-up: choose the days, read them in pieces, add the queue's depth, write day by day.

store (existing days) -> days (due days) -> queue_depth (from Prometheus) + daily (from PostgreSQL) -> store (write)
                                   `--every`: window (from PostgreSQL, new rows only) ──────┘
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from psycopg import AsyncConnection

from exporter.sources.postgres import Postgres
from rollup import daily, store
from rollup.daily import Row
from rollup.days import DAY, PIECE_DAYS, Piece, due, pieces, span
from rollup.errors import Refused, RunFailed
from rollup.progress import Progress
from rollup.queue_depth import ASK_AGAIN_DAYS, QueueDepths
from rollup.window import DayWindow


@dataclass(frozen=True, slots=True)
class Range:
    """The requested days, both included; None for the first activity, or for today."""

    first: date | None
    last: date | None


async def choose(connection: AsyncConnection[Any], asked: Range | None) -> list[Piece]:
    """Return the pieces to write. Raises Refused for days that have not begun, or are before the first activity."""
    today = (await store.read_now(connection)).date()
    if asked is None:
        return pieces(await _due(connection, today))
    first_activity = await daily.read_first_activity(connection)
    for day in (asked.first, asked.last):
        if day is not None and day > today:
            raise Refused(f"{day} has not begun: today is {today} (UTC, by the database's clock)")
    if first_activity is None:
        raise Refused(
            "there is no activity at all, and so nothing to write: repeat this once users have logged in or sent"
            " requests"
        )
    first, last = asked.first or first_activity, asked.last or today
    if first > last:
        raise Refused(f"the first day ({first}) is after the last one ({last})")
    if last < first_activity:
        # Earlier rows may have been deleted since: the days written from them are kept.
        raise Refused(f"the first activity there is was on {first_activity}: nothing is known of days before that")
    return pieces(span(max(first, first_activity), last))


async def _due(connection: AsyncConnection[Any], today: date) -> list[date]:
    first_activity = await daily.read_first_activity(connection)
    return due(first_activity, today, (await store.read_depths(connection)).keys())


@dataclass(frozen=True, slots=True)
class Due:
    """The days of a run of `--every`: those that the window has, and the pieces with the others."""

    rows: Sequence[Row] = ()
    others: Sequence[Piece] = ()


async def read_due(connection: AsyncConnection[Any], window: DayWindow, postgres: Postgres) -> Due:
    """Read the days that a run without a range writes, as far as the window has them. `postgres` reads by connections
    of its own.

    Raises RunFailed where these reach another server than `connection`.
    """
    today = (await store.read_now(connection)).date()
    days = await _due(connection, today)
    if not days:
        return Due()
    rows = await window.read(postgres, min(day for day in days if day > today - PIECE_DAYS * DAY))
    if await store.read_start(connection) != window.server_started:
        raise RunFailed("PostgreSQL: two connections reached two servers: nothing was written")
    if rows[-1].date != today:  # midnight has passed
        days = await _due(connection, rows[-1].date)
    held = [row for row in rows if row.date in days]
    read = {row.date for row in held}
    return Due(held, pieces(day for day in days if day not in read))


async def read(connection: AsyncConnection[Any], piece: Piece, known: Mapping[date, int]) -> list[Row]:
    """Return the complete rows of a piece, with the queue's depth where it is known."""
    rows = await daily.read_days(connection, piece)
    return [replace(row, max_queue_depth=known.get(row.date)) for row in rows]


async def write(
    connection: AsyncConnection[Any],
    chosen: Sequence[Piece],
    depths: QueueDepths,
    progress: Progress,
    held: Sequence[Row] = (),
) -> int:
    """Write all pieces, and rows `held` already, a transaction per day; return the number of days written.

    Days that were written while Prometheus was unreachable get their queue's depth.
    """
    days = [*days_of(chosen), *(row.date for row in held)]
    without = await _without_depth(connection, days)
    known = await depths.read([*days, *without])
    for piece in chosen:
        progress.reading(piece)
        for row in await read(connection, piece, known):
            await store.write(connection, row)
            progress.wrote(row.date)
    for row in held:
        await store.write(connection, replace(row, max_queue_depth=known.get(row.date)))
        progress.wrote(row.date)
    for day in without:
        if day in known:
            await store.write_depth(connection, day, known[day])
    return len(days)


def days_of(chosen: Sequence[Piece]) -> list[date]:
    """Return all days of the pieces."""
    return [day for piece in chosen for day in piece.days]


async def _without_depth(connection: AsyncConnection[Any], written: Sequence[date]) -> list[date]:
    """Return the recent days without a depth, except those that this run writes."""
    today = (await store.read_now(connection)).date()
    return [
        day
        for day, depth in (await store.read_depths(connection)).items()
        if depth is None and day not in written and today - ASK_AGAIN_DAYS * DAY <= day <= today
    ]
