"""How many jobs waited at once on each day at most, as Prometheus recorded `hivesync_queue_depth` (contract §3).

Prometheus may be down, or not be there at all: then nothing is known, which is said once, and the rest of the roll-up
goes on. A later run asks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import structlog

from exporter.collectors.queues import DEPTH
from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources.prometheus import Prometheus
from rollup.days import DAY, start_of

ASK_AGAIN_DAYS = 31
"""How far back days without a depth are asked for again: Prometheus keeps 15 days by default."""

DAYS_A_QUERY = 7
"""With 200 queues every 15 seconds that is eight million samples; Prometheus takes fifty million, by default."""

_BEFORE_MIDNIGHT = 0.001

# An exporter a host, or a second one taking over, is no second queue: the deepest of what they say, then the sum.
DEPTH_NOW = f"sum(max by (queue, name) ({DEPTH.name}))"

_log = structlog.get_logger()


@dataclass(slots=True)
class QueueDepths:
    """Asks one Prometheus, None where there is none; remembers whether its absence was said already."""

    prometheus: Prometheus | None
    resolution: float
    """Seconds between two looks at the queues: the exporter's own (REFRESH_SECONDS)."""
    _degraded: str = ""

    async def read(self, days: Sequence[date]) -> Mapping[date, int]:
        """The highest depth of each of these days that Prometheus knows of."""
        wanted = set(days)
        found: dict[date, int] = {}
        if not wanted:
            return found
        if self.prometheus is None:
            self._note("not_configured")
            return found
        first, last = min(wanted), max(wanted)
        try:
            while first <= last:
                until = min(first + (DAYS_A_QUERY - 1) * DAY, last)
                if any(first <= day <= until for day in wanted):
                    found |= await self._read(self.prometheus, first, until)
                first = until + DAY
        except (SourceUnavailable, CollectionFailed) as error:
            self._note(error.kind)
        else:
            self._note("")
        return {day: depth for day, depth in found.items() if day in wanted}

    async def _read(self, prometheus: Prometheus, first: date, last: date) -> dict[date, int]:
        # Asked just before midnight: a day's steps are those from 00:00:00 on, and not tomorrow's first.
        step = max(1.0, self.resolution)
        query = f"max_over_time({DEPTH_NOW}[1d:{step * 1000:.0f}ms])"
        start, end = (start_of(day + DAY).timestamp() - _BEFORE_MIDNIGHT for day in (first, last))
        points = await prometheus.range(query, start, end, step=DAY.total_seconds())
        return {first + round((time - start) / DAY.total_seconds()) * DAY: round(depth) for time, depth in points}

    def _note(self, kind: str) -> None:
        """Say it once when it goes and once when it comes back."""
        if kind and kind != self._degraded:
            _log.warning("system.analytics.degraded", source=Prometheus.name, kind=kind, metric="max_queue_depth")
        elif not kind and self._degraded:
            _log.info("system.analytics.recovered", source=Prometheus.name)
        self._degraded = kind
