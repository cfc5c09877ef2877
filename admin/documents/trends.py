"""The small trends on the header's cards: each value once a minute, for the last hour (since this process started)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from admin.documents.models import Points
from admin.documents.values import Value

POINTS = 60
STEP_SECONDS = 60


class Trends:
    """Remembers what it is shown."""

    def __init__(self) -> None:
        self._points: deque[tuple[int, dict[str, float | None]]] = deque(maxlen=POINTS)

    def wants(self, now: float) -> bool:
        """Whether this minute is not noted yet."""
        return not self._points or int(now) // STEP_SECONDS != self._points[-1][0] // STEP_SECONDS

    def note(self, now: float, values: Mapping[str, Value]) -> None:
        """Note the values as of now; what is degraded is a gap."""
        self._points.append((int(now), {name: value.number if value.ok else None for name, value in values.items()}))

    def shown(self, names: tuple[str, ...]) -> dict[str, Points]:
        """The points of each."""
        return {
            name: Points(times=[time for time, _ in self._points], values=[v.get(name) for _, v in self._points])
            for name in names
        }
