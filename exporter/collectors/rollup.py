"""The newest day of the daily roll-up, and its daily active users (docs/definitions.md#daily-roll-up).

hivesync_rollup_latest_day_timestamp_seconds 1767139200.0
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collector import Sources
from exporter.spec import Definition, MetricSpec, Sample

LATEST_DAY = MetricSpec(
    "hivesync_rollup_latest_day_timestamp_seconds",
    "gauge",
    "Unix time of the start (UTC) of the newest day in the daily roll-up; absent without a day.",
    "PostgreSQL (usage_analytics_daily)",
    definition=Definition(
        "SELECT extract(epoch FROM date)::float8 FROM usage_analytics_daily ORDER BY date DESC LIMIT 1",
        table="usage_analytics_daily",
    ),
)

TABLE_EXISTS = "SELECT to_regclass('usage_analytics_daily') IS NOT NULL"
"""Without an installed roll-up the table does not exist, which is no error."""

DAYS = 180
"""Maximum of days: the longest range shown, and the same before."""

_DAYS = (
    "SELECT extract(epoch from usage_analytics_daily.date)::bigint, usage_analytics_daily.dau"
    f" FROM usage_analytics_daily ORDER BY usage_analytics_daily.date DESC LIMIT {DAYS}"
)

Day = tuple[int, int]
"""The start of a day in unix seconds, and its daily active users."""


class Rollup:
    """The collector of the newest days of the roll-up."""

    name = "rollup"
    sources = ("postgres",)
    periods = 4
    specs = (LATEST_DAY,)

    def __init__(self) -> None:
        self.content: tuple[Day, ...] | None = None
        """The days in the table, oldest first, at the last reading; None before the first."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return one sample; none while the table is empty or missing."""
        async with sources.postgres.transaction() as transaction:
            ((exists,),) = await transaction.rows(TABLE_EXISTS)
            days = await transaction.rows(_DAYS) if exists else []
        self.content = tuple((began, dau) for began, dau in reversed(days))
        return [LATEST_DAY.sample(began) for began, _ in self.content[-1:]]
