"""The latest incidents: AI jobs and preview builds that failed.

It has no metrics. A refresh reads rows that ended since the last reading, and keeps the newest ones. While PostgreSQL
is down, the page shows the incidents found by the log collectors (`logs.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from exporter.collector import Sources
from exporter.columns import TEXT, WORD, optional
from exporter.incident import KEPT, Incident, newest
from exporter.sources.postgres import Row, moment
from exporter.spec import MetricSpec, Sample
from exporter.windows import DAY, Part
from exporter.windows.history import History, ReadPlan
from exporter.windows.pieces import in_pieces
from exporter.windows.sql import MICROSECONDS

HORIZON = 7 * DAY

_TABLES = (
    ("ai_error", "ai_usage_events", ("ai_usage_events.provider", "ai_usage_events.model")),
    ("preview_failure", "preview_jobs", ("NULL", "NULL")),
)


def _latest(not_provided: Collection[str]) -> str:
    def columns(table: str, of_ai: Sequence[str]) -> str:
        names = (*of_ai, f"{table}.error_kind")
        read = [name if name == "NULL" else optional(name, not_provided) for name in names]
        return ", ".join(map(TEXT.format, (f"{table}.id", *read)))

    return " UNION ALL ".join(
        f"(SELECT {MICROSECONDS.format(f'{table}.completed_at')}, '{kind}', {columns(table, of_ai)} FROM {table}"
        f" WHERE {WORD.format(f'{table}.status')} = 'failed' AND {table}.completed_at > %(since)s"
        f" AND {table}.completed_at <= %(until)s ORDER BY {table}.completed_at DESC LIMIT {KEPT})"
        for kind, table, of_ai in _TABLES
    )


class Incidents:
    """The collector of the newest incidents of the last seven days."""

    name = "incidents"
    sources = ("postgres",)
    periods = 2
    specs: tuple[MetricSpec, ...] = ()

    def __init__(self, not_provided: Collection[str] = ()) -> None:
        self._query = _latest(not_provided)
        self._without_error = {kind for kind, table, _ in _TABLES if f"{table}.error_kind" in not_provided}
        self._history = History(self.name, HORIZON, [], hourly=False)
        self.content: tuple[Incident, ...] | None = None
        """Newest first; None before the first reading."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Update `content`; there are no samples."""
        async with self._history.reading(sources.postgres) as plan:
            since = plan.new.start
            rows = await self._rows(plan)
            # The rows are complete for their time: an incident without a row has been deleted.
            kept = () if plan.fill else self.content or ()
            old = [incident for incident in kept if plan.begin < incident.time <= since]
            self.content = newest([*map(self._incident, rows), *old])
        return []

    async def _rows(self, plan: ReadPlan) -> list[Row]:
        async def read(piece: Part) -> list[Row]:
            period = {"since": moment(piece.start), "until": moment(piece.end)}
            return await plan.transaction.rows(self._query, period)

        if not plan.fill:
            return await read(plan.new)
        return [row async for _, rows in in_pieces(plan.transaction, plan.new, read) for row in rows]

    def _incident(self, row: Row) -> Incident:
        incident = Incident.of(*row)
        return replace(incident, error_kind=None) if incident.kind in self._without_error else incident
