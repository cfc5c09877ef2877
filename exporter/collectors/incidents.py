"""The latest incidents: AI jobs and preview builds that failed.

No metric comes of this. Only rows that ended since the last reading are read, and the newest few are kept. While
PostgreSQL is down there are those that the log collectors came by (`logs.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collector import Sources
from exporter.columns import TEXT, WORD
from exporter.incident import KEPT, Incident, newest
from exporter.sources.postgres import moment
from exporter.spec import MetricSpec, Sample
from exporter.windows import DAY
from exporter.windows.history import History
from exporter.windows.sql import MICROSECONDS

HORIZON = 7 * DAY

_TABLES = (
    ("ai_error", "ai_usage_events", ("ai_usage_events.provider", "ai_usage_events.model")),
    ("preview_failure", "preview_jobs", ("NULL", "NULL")),
)

_LATEST = " UNION ALL ".join(
    f"(SELECT {MICROSECONDS.format(f'{table}.completed_at')}, '{kind}',"
    f" {', '.join(map(TEXT.format, (f'{table}.id', *of_ai, f'{table}.error_kind')))} FROM {table}"
    f" WHERE {WORD.format(f'{table}.status')} = 'failed' AND {table}.completed_at > %(since)s"
    f" AND {table}.completed_at <= %(now)s ORDER BY {table}.completed_at DESC LIMIT {KEPT})"
    for kind, table, of_ai in _TABLES
)


class Incidents:
    """Keeps the newest of the last seven days."""

    name = "incidents"
    sources = ("postgres",)
    periods = 2
    specs: tuple[MetricSpec, ...] = ()

    def __init__(self) -> None:
        self._history = History(self.name, HORIZON, [], hourly=False)
        self.content: tuple[Incident, ...] | None = None
        """Newest first; None before the first reading."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Brings `content` up to date; there are no samples."""
        async with self._history.reading(sources.postgres) as plan:
            since = plan.new.start
            rows = await plan.transaction.rows(_LATEST, {"since": moment(since)})
            # These rows are all there are of that time: a row that is gone from it is gone.
            kept = () if plan.fill else self.content or ()
            old = [incident for incident in kept if plan.begin < incident.time <= since]
            self.content = newest([*(Incident.of(*row) for row in rows), *old])
        return []
