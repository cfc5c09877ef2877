"""A histogram of durations, for `hivesync_refresh_duration_seconds`."""

from __future__ import annotations

from exporter.spec import Histogram

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""The upper bounds of the buckets, in seconds."""


class Durations:
    """Counts of observations by bucket."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[sum(seconds > bound for bound in BOUNDS)] += 1
        self._total += seconds

    def value(self) -> Histogram:
        """Return the histogram so far."""
        cumulative, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._counts, strict=True):
            cumulative += count
            buckets.append((bound, float(cumulative)))
        return Histogram(tuple(buckets), self._total)
