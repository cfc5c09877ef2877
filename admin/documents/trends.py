"""Trends of the summary's numbers: each value once a minute, over the last hour since this process started."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from pydantic import Field

from admin.documents.models import Model
from admin.documents.values import Value

POINTS = 60
STEP_SECONDS = 60


class Points(Model):
    """A value over time, one point per minute; null where it was degraded."""

    times: list[int] = Field(description="Unix seconds.")
    values: list[float | None]


class Trends:
    """The last POINTS values of each name."""

    def __init__(self) -> None:
        self._points: deque[tuple[int, dict[str, float | None]]] = deque(maxlen=POINTS)

    def wants(self, now: float) -> bool:
        """Whether this minute has no point yet."""
        return not self._points or int(now) // STEP_SECONDS != self._points[-1][0] // STEP_SECONDS

    def note(self, now: float, values: Mapping[str, Value]) -> None:
        """Add a point at `now` (Unix seconds); degraded values are gaps."""
        self._points.append((int(now), {name: value.number if value.ok else None for name, value in values.items()}))

    def shown(self, names: Iterable[str]) -> dict[str, Points]:
        """The points of each name."""
        return {
            name: Points(times=[time for time, _ in self._points], values=[v.get(name) for _, v in self._points])
            for name in names
        }
