"""The days that can still change, held between the runs of `--every`: a run reads new and late rows only.

    rows = await window.read(postgres, missing)         the days that can still change, as of one snapshot

The engine of sliding windows decides on the reading (`exporter/windows/history.py`): new rows at each run, parts of the
past in turn. Held are the users of each day (`masks.py`), and the sums of each minute: requests, and latencies by
`completed_at`. The values of a day are made of these; nothing is counted twice, as minutes and days are replaced whole.

What a re-reading cannot correct is read as a whole day: users of whom a row is gone may have others that day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from exporter.columns import USER
from exporter.errors import MOST_REPEATS, CollectionFailed, MadeWay, SourceUnavailable
from exporter.sources.postgres import Postgres, Transaction, microseconds, moment
from exporter.windows import DAY, HOUR, MINUTE, Integers, Part
from exporter.windows.history import History, ReadPlan
from exporter.windows.minutes import MinuteSums
from exporter.windows.pieces import in_pieces
from exporter.windows.sql import CLOCK_MINUTE_BIN, CLOCK_MINUTE_OF
from exporter.windows.versions import TimedRows
from rollup.daily import JOB_TABLES, LEAD_DAYS, SUCCEEDED, TABLES, Row
from rollup.days import DAY as ONE_DAY
from rollup.days import PIECE_DAYS, RECENT_DAYS
from rollup.errors import failure_of_source
from rollup.masks import BITS, DayMasks

HORIZON = (LEAD_DAYS + RECENT_DAYS + 1) * DAY
"""The days that are written, and those before them that their 30-day users need."""

JOBS_REACH = (RECENT_DAYS + 1) * DAY
"""Latencies matter for the days that are written, not for the days before them."""

RECHECK = 4 * HOUR
"""Time within which each hour of the last day is checked; every older day is checked once a day."""

_EPOCH = date(1970, 1, 1)

_TIMES = "{0} >= %(start)s AND {0} < %(end)s"

# Grouped by the id itself, and hashed once per user. Rows without a user count as requests, and never as users.
_USERS = f"""
SELECT coalesce({USER.format("active.user_id")}, 0), (active.user_id IS NOT NULL)::integer::bigint, active.rows
FROM (SELECT user_id, count(*) AS rows FROM ({
    " UNION ALL ".join(f"SELECT user_id FROM {table} WHERE {_TIMES.format('created_at')}" for table in TABLES)
}) AS activity GROUP BY user_id) AS active
"""

# The bit of a row's day, as in `masks.py`. One pass over all days costs less than one per day: a user who comes every
# day is hashed once.
_MASKS = f"""
SELECT {USER.format("active.user_id")}, active.mask
FROM (SELECT user_id, bit_or(1::bigint << (floor(date_part('epoch', created_at) / 86400)::integer %% {BITS})) AS mask
      FROM ({
    " UNION ALL ".join(
        f"SELECT user_id, created_at FROM {table} WHERE {_TIMES.format('created_at')} AND user_id IS NOT NULL"
        for table in TABLES
    )
}) AS activity GROUP BY user_id) AS active
"""

_COUNT = "SELECT " + " + ".join(
    f"(SELECT count(*) FROM {table} WHERE {_TIMES.format('created_at')})" for table in TABLES
)

_AI, _PREVIEWS, _ROWS, _WITH_USER = range(4)
"""The sums of a minute by `created_at`: AI requests, preview requests, rows of activity, those with a user."""

_REQUESTS = " UNION ALL ".join(
    f"SELECT {CLOCK_MINUTE_OF.format('created_at')}, {ai}, {previews}, count(*), count(user_id) FROM {table}"
    f" WHERE {_TIMES.format('created_at')} GROUP BY {CLOCK_MINUTE_BIN.format('created_at')}"
    for table, ai, previews in (
        ("sessions", "0::bigint", "0::bigint"),
        ("ai_usage_events", "count(*)", "0::bigint"),
        ("preview_jobs", "0::bigint", "count(*)"),
    )
)

_JOBS, _MICROSECONDS = range(2)
"""The sums of a minute by `completed_at`: jobs that succeeded, and their latencies."""

_LATENCIES = " UNION ALL ".join(
    f"SELECT {CLOCK_MINUTE_OF.format('completed_at')}, count(*), sum(microseconds)::bigint FROM ("
    " SELECT completed_at,"
    " ((date_part('epoch', completed_at) - date_part('epoch', created_at)) * 1000000)::bigint AS microseconds"
    f" FROM {table} WHERE {_TIMES.format('completed_at')} AND {SUCCEEDED}) AS jobs"
    f" GROUP BY {CLOCK_MINUTE_BIN.format('completed_at')}"
    for table in JOB_TABLES
)


@dataclass(frozen=True, slots=True)
class _Users:
    """The users of a day, or of a part of one, and the number of rows of activity with and without a user."""

    users: Integers
    rows: int


@dataclass(frozen=True, slots=True)
class _Sums:
    """The sums by minute of a part."""

    part: Part
    requests: Integers
    latencies: Integers


class DayWindow:
    """The days that can still change, and the users of the 29 days before them."""

    def __init__(self) -> None:
        rows = [TimedRows(table, f"{table}.created_at", from_start=True) for table in TABLES]
        rows += [
            TimedRows(table, f"{table}.completed_at", SUCCEEDED, reach=JOBS_REACH, from_start=True)
            for table in JOB_TABLES
        ]
        self._history = History(
            "rollup",
            HORIZON,
            rows,
            known=self._rows_in,
            begins=self._begins,
            older=DAY,
            recheck=RECHECK,
        )
        self._missing: int | None = None
        self._now = 0
        self._empty()
        self.fills = 0
        """Number of readings of everything."""
        self.server_started: datetime | None = None
        """The start of the server that was read, which no two servers share."""

    async def read(self, postgres: Postgres, missing: date | None = None) -> list[Row]:
        """Return the rows of the days that can still change, without the queue's depth; on a first reading those since
        `missing` too, if that is in reach.

        A first reading reads all rows of 33 days, or of those that `missing` needs; another one new and late rows, and
        a part of the past. Raises RunFailed or Refused.
        """
        self._missing = None if missing is None else (missing - _EPOCH).days
        try:
            for _ in range(MOST_REPEATS):
                try:
                    return await self._read(postgres)
                except MadeWay:
                    await postgres.made_way()
            return await self._read(postgres)
        except (SourceUnavailable, CollectionFailed) as error:
            raise failure_of_source(error) from error

    async def _read(self, postgres: Postgres) -> list[Row]:
        self._history.look_back()  # runs are rare: each finds all rows committed within five minutes
        async with self._history.reading(postgres) as plan:
            today = plan.now // DAY
            written = range(plan.begin // DAY + LEAD_DAYS, today + 1)
            if plan.fill:
                await self._fill(plan, written)
            else:
                await self._follow(plan, written)
            self.fills += plan.fill
            self.server_started = plan.transaction.started
        return [self._row(day) for day in written]

    def _begins(self, now: datetime) -> int:
        """Return the start of the first day held: 29 days before the first one that is written."""
        self._now = microseconds(now)
        today = self._now // DAY
        first = today - RECENT_DAYS
        if self._is_empty and self._missing is not None:
            first = max(min(first, self._missing), today - PIECE_DAYS + 1)
        return (first - LEAD_DAYS) * DAY

    def _empty(self) -> None:
        self._is_empty = True
        self._masks = DayMasks()
        span = (PIECE_DAYS + 1) * DAY // MINUTE
        self._requests, self._latencies = MinuteSums(span, 4), MinuteSums(span, 2)
        self._day_rows: dict[int, int] = {}  # rows of activity of the days before those that have sums by minute
        self._doubtful: set[int] = set()
        self._corrected_at = 0

    def _rows_in(self, part: Part) -> int:
        """Return the number of rows of a part: an hour, or a day."""
        jobs = self._total(self._latencies, part)[_JOBS] if part.start > self._now - JOBS_REACH else 0
        counted = self._day_rows.get(part.start // DAY)
        return int(jobs + (self._total(self._requests, part)[_ROWS] if counted is None else counted))

    async def _fill(self, plan: ReadPlan, written: range) -> None:
        transaction, end = plan.transaction, written[-1] + 1
        masks = DayMasks()
        masks.forget(plan.begin // DAY)

        async def read(piece: Part) -> list[Integers]:
            blocks: list[Integers] = []
            await transaction.integers_in_blocks(_MASKS, 2, _period(piece), blocks.append)
            return blocks

        async for _, blocks in in_pieces(transaction, Part(plan.begin, end * DAY), read, first=DAY):
            rows = np.concatenate([np.empty((0, 2), dtype=np.int64), *blocks])
            masks.merge(rows[:, 0], rows[:, 1].view(np.uint64))
        before = range(plan.begin // DAY, written[0])
        day_rows = {day: await self._count(transaction, _day(day)) for day in before}
        sums = [await self._sums(transaction, _day(day)) for day in written]
        self._empty()
        self._is_empty, self._masks, self._day_rows = False, masks, day_rows
        for each in sums:
            self._replace(each)

    async def _follow(self, plan: ReadPlan, written: range) -> None:
        """Read new rows, those of the rest of today too, as a row's time may be ahead of the database's clock; and the
        parts of the past that have changed."""
        transaction = plan.transaction
        new = [*_by_day(Part(plan.new.start, (written[-1] + 1) * DAY))]
        hours = [part for part in plan.recheck if part.end - part.start < DAY]
        days = {part.start // DAY for part in plan.recheck if part.end - part.start == DAY}
        users = [(part, await self._users(transaction, part)) for part in (*new, *hours)]
        sums = [await self._sums(transaction, part) for part in (*new, *hours)]
        sums += [await self._sums(transaction, _day(day)) for day in days if day >= written[0]]
        doubtful = self._doubtful.union(*map(self._losing, sums))
        due = doubtful if plan.now - self._corrected_at >= HOUR else set[int]()
        whole = {day: await self._users(transaction, _day(day)) for day in (days | due) if day >= plan.begin // DAY}

        for part, some in users:
            self._masks.add(part.start // DAY, some.users)
        for each in sums:
            self._replace(each)
        self._replace(_Sums(_day(written[-1] + 1), np.empty((0, 5), dtype=np.int64), np.empty((0, 3), dtype=np.int64)))
        for day, every in whole.items():
            self._masks.replace(day, every.users)
            if day < written[0]:
                self._day_rows[day] = every.rows
        self._masks.forget(plan.begin // DAY)
        self._day_rows = {day: rows for day, rows in self._day_rows.items() if day >= plan.begin // DAY}
        self._doubtful = doubtful - whole.keys()
        if due:
            self._corrected_at = plan.now

    def _losing(self, sums: _Sums) -> set[int]:
        """Return the days of minutes that have fewer rows with a user than before."""
        first, last = sums.part.minutes
        found = MinuteSums(last - first, 4)
        found.replace(first, last, sums.requests)
        fewer = found.each(first, last)[:, _WITH_USER] < self._requests.each(first, last)[:, _WITH_USER]
        return {sums.part.start // DAY} if fewer.any() else set()

    def _replace(self, sums: _Sums) -> None:
        self._requests.replace(*sums.part.minutes, sums.requests)
        self._latencies.replace(*sums.part.minutes, sums.latencies)

    async def _users(self, transaction: Transaction, part: Part) -> _Users:
        """Return the users of a part of one day."""

        async def read(piece: Part) -> list[Integers]:
            blocks: list[Integers] = []
            await transaction.integers_in_blocks(_USERS, 3, _period(piece), blocks.append)
            return blocks

        async def read_few(piece: Part) -> list[Integers]:
            return [await transaction.integers(_USERS, 3, _period(piece))]

        is_day = part.end - part.start == DAY
        users, rows = [np.empty(0, dtype=np.int64)], 0
        async for _, blocks in in_pieces(transaction, part, read if is_day else read_few, first=DAY):
            for block in blocks:
                users.append(block[block[:, 1] == 1, 0])
                rows += int(block[:, 2].sum())
        return _Users(np.concatenate(users), rows)

    async def _count(self, transaction: Transaction, part: Part) -> int:
        """Return the number of rows of activity of a part."""

        async def read(piece: Part) -> int:
            return int((await transaction.rows(_COUNT, _period(piece)))[0][0])

        return sum([rows async for _, rows in in_pieces(transaction, part, read, first=DAY)])

    async def _sums(self, transaction: Transaction, part: Part) -> _Sums:
        async def read(piece: Part) -> tuple[Integers, Integers]:
            period = _period(piece)
            return await transaction.integers(_REQUESTS, 5, period), await transaction.integers(_LATENCIES, 3, period)

        found = [rows async for _, rows in in_pieces(transaction, part, read, first=DAY)]
        requests, latencies = (np.concatenate(each) for each in zip(*found, strict=True))
        return _Sums(part, requests, latencies)

    def _row(self, day: int) -> Row:
        requests = self._total(self._requests, _day(day))
        jobs, microseconds_ = (int(each) for each in self._total(self._latencies, _day(day)))
        return Row(
            date=_EPOCH + day * ONE_DAY,
            dau=self._masks.count(day, day),
            mau=self._masks.count(day - LEAD_DAYS, day),
            ai_requests=int(requests[_AI]),
            preview_requests=int(requests[_PREVIEWS]),
            avg_latency_ms=microseconds_ / (1000 * jobs) if jobs else None,
        )

    @staticmethod
    def _total(sums: MinuteSums, part: Part) -> Integers:
        return sums.total(*part.minutes)


def _day(day: int) -> Part:
    return Part(day * DAY, (day + 1) * DAY)


def _by_day(part: Part) -> list[Part]:
    """Return a part as parts of one day each."""
    days = range(part.start // DAY, -(-part.end // DAY))
    return [Part(max(part.start, day * DAY), min(part.end, (day + 1) * DAY)) for day in days]


def _period(part: Part) -> Mapping[str, object]:
    return {"start": moment(part.start), "end": moment(part.end)}
