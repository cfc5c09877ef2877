"""Daily and monthly active users by plan class (contract §2 "DAU / MAU"; spec §3.1).

    hivesync_active_users{window="24h",plan="paid"} 41.0
    hivesync_active_users{window="30d",plan="free"} 230.0

Each user's latest activity is enough for both windows, and a maximum is idempotent: reading a minute twice changes
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collector import Sources
from exporter.collectors.users import PLAN_CLASSES, PLANS_AGE, Plans
from exporter.sliding import MICROSECONDS, USER
from exporter.sources.postgres import moment
from exporter.spec import MetricSpec, Sample
from exporter.windows import DAY, LatestActivity, ReadCursor

WINDOWS = {"24h": DAY, "30d": 30 * DAY}

ACTIVE_USERS = MetricSpec(
    "hivesync_active_users",
    "gauge",
    "Distinct users with a login, Live View join, AI request or preview request in the window that ends now,"
    " by plan class as of now.",
    "PostgreSQL (sessions, ai_usage_events, preview_jobs, subscriptions)",
    ("window", "plan"),
)

# Grouped a table by the id itself, which is cheap to compare; only then hashed, once a user.
_LATEST = " UNION ALL ".join(
    f"SELECT {USER.format('latest.user_id')}, {MICROSECONDS.format('latest.at')} FROM"
    f" (SELECT {table}.user_id, max({table}.created_at) AS at FROM {table}"
    f" WHERE {table}.created_at > %(since)s AND {table}.created_at <= %(now)s AND {table}.user_id IS NOT NULL"
    f" GROUP BY {table}.user_id) AS latest"
    for table in ("sessions", "ai_usage_events", "preview_jobs")
)


class Activity:
    """Keeps when each user was last active."""

    name = "activity"
    sources = ("postgres",)
    periods = 1
    specs = (ACTIVE_USERS,)

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._latest = LatestActivity()
        self._cursor = ReadCursor(horizon=max(WINDOWS.values()))

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """One sample a window and plan class."""
        async with sources.postgres.transaction(fill=self._cursor.filling) as transaction:
            now = transaction.now_us
            since, fill = self._cursor.since(now)
            rows = await transaction.integers(_LATEST, 2, {"since": moment(since)})
            await self._plans.read(transaction, max_age=PLANS_AGE)
            plans = self._plans.at(now)
        if fill:
            self._latest = LatestActivity()
        self._latest.merge(rows)
        self._latest.forget(now - max(WINDOWS.values()))
        self._cursor.advance(now, fill)
        splits = {window: plans.split(self._latest.since(now - length)) for window, length in WINDOWS.items()}
        return [
            ACTIVE_USERS.sample(splits[window][plan], window=window, plan=plan)
            for window in WINDOWS
            for plan in PLAN_CLASSES
        ]
