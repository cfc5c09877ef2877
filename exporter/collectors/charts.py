"""AI requests and latency hour by hour over the last week, as the Analytics page draws them without Grafana.

No metric comes of this: Prometheus keeps the past of those there are. The minutes of a week are kept here as elsewhere
those of an hour or a day, so that a refresh reads new rows only, and one hour of the past is checked each eight
minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.collector import Sources
from exporter.collectors.latency import latency_sums
from exporter.spec import MetricSpec, Sample
from exporter.windows import DAY, HOUR, MINUTE, Integers, minute
from exporter.windows.sums import SlidingSums, Sums, history_of

HORIZON = 7 * DAY + HOUR
"""A week of hours that end now, the first of which began an hour before."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Sums by minute, the last of which ended at `until` (minutes since the epoch)."""

    until: int
    requests: Integers
    """Shape (minutes, 1): AI requests created."""

    latency: Integers
    """Shape (minutes, 3): microseconds and number of the AI jobs that succeeded, and of those left out."""

    def __post_init__(self) -> None:
        self.requests.setflags(write=False)
        self.latency.setflags(write=False)

    def ending(self, step: int, points: int) -> list[int]:
        """When each of the last `points` hours ends, `step` minutes apart, oldest first; unix seconds."""
        return [(self.until - step * back) * 60 for back in reversed(range(points))]

    def requests_per_hour(self, step: int, points: int) -> list[int]:
        """AI requests in each of those hours."""
        return [int(hour[0]) for hour in _each_hour(self.requests, step, points)]

    def latency_seconds(self, step: int, points: int) -> list[float | None]:
        """Mean latency of the AI jobs that succeeded in each of those hours; None where none did."""
        sums = _each_hour(self.latency, step, points)
        return [int(total) / int(count) / 1e6 if count else None for total, count, _ in sums]


class Charts:
    """Keeps a week of minutes."""

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
        """As last read; None before that."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Brings `content` up to date; there are no samples."""
        async with self._history.reading(sources.postgres) as plan:
            await self._requests.read(plan)
            await self._latency.read(plan)
        until = minute(plan.now) - 1  # the last minute that is over
        since = until - HORIZON // MINUTE
        self.content = Hours(until, self._requests.minutes(since, until), self._latency.minutes(since, until))
        return []


def _each_hour(minutes: Integers, step: int, points: int) -> list[Integers]:
    """The sums over 60 minutes, `points` times, `step` minutes apart, the last of them over the last 60."""
    ends = [len(minutes) - step * back for back in reversed(range(points))]
    return [minutes[end - 60 : end].sum(axis=0) for end in ends]
