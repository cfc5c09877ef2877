"""Daily and monthly active users by plan class (docs/definitions.md#active-users).

    hivesync_active_users{window="24h",plan="paid"} 41.0
    hivesync_active_users{window="30d",plan="free"} 230.0

The latest activity per user is enough for both windows, and a maximum is idempotent: reading a minute twice changes
nothing. A maximum does not contain the user's earlier activity: after the deletion of its row, the whole window is
filled again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from exporter.collector import Sources
from exporter.collectors.users import TRIALS, Classed, Plans
from exporter.columns import USER
from exporter.definitions import PLAN_CLASS
from exporter.recount import longest_pause
from exporter.sources.postgres import moment
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.vocabulary import PLAN_CLASSES
from exporter.windows import DAY, SECOND, Integers, Part
from exporter.windows.history import History, ReadPlan
from exporter.windows.latest import LatestActivity, latest_of
from exporter.windows.pieces import in_pieces
from exporter.windows.resync import SPECS as RESYNC_SPECS
from exporter.windows.shared import SharedWindow
from exporter.windows.sql import MICROSECONDS
from exporter.windows.versions import TimedRows

WINDOWS = {"24h": DAY, "30d": 30 * DAY}
HORIZON = max(WINDOWS.values())

ACTIVE_USERS = MetricSpec(
    "hivesync_active_users",
    "gauge",
    "Distinct users with a login, Live View join, AI request or preview request in the window that ends now,"
    " by current plan class.",
    "PostgreSQL (sessions, ai_usage_events, preview_jobs, subscriptions)",
    (Label("window", tuple(WINDOWS)), Label("plan", PLAN_CLASSES)),
    Definition(f"""
WITH activity AS (
  SELECT user_id, created_at FROM sessions
  UNION ALL SELECT user_id, created_at FROM ai_usage_events
  UNION ALL SELECT user_id, created_at FROM preview_jobs
), active AS (
  SELECT DISTINCT windows.name, activity.user_id
  FROM (VALUES ('24h', interval '24 hours'), ('30d', interval '720 hours')) AS windows(name, length)
  JOIN activity ON activity.created_at > %(now)s - windows.length AND activity.created_at <= %(now)s
  WHERE activity.user_id IS NOT NULL
), classed AS MATERIALIZED (
  SELECT name, CASE WHEN users.id IS NULL THEN 'free' ELSE {PLAN_CLASS} END AS plan
  FROM active LEFT JOIN users ON users.id = active.user_id
)
SELECT windows.name, classes.plan,
       (SELECT count(*) FROM classed WHERE (classed.name, classed.plan) = (windows.name, classes.plan))
FROM (VALUES ('24h'), ('30d')) AS windows(name),
     (VALUES ('paid'), ('trial'), ('trial_expired'), ('free')) AS classes(plan)
"""),
    (TRIALS,),
)

_TABLES = ("sessions", "ai_usage_events", "preview_jobs")

# Grouped per table by the id itself, which is cheap to compare; hashed only afterwards, once per user.
_LATEST = " UNION ALL ".join(
    f"SELECT {USER.format('latest.user_id')}, {MICROSECONDS.format('latest.at')} FROM"
    f" (SELECT {table}.user_id, max({table}.created_at) AS at FROM {table}"
    f" WHERE {table}.created_at > %(since)s AND {table}.created_at <= %(until)s AND {table}.user_id IS NOT NULL"
    f" GROUP BY {table}.user_id) AS latest"
    for table in _TABLES
)


class Activity:
    """The collector of active users: the latest activity and the plan class per user."""

    name = "activity"
    sources = ("postgres",)
    periods = 4  # the users of a day or a month change little in a minute
    specs = (ACTIVE_USERS, *RESYNC_SPECS)

    def __init__(self, plans: Plans, last_seen: SharedWindow[LatestActivity] | None = None) -> None:
        """`last_seen` receives the latest activity per user."""
        self._plans = plans
        self._last_seen = last_seen or SharedWindow(self.name)
        self._latest = LatestActivity()
        self._read_until = 0
        rows = [TimedRows(table, f"{table}.created_at") for table in _TABLES]
        self._history = History(self.name, HORIZON, rows, refers=["users"])
        self._classed: Classed | None = None
        self.behind = 0.0

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return one sample per window and plan class."""
        async with self._history.reading(sources.postgres) as plan:
            if plan.fill:
                filled = await self._fill(plan)
            else:
                rows = await self._rows(plan, plan.new)
                reread = [(part, await self._rows(plan, part)) for part in plan.recheck]
            await self._plans.read_if_neglected(plan.transaction)
            if plan.fill:
                if plan.corrects:
                    self._latest.forget(plan.begin)
                    plan.corrected += self._latest.differing(filled, self._read_until)
                self._latest, self._classed = filled, None
            else:
                self._latest.merge(rows)
                for part, part_rows in reread:
                    changed, vanished = self._latest.check(*part, part_rows)
                    plan.corrected += changed
                    plan.doubtful |= vanished > 0  # the earlier activity of these users is not known here
                self._latest.forget(plan.begin)
            self._read_until = plan.now
        await self._classify(plan.now)
        self.behind = (plan.now - self._plans.read_at) / SECOND
        self._last_seen.put(self._latest, plan.transaction.server.number)
        return self._samples(plan.now)

    def counters(self) -> Sequence[Sample]:
        """Return the resync counters."""
        return self._history.counters()

    def read_afresh(self) -> None:
        """Make the next refresh read the plans, and look for late rows."""
        self._history.look_back()
        self._plans.neglect()

    def promised_age(self, interval: float) -> float:
        """Return the usual age of two intervals, plus the pause between two readings of the plans."""
        return 2 * interval + longest_pause(self._plans.users) / SECOND

    async def _rows(self, plan: ReadPlan, part: Part) -> Integers:
        return await plan.transaction.integers(_LATEST, 2, {"since": moment(part.start), "until": moment(part.end)})

    async def _fill(self, plan: ReadPlan) -> LatestActivity:
        async def read(piece: Part) -> LatestActivity:
            ranges: list[tuple[Integers, Integers]] = []
            period = {"since": moment(piece.start), "until": moment(piece.end)}
            await plan.transaction.integers_in_blocks(_LATEST, 2, period, lambda rows: ranges.append(latest_of(rows)))
            return LatestActivity.of(ranges)

        filled = LatestActivity()
        async for _, latest in in_pieces(plan.transaction, plan.new, read):
            await asyncio.to_thread(filled.add, latest)
        return filled

    async def _classify(self, now: int) -> None:
        """Look up the classes of new users and of users whose class has changed; after a reading of plans, those of all
        users, in a thread."""
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
