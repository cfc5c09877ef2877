"""Daily and monthly active users by plan class (docs/definitions.md#active-users), and those of the 30 days before
(docs/definitions.md#growth).

    hivesync_active_users{window="24h",plan="paid"} 41.0
    hivesync_active_users{window="30d",plan="free"} 230.0
    hivesync_previously_active_users{window="30d",state="lost"} 17.0

The latest activity per user is enough for the windows that end now, and a maximum is idempotent: reading a minute twice
changes nothing. A maximum does not contain the user's earlier activity: after the deletion of its row, the whole window
is filled again. For a window that ended before, the latest activity in it is kept too: a user of that window is lost if
the latest activity of all lies in it, and returning otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.collector import Sources
from exporter.collectors.cost import before_month
from exporter.collectors.users import TRIALS, Classed, Plans
from exporter.columns import USER
from exporter.definitions import PLAN_CLASS
from exporter.recount import longest_pause
from exporter.sources.postgres import moment
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.vocabulary import PLAN_CLASSES
from exporter.windows import DAY, SECOND, Integers, Part
from exporter.windows.earlier import EarlierActivity
from exporter.windows.history import History, ReadPlan
from exporter.windows.latest import LatestActivity, latest_of
from exporter.windows.pieces import in_pieces
from exporter.windows.resync import SPECS as RESYNC_SPECS
from exporter.windows.shared import SharedWindow
from exporter.windows.sql import MICROSECONDS
from exporter.windows.versions import TimedRows

WINDOWS = {"24h": DAY, "30d": 30 * DAY}
MONTH = WINDOWS["30d"]
HORIZON = 2 * MONTH
"""The last 30 days and the 30 days before them; a calendar month is shorter."""

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

_ACTIVITY = """
WITH activity AS (
  SELECT user_id, created_at FROM sessions
  UNION ALL SELECT user_id, created_at FROM ai_usage_events
  UNION ALL SELECT user_id, created_at FROM preview_jobs
)
"""
"""For the definitions."""

PREVIOUSLY_ACTIVE = MetricSpec(
    "hivesync_previously_active_users",
    "gauge",
    "Distinct users with activity in the window that ended when the window that ends now began (the 30 days before the"
    " last 30): returning with activity since, lost without.",
    "PostgreSQL (sessions, ai_usage_events, preview_jobs)",
    (Label("window", ("30d",)), Label("state", ("returning", "lost"))),
    Definition(f"""
{_ACTIVITY}, before AS (
  SELECT DISTINCT user_id FROM activity WHERE user_id IS NOT NULL
  AND created_at > %(now)s - interval '1440 hours' AND created_at <= %(now)s - interval '720 hours'
), since AS MATERIALIZED (
  SELECT DISTINCT user_id FROM activity WHERE user_id IS NOT NULL
  AND created_at > %(now)s - interval '720 hours' AND created_at <= %(now)s
), counted AS (
  SELECT count(since.user_id) AS returning_users, count(*) - count(since.user_id) AS lost_users
  FROM before LEFT JOIN since USING (user_id)
)
SELECT '30d', state, value FROM counted,
  LATERAL (VALUES ('returning', returning_users), ('lost', lost_users)) AS states(state, value)
