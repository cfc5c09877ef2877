"""How far the daily roll-up has come (contract §3), and the daily active users it has counted (spec §4 "DAU (14
days)").

hivesync_rollup_latest_day_timestamp_seconds 1767139200.0
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collector import Sources
from exporter.spec import Definition, MetricSpec, Sample

LATEST_DAY = MetricSpec(
    "hivesync_rollup_latest_day_timestamp_seconds",
    "gauge",
    "The newest day of the daily roll-up, as the unix time of its start (UTC); absent while there is none.",
    "PostgreSQL (usage_analytics_daily)",
    definition=Definition(
        "SELECT extract(epoch FROM date)::float8 FROM usage_analytics_daily ORDER BY date DESC LIMIT 1",
        table="usage_analytics_daily",
    ),
)

TABLE_EXISTS = "SELECT to_regclass('usage_analytics_daily') IS NOT NULL"
"""Until the roll-up is installed there is no such table, and nothing wrong with that."""

DAYS = 90
"""How many days are shown at most."""

_DAYS = (
    "SELECT extract(epoch from usage_analytics_daily.date)::bigint, usage_analytics_daily.dau"
    f" FROM usage_analytics_daily ORDER BY usage_analytics_daily.date DESC LIMIT {DAYS}"
)

Day = tuple[int, int]
"""When a day began, in unix seconds, and its daily active users."""


class Rollup:
    """Reads the newest days."""

    name = "rollup"
    sources = ("postgres",)
    periods = 4
    specs = (LATEST_DAY,)

    def __init__(self) -> None:
        self.content: tuple[Day, ...] | None = None
        """The days that were rolled up, oldest first, as last read; None before that."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """One sample; none while the table is empty, or is not there."""
        async with sources.postgres.transaction() as transaction:
            ((exists,),) = await transaction.rows(TABLE_EXISTS)
            days = await transaction.rows(_DAYS) if exists else []
        self.content = tuple((began, dau) for began, dau in reversed(days))
        return [LATEST_DAY.sample(began) for began, _ in self.content[-1:]]
