"""AI requests and latency per hour over the last week, for the charts of the Analytics page without Grafana.

It has no metrics: Prometheus keeps the past of the existing ones. The minutes of a week are kept like those of an hour
or a day elsewhere, so that a refresh reads new rows only; one hour of the past is checked every eight minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.collector import Sources
from exporter.collectors.latency import latency_sums
from exporter.spec import MetricSpec, Sample
from exporter.windows import DAY, HOUR, MINUTE, Integers, minute
from exporter.windows.sums import SlidingSums, Sums, history_of

KEPT = 7 * DAY + HOUR
"""A week of hours that end now, and the hour that ended a week ago."""

HORIZON = KEPT + 2 * MINUTE
"""The last minute is not complete yet, and the first that is read need not be whole."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Sums by minute up to `until` (minutes since the epoch)."""

    until: int
    requests: Integers
    """Shape (minutes, 1): AI requests created."""

    latency: Integers
    """Shape (minutes, 3): microseconds and number of the AI jobs that succeeded, and number of those left out."""

    def __post_init__(self) -> None:
        self.requests.setflags(write=False)
        self.latency.setflags(write=False)

    def ending(self, step: int, points: int) -> list[int]:
        """Return the end of each of the last `points` hours, `step` minutes apart, oldest first; unix seconds."""
        return [(self.until - step * back) * 60 for back in reversed(range(points))]

    def knows(self, span: int, before: int) -> bool:
        """Return whether the sums reach back to the start of a span (minutes) that ended `before` minutes ago."""
        return before + span <= len(self.requests)

    def requests_per_hour(self, step: int, points: int, before: int = 0) -> list[float | None]:
        """Return the AI requests in each of those hours, or `before` minutes before each."""
        return [self.requests_in(60, before + step * back) for back in reversed(range(points))]

    def latency_seconds(self, step: int, points: int, before: int = 0) -> list[float | None]:
        """Return the mean latency of the AI jobs that succeeded in each of those hours, or `before` minutes before
        each; None for hours without such a job."""
        return [self.latency_in(60, before + step * back) for back in reversed(range(points))]

    def requests_in(self, span: int, before: int = 0) -> float | None:
        """Return the AI requests in a span (minutes) that ended `before` minutes ago; None if it is not known."""
        return int(_sum(self.requests, span, before)[0]) if self.knows(span, before) else None

    def latency_in(self, span: int, before: int = 0) -> float | None:
        """Return the mean latency (seconds) in a span, as `requests_in`; None without such a job too."""
        if not self.knows(span, before):
            return None
        total, count, _ = _sum(self.latency, span, before)
        return int(total) / int(count) / 1e6 if count else None


class Charts:
    """The collector for the charts: a week of minutes."""

    name = "charts"
    sources = ("postgres",)
    periods = 4
    specs: tuple[MetricSpec, ...] = ()

    def __init__(self) -> None:
        table = "ai_usage_events"
        self._requests = SlidingSums(Sums(table, f"{table}.created_at", ("count(*)",)), {"all": HORIZON})
        self._latency = SlidingSums(latency_sums(table), {"all": HORIZON})
        self._history = history_of(self.name, self._requests, self._latency, hourly=False)
        self.content: Hours | None = None
        """The sums at the last reading; None before the first."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Update `content`; there are no samples."""
        async with self._history.reading(sources.postgres) as plan:
            await self._requests.read(plan)
            await self._latency.read(plan)
        until = minute(plan.now) - 1  # the last complete minute
        since = until - KEPT // MINUTE
        self.content = Hours(until, self._requests.minutes(since, until), self._latency.minutes(since, until))
        return []


def _sum(minutes: Integers, span: int, before: int) -> Integers:
    """Return the sums over `span` minutes that ended `before` minutes ago."""
    end = len(minutes) - before
    total: Integers = minutes[end - span : end].sum(axis=0)
    return total