"""),
)
ACTIVE_IN_MONTH = MetricSpec(
    "hivesync_active_users_month_to_date",
    "gauge",
    "Distinct users with activity in this calendar month (UTC) so far.",
    "PostgreSQL (sessions, ai_usage_events, preview_jobs)",
    definition=Definition(f"""
{_ACTIVITY}
SELECT count(DISTINCT user_id) FROM activity
WHERE created_at >= date_trunc('month', %(now)s::timestamptz, 'UTC') AND created_at <= %(now)s
"""),
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


@dataclass(frozen=True, slots=True)
class Before:
    """Active users of the windows before those that end now."""

    daily: int
    """Of the 24 hours before the last 24."""
    monthly: int
    """Of the 30 days before the last 30."""


class Activity:
    """The collector of active users: the latest activity and the plan class per user."""

    name = "activity"
    sources = ("postgres",)
    periods = 4  # the users of a day or a month change little in a minute
    specs = (ACTIVE_USERS, PREVIOUSLY_ACTIVE, ACTIVE_IN_MONTH, *RESYNC_SPECS)

    def __init__(self, plans: Plans, last_seen: SharedWindow[LatestActivity] | None = None) -> None:
        """`last_seen` receives the latest activity per user."""
        self._plans = plans
        self._last_seen = last_seen or SharedWindow(self.name)
        self._latest = LatestActivity()
        self._earlier = {window: EarlierActivity(length, length) for window, length in WINDOWS.items()}
        self.content: Before | None = None
        """The active users before, at the last reading; None before the first."""
        self._read_until = 0
        rows = [TimedRows(table, f"{table}.created_at") for table in _TABLES]
        self._history = History(self.name, HORIZON, rows, refers=["users"])
        self._classed: Classed | None = None
        self.behind = 0.0

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return one sample per window and plan class, those of the 30 days before, and of the month."""
        async with self._history.reading(sources.postgres) as plan:
            now = plan.now
            if plan.fill:
                filled, earlier = await self._fill(plan)
            else:
                rows = await self._rows(plan, plan.new)
                reread = [(part, await self._rows(plan, part)) for part in plan.recheck]
                moves = [(each, *await self._moves(plan, each, reread)) for each in self._earlier.values()]
            await self._plans.read_if_neglected(plan.transaction)
            if plan.fill:
                if plan.corrects:
                    self._latest.forget(plan.begin)
                    plan.corrected += self._latest.differing(filled, self._read_until)
                self._latest, self._classed = filled, None
                for each, latest in earlier:
                    each.fill(latest, now)
            else:
                self._latest.merge(rows)
                for part, part_rows in reread:
                    changed, vanished = self._latest.check(*part, part_rows)
                    plan.corrected += changed
                    plan.doubtful |= vanished > 0  # the earlier activity of these users is not known here
                for each, entering, again in moves:
                    _, vanished = each.move(entering, again, now)
                    plan.doubtful |= vanished > 0
                self._latest.forget(plan.begin)
            self._read_until = now
        await self._classify(now)
        self.behind = (now - self._plans.read_at) / SECOND
        self._last_seen.put(self._latest, plan.transaction.server.number)
        self.content = Before(self._earlier["24h"].count(), self._earlier["30d"].count())
        return self._samples(now, before_month(plan.transaction.now), self.content)

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

    async def _moves(
        self, plan: ReadPlan, earlier: EarlierActivity, reread: Sequence[tuple[Part, Integers]]
    ) -> tuple[Integers, list[tuple[Part, Integers]]]:
        """Return the activities that enter an earlier window, and those of its parts that are read again."""
        again = []
        for part, rows in reread:
            cut = earlier.within(part, plan.now)
            if cut is not None:
                again.append((cut, rows if cut == part else await self._rows(plan, cut)))
        return await self._rows(plan, earlier.entering(plan.now)), again

    async def _fill(self, plan: ReadPlan) -> tuple[LatestActivity, list[tuple[EarlierActivity, LatestActivity]]]:
        """Read the whole window, from one end of an earlier window to the next, each row once."""

        async def read(piece: Part) -> LatestActivity:
            ranges: list[tuple[Integers, Integers]] = []
            period = {"since": moment(piece.start), "until": moment(piece.end)}
            await plan.transaction.integers_in_blocks(_LATEST, 2, period, lambda rows: ranges.append(latest_of(rows)))
            return LatestActivity.of(ranges)

        filled = LatestActivity()
        earlier = [(each, each.window(plan.now), LatestActivity()) for each in self._earlier.values()]
        bounds = sorted({*plan.new, *(bound for _, window, _ in earlier for bound in window)}, reverse=True)
        for start, end in zip(bounds[1:], bounds, strict=False):
            async for piece, latest in in_pieces(plan.transaction, Part(start, end), read):
                await asyncio.to_thread(filled.add, latest)
                for _, window, found in earlier:
                    if window.start <= piece.start and piece.end <= window.end:
                        await asyncio.to_thread(found.add, latest)
        return filled, [(each, found) for each, _, found in earlier]

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

    def _samples(self, now: int, month: int, before: Before) -> list[Sample]:
        """`month`: the instant before the calendar month."""
        lost = self._latest.count_between(now - 2 * MONTH, now - MONTH)
        return [
            *(
                ACTIVE_USERS.sample(int(count), window=window, plan=plan)
                for window, length in WINDOWS.items()
                for plan, count in zip(PLAN_CLASSES, self._latest.count(now - length, len(PLAN_CLASSES)), strict=True)
            ),
            PREVIOUSLY_ACTIVE.sample(max(0, before.monthly - lost), window="30d", state="returning"),
            PREVIOUSLY_ACTIVE.sample(lost, window="30d", state="lost"),
            ACTIVE_IN_MONTH.sample(self._latest.count_between(month, now)),
        ]
