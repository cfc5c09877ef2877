"""The most jobs waiting at once on each day, as Prometheus recorded `hivesync_queue_depth` and `hivesync_jobs`
(docs/definitions.md#daily-roll-up).

Prometheus may be down or not configured: the depths are then unknown, which is logged once, and the rest of the roll-up
continues. A later run queries them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import structlog

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources.prometheus import Prometheus
from rollup.days import DAY, start_of

ASK_AGAIN_DAYS = 31
"""Longest reach of queries for days without a depth: Prometheus keeps 15 days by default."""

DAY_SECONDS = 86_400

STEPS_A_QUERY = 50_000
"""Steps per query: eight days, at one step every 15 seconds. With 200 queues that is twenty million samples; Prometheus
accepts fifty million by default. A query covers at least one day."""

INTEGER = 2**31 - 1
"""Upper limit of the column. A higher depth cannot be a queue's."""

# The names are those of the specs in exporter/collectors/queues.py and jobs.py, as a test makes sure: the collectors
# would double the memory of this process.
_DEPTH, _WAITING = "hivesync_queue_depth", 'hivesync_jobs{{state="waiting"}}'


def _together(depth: str, waiting: str) -> str:
    """Return PromQL for the jobs that wait in both queues: of each, the larger of its depth and its waiting jobs, or
    the one that is recorded."""
    # An exporter per host, or a second one taking over, is no second queue: the maximum over exporters comes first.
    depths = f"sum by (queue) (max by (queue, name) ({depth}))"
    jobs = f"max by (queue) ({waiting})"
    return f"sum({jobs} > {depths} or {depths} or {jobs})"


# A day's samples are those from 00:00:00.000 to 23:59:59.999. Prometheus evaluates whole steps, and looks back from
# each for the latest sample. So: the steps of (00:00, 24:00], each a millisecond early, so that midnight's sample is
# the next day's. (Up to Prometheus 2 the first step of a range is part of it, hence the millisecond less.) As the
# lookback is five minutes, the first five minutes of a day have a query of their own: over the samples since the step
# before. (Of 23:59:59, up to Prometheus 2, the last millisecond counts for both days.)
LOOKBACK_SECONDS = 300
MOST = (
    f"max_over_time({_together(f'{_DEPTH} offset 1ms', f'{_WAITING} offset 1ms')}"
    f"[{(DAY_SECONDS - LOOKBACK_SECONDS) * 1000 - 1}ms:{{step}}s])"
)
_SINCE_THE_STEP_BEFORE = "max_over_time({0}[{{step}}s] offset 1ms)"
MOST_AT_FIRST = (
    f"max_over_time({_together(*map(_SINCE_THE_STEP_BEFORE.format, (_DEPTH, _WAITING)))}"
    f"[{LOOKBACK_SECONDS * 1000 - 1}ms:{{step}}s])"
)

_log = structlog.get_logger()


@dataclass(slots=True)
class QueueDepths:
    """The queries to one Prometheus, None when none is configured; remembers whether its absence was logged."""

    prometheus: Prometheus | None
    resolution: float
    """Seconds between two readings of the queues: the exporter's own (REFRESH_SECONDS)."""
    _degraded: str = ""

    async def read(self, days: Sequence[date]) -> Mapping[date, int]:
        """Return the highest depth of each of these days that Prometheus knows. After a first failure no further query
        is sent."""
        wanted = set(days)
        found: dict[date, int] = {}
        if not wanted:
            return found
        if self.prometheus is None:
            self._note("not_configured")
            return found
        first, last = min(wanted), max(wanted)
        days_a_query = max(1, STEPS_A_QUERY * step_of(self.resolution) // DAY_SECONDS)
        try:
            while first <= last:
                until = min(first + (days_a_query - 1) * DAY, last)
                if any(first <= day <= until for day in wanted):
                    found |= await self._read(self.prometheus, first, until)
                first = until + DAY
        except (SourceUnavailable, CollectionFailed) as error:
            self._note(error.kind)
        else:
            self._note("")
        return {day: depth for day, depth in found.items() if day in wanted}

    async def _read(self, prometheus: Prometheus, first: date, last: date) -> dict[date, int]:
        most: dict[date, int] = {}
        for query, until in ((MOST, DAY_SECONDS), (MOST_AT_FIRST, LOOKBACK_SECONDS)):
            start, end = (start_of(day).timestamp() + until for day in (first, last))
            for time, depth in await prometheus.range(
                query.format(step=step_of(self.resolution)), start, end, step=DAY_SECONDS
            ):
                if 0 <= depth <= INTEGER:
                    day = first + round((time - start) / DAY_SECONDS) * DAY
                    most[day] = max(round(depth), most.get(day, 0))
        return most

    def _note(self, kind: str) -> None:
        """Log the absence once, and the recovery once."""
        if kind and kind != self._degraded:
            _log.warning("system.analytics.degraded", source=Prometheus.name, kind=kind, metric="max_queue_depth")
        elif not kind and self._degraded:
            _log.info("system.analytics.recovered", source=Prometheus.name)
        self._degraded = kind


def step_of(resolution: float) -> int:
    """Return the most whole seconds, up to the resolution, that divide five minutes, and so a day: each period ends
    with a step."""
    return next(step for step in range(max(1, int(resolution)), 0, -1) if LOOKBACK_SECONDS % step == 0)
