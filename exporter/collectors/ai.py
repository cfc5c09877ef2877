"""AI requests, how they spread over users, and AI errors (contract §2; spec §3.2).

hivesync_ai_requests_in_window{window="1h"} 212.0
hivesync_ai_requests_per_user{window="24h",statistic="p90"} 14.0
hivesync_ai_errors_in_window{window="24h",kind="timeout"} 3.0
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from exporter.collector import Sources
from exporter.columns import USER, WORD, words
from exporter.incident import ERROR_KINDS as INCIDENT_KINDS
from exporter.labels import OTHER
from exporter.sources.postgres import Transaction, moment
from exporter.spec import MetricSpec, Sample
from exporter.windows import DAY, HOUR, MINUTE, Integers, Part, minute
from exporter.windows.cursor import ReadCursor
from exporter.windows.minutes import MinuteSums
from exporter.windows.resync import SPECS as RESYNC_SPECS
from exporter.windows.resync import Again, Resync
from exporter.windows.sql import MINUTE_BIN, MINUTE_OF
from exporter.windows.sums import SlidingSums, Sums
from exporter.windows.users import UserCounts, percentile
from exporter.windows.versions import Rows, Versions

REQUEST_WINDOWS = {"1m": MINUTE, "1h": HOUR, "24h": DAY}
ERROR_KINDS = INCIDENT_KINDS["ai_error"]

REQUESTS = MetricSpec(
    "hivesync_ai_requests_in_window",
    "gauge",
    "AI requests created in the window that ends now.",
    "PostgreSQL (ai_usage_events.created_at)",
    ("window",),
)
PER_USER = MetricSpec(
    "hivesync_ai_requests_per_user",
    "gauge",
    "AI requests a user over users with at least one in the window that ends now: median, 90th percentile, maximum.",
    "PostgreSQL (ai_usage_events.created_at, user_id)",
    ("window", "statistic"),
)
ERRORS = MetricSpec(
    "hivesync_ai_errors_in_window",
    "gauge",
    "AI requests that failed in the window that ends now, by kind of error.",
    "PostgreSQL (ai_usage_events.completed_at, error_kind)",
    ("window", "kind"),
)

_KIND = WORD.format("ai_usage_events.error_kind")
_KIND_COUNTS = (
    *(f"count(*) FILTER (WHERE {_KIND} = '{kind}')" for kind in ERROR_KINDS),
    f"count(*) FILTER (WHERE ({_KIND} IN {words(ERROR_KINDS)}) IS NOT TRUE)",
)

_BY_USER = (
    "SELECT {key}, (ai_usage_events.user_id IS NOT NULL)::int::bigint,"
    f" coalesce({USER.format('ai_usage_events.user_id')}, 0), count(*) FROM ai_usage_events"
    " WHERE ai_usage_events.created_at > %({since})s AND ai_usage_events.created_at <= %({until})s"
    " GROUP BY ai_usage_events.user_id"
)
"""Requests by user: a key, whether there is a user, user, count."""

_CREATED_AT = "ai_usage_events.created_at"
_BY_MINUTE_AND_USER = (
    _BY_USER.format(key=MINUTE_OF.format(_CREATED_AT), since="since", until="until")
    + f", {MINUTE_BIN.format(_CREATED_AT)}"
)


class Ai:
    """Two windows on `ai_usage_events`: requests, by user too, and errors."""

    name = "ai"
    sources = ("postgres",)
    periods = 1
    specs = (REQUESTS, PER_USER, ERRORS, *RESYNC_SPECS)

    def __init__(self) -> None:
        self._requests = Requests()
        self._errors = SlidingSums(
            Sums(
                "ai_usage_events",
                "ai_usage_events.completed_at",
                _KIND_COUNTS,
                f"{WORD.format('ai_usage_events.status')} = 'failed'",
                counts=tuple(range(len(_KIND_COUNTS))),
            ),
            {"24h": DAY},
        )
        self._resync = Resync(self.name, DAY, {"ai_usage_events": True})
        self.filled = asyncio.Event()
        """Set once the windows hold what they should: then there is a `day`."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Requests by window, statistics a user (none while nobody asked anything), errors by kind."""
        filling = self._requests.cursor.filling or self._errors.cursor.filling
        async with sources.postgres.transaction(fill=filling) as transaction:
            again = await self._resync.due(transaction)
            requests, per_user = await self._requests.read(transaction, again)
            errors = (await self._errors.read(transaction, again))["24h"]
        self._resync.done(again)
        self.filled.set()
        samples = [REQUESTS.sample(count, window=window) for window, count in requests.items()]
        for kind, count in zip((*ERROR_KINDS, OTHER), errors.tolist(), strict=True):
            samples.append(ERRORS.sample(count, window="24h", kind=kind))
        if len(per_user):
            statistics = {
                "median": percentile(per_user, 0.5),
                "p90": percentile(per_user, 0.9),
                "max": float(per_user.max()),
            }
            samples += [PER_USER.sample(value, window="24h", statistic=name) for name, value in statistics.items()]
        return samples

    def day(self) -> UserDay:
        """The requests of the last day by user, as last read."""
        return self._requests.day()

    def read_afresh(self) -> None:
        """Look for late rows at the next refresh, whenever that was done last."""
        for cursor in (self._requests.cursor, self._errors.cursor):
            cursor.look_back()

    def counters(self) -> Sequence[Sample]:
        """How the past was looked at again."""
        return self._resync.counters()


