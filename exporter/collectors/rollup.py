"""How far the daily roll-up has come (contract §3).

hivesync_rollup_latest_day_timestamp_seconds 1767139200.0
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collector import Sources
from exporter.spec import MetricSpec, Sample

LATEST_DAY = MetricSpec(
    "hivesync_rollup_latest_day_timestamp_seconds",
    "gauge",
    "The newest day of the daily roll-up, as the unix time of its start (UTC); absent while there is none.",
    "PostgreSQL (usage_analytics_daily)",
)

TABLE_EXISTS = "SELECT to_regclass('usage_analytics_daily') IS NOT NULL"
"""Until the roll-up is installed there is no such table, and nothing wrong with that."""

_LATEST = "SELECT extract(epoch from max(usage_analytics_daily.date))::bigint FROM usage_analytics_daily"


class Rollup:
    """Reads one value."""

    name = "rollup"
    sources = ("postgres",)
    periods = 4
    specs = (LATEST_DAY,)

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """One sample; none while the table is empty, or is not there."""
        async with sources.postgres.transaction() as transaction:
            ((exists,),) = await transaction.rows(TABLE_EXISTS)
            ((latest,),) = await transaction.rows(_LATEST) if exists else [(None,)]
        return [] if latest is None else [LATEST_DAY.sample(latest)]
