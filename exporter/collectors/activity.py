"""Daily and monthly active users by plan class (contract §2 "DAU / MAU"; spec §3.1).

    hivesync_active_users{window="24h",plan="paid"} 41.0
    hivesync_active_users{window="30d",plan="free"} 230.0

Each user's latest activity is enough for both windows, and a maximum is idempotent: reading a minute twice changes
nothing. What a maximum cannot tell is when somebody was active before it, should that row be deleted: then all is read
anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from exporter.collector import Sources
from exporter.collectors.users import PLAN_CLASSES, Classed, Plans
from exporter.columns import USER
from exporter.sources.postgres import Transaction, moment
from exporter.spec import MetricSpec, Sample
from exporter.windows import DAY, Integers
from exporter.windows.cursor import ReadCursor
from exporter.windows.latest import LatestActivity, latest_of
from exporter.windows.resync import SPECS as RESYNC_SPECS
from exporter.windows.resync import Again, Resync
from exporter.windows.sql import MICROSECONDS
from exporter.windows.versions import Rows, Versions

WINDOWS = {"24h": DAY, "30d": 30 * DAY}
HORIZON = max(WINDOWS.values())

ACTIVE_USERS = MetricSpec(
    "hivesync_active_users",
    "gauge",
    "Distinct users with a login, Live View join, AI request or preview request in the window that ends now,"
    " by plan class as of now.",
    "PostgreSQL (sessions, ai_usage_events, preview_jobs, subscriptions)",
    ("window", "plan"),
)

_TABLES = ("sessions", "ai_usage_events", "preview_jobs")

# Grouped a table by the id itself, which is cheap to compare; only then hashed, once a user.
_LATEST = " UNION ALL ".join(
    f"SELECT {USER.format('latest.user_id')}, {MICROSECONDS.format('latest.at')} FROM"
    f" (SELECT {table}.user_id, max({table}.created_at) AS at FROM {table}"
    f" WHERE {table}.created_at > %(since)s AND {table}.created_at <= %(until)s AND {table}.user_id IS NOT NULL"
    f" GROUP BY {table}.user_id) AS latest"
    for table in _TABLES
)


class Activity:
    """Keeps when each user was last active, and each one's plan class."""

    name = "activity"
    sources = ("postgres",)
    periods = 4  # a day's and a month's users do not change much in a minute
    specs = (ACTIVE_USERS, *RESYNC_SPECS)

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._latest = LatestActivity()
        self._read_until = 0
        self._cursor = ReadCursor(HORIZON)
        self._resync = Resync(self.name, HORIZON, {**dict.fromkeys(_TABLES, True), "users": False})
        self._versions = Versions([Rows(table, f"{table}.created_at") for table in _TABLES])
        self._classed: Classed | None = None
        self.filled = asyncio.Event()
        """Set once the windows hold what they should: then `last_seen` means something."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """One sample a window and plan class."""
        async with sources.postgres.transaction(fill=self._cursor.filling) as transaction:
            now = transaction.now_us
            since, fill = self._cursor.since(now)
            again = await self._resync.due(transaction)
            again.filled = fill
            if fill:
                filled = await self._fill(transaction, since)
                await self._versions.filled(transaction)
            else:
                rows = await self._rows(transaction, since, now)
                changed = await again.changed(transaction, self._versions, again.within(HORIZON))
                parts = [(*part, await self._rows(transaction, *part)) for part in changed]
            await self._plans.read_if_neglected(transaction)
        if fill:
            if self._resync.doubtful:
                self._latest.forget(since)
                again.corrected += self._latest.differing(filled, self._read_until)
            self._latest, self._classed = filled, None
        else:
            self._latest.merge(rows)
            for part in parts:
                self._correct(again, *part)
            self._latest.forget(now - HORIZON)
            self._versions.forget(now - HORIZON)
        self._read_until = now
        self._cursor.advance(now, fill)
        self._resync.done(again)
        self._cursor.filling = self._resync.wants_fill(now)
        await self._classify(now)
        self.filled.set()
        return self._samples(now)

    def last_seen(self, users: Integers) -> Integers:
        """When each of these users (hashes) was last active, microseconds since the epoch; -1: not in 30 days."""
        return self._latest.times_of(users)

    def counters(self) -> Sequence[Sample]:
        """How the past was looked at again."""
        return self._resync.counters()

    def read_afresh(self) -> None:
        """Split by plans as they are, not as they were last read; look for late rows."""
        self._cursor.look_back()
        self._plans.neglect()

    async def _rows(self, transaction: Transaction, since: int, until: int) -> Integers:
        return await transaction.integers(_LATEST, 2, {"since": moment(since), "until": moment(until)})

    async def _fill(self, transaction: Transaction, since: int) -> LatestActivity:
        ranges: list[tuple[Integers, Integers]] = []
        period = {"since": moment(since), "until": transaction.now}
        await transaction.integers_in_blocks(_LATEST, 2, period, lambda rows: ranges.append(latest_of(rows)))
        return LatestActivity.of(ranges)

    def _correct(self, again: Again, since: int, until: int, rows: Integers) -> None:
        changed, vanished = self._latest.check(since, until, rows)
        again.corrected += changed
        if vanished:  # when they were active before that is not known here
            self._resync.doubtful = True

    async def _classify(self, now: int) -> None:
        """Classes are looked up for those who are new or whose class has changed; for all after a reading of plans, and
        then beside the loop."""
        classed = self._plans.at(now)
        if self._classed is None or self._classed.users is not classed.users:
            self._latest.classify_all(await asyncio.to_thread(classed.of, self._latest.since(0)))
        else:
            newcomers, moved = self._latest.unclassed(), classed.moved_since(self._classed)
            for users in (newcomers, moved):
                self._latest.classify(users, classed.of(users))
        self._classed = classed

    def _samples(self, now: int) -> list[Sample]:
        return [
            ACTIVE_USERS.sample(int(count), window=window, plan=plan)
            for window, length in WINDOWS.items()
            for plan, count in zip(PLAN_CLASSES, self._latest.count(now - length, len(PLAN_CLASSES)), strict=True)
        ]