@dataclass(frozen=True, slots=True)
class UserDay:
    """The requests of each user (hash) with at least one, in the minutes after `since`."""

    since: int
    users: Integers
    counts: Integers


class Requests:
    """AI requests: how many in each window, and how many of each user over the last 24 hours."""

    def __init__(self) -> None:
        self._minutes = MinuteSums(span=DAY // MINUTE + 1, width=1)
        self._users = UserCounts()
        self.cursor = ReadCursor(horizon=DAY)
        self._versions = Versions([Rows("ai_usage_events", "ai_usage_events.created_at")])
        self._forgotten = 0

    def day(self) -> UserDay:
        """What is held of users: whole minutes, without the edge."""
        return UserDay(self._forgotten, *self._users.counts())

    async def read(self, transaction: Transaction, again: Again) -> tuple[dict[str, int], Integers]:
        """The requests by window, and those of each user with at least one, in no order."""
        now = transaction.now_us
        since, fill = self.cursor.since(now)
        minutes, users = self._minutes, self._users
        if fill:  # an hour at a time: a day at once would be worked on for long, and nothing else go on meanwhile
            minutes, users = MinuteSums(span=DAY // MINUTE + 1, width=1), UserCounts()
            for start, end in pairwise([since, *range(since // HOUR * HOUR + HOUR, now, HOUR), now]):
                rows = await self._rows(transaction, start, end)
                minutes.replace(minute(start), minute(end), rows[:, [0, 3]])
                users.replace(minute(start), minute(end), _with_user(rows))
            again.filled = True
            await self._versions.filled(transaction)
        new = None if fill else await self._rows(transaction, since, now)
        changed = await again.changed(transaction, self._versions, again.within(DAY), self._rows_in)
        parts = [(start, end, await self._rows(transaction, start, end)) for start, end in changed]
        edges = await self._edges(transaction)

        self._minutes, self._users = minutes, users
        if new is not None:
            minutes.replace(minute(since), minute(now), new[:, [0, 3]])
            users.replace(minute(since), minute(now), _with_user(new))
        for start, end, rows in parts:
            again.corrected += int(minutes.replace(minute(start), minute(end), rows[:, [0, 3]])[0])
            users.replace(minute(start), minute(end), _with_user(rows))
        self._forgotten = minute(now - DAY)
        users.forget(self._forgotten)
        self._versions.forget(now - DAY)
        self.cursor.advance(now, fill)
        totals = {
            name: int(minutes.total(minute(now - window), minute(now))[0] + edges[name][:, 3].sum())
            for name, window in REQUEST_WINDOWS.items()
        }
        return totals, users.with_edge(_with_user(edges["24h"])[:, 1:])

    def _rows_in(self, part: Part) -> int:
        """How many requests of a part are held."""
        start, end = part
        return int(self._minutes.total(minute(start), minute(end))[0])

    async def _rows(self, transaction: Transaction, since: int, until: int) -> Integers:
        period = {"since": moment(since), "until": moment(until)}
        return await transaction.integers(_BY_MINUTE_AND_USER, 4, period)

    async def _edges(self, transaction: Transaction) -> dict[str, Integers]:
        """What is within each window of the minute in which it begins."""
        selects: list[str] = []
        parameters: dict[str, object] = {}
        for index, window in enumerate(REQUEST_WINDOWS.values()):
            start = transaction.now_us - window
            selects.append(_BY_USER.format(key=f"{index}::bigint", since=f"start{index}", until=f"end{index}"))
            parameters |= {f"start{index}": moment(start), f"end{index}": moment(minute(start) * MINUTE)}
        rows = await transaction.integers(" UNION ALL ".join(selects), 4, parameters)
        return {name: rows[rows[:, 0] == index] for index, name in enumerate(REQUEST_WINDOWS)}


def _with_user(rows: Integers) -> Integers:
    """Of key, whether there is a user, user, count: key, user, count of the rows where there is one."""
    of_users: Integers = rows[rows[:, 1] == 1][:, [0, 2, 3]]
    return of_users
