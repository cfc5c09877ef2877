"""The thresholds of judged values on the dashboards: from which value a number is a warning, and bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.settings import Settings


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The values from which a number is a warning, and bad."""

    warning: float
    bad: float


QUEUE_DEPTH: Mapping[str, Thresholds] = {"ai": Thresholds(50, 100), "preview": Thresholds(25, 50)}
"""Jobs waiting: bad from the alert's threshold (prometheus/rules/thresholds.yml; a test compares)."""

HEARTBEAT = Thresholds(
    Settings.model_fields["worker_healthy_seconds"].default / 2, Settings.model_fields["worker_healthy_seconds"].default
)
"""Seconds since a worker's last heartbeat: bad from the exporter's default threshold of an unhealthy worker."""

REFRESH_SECONDS = Thresholds(1, 5)
"""Duration of a refresh, at an interval of 15 s."""

ROLLUP_AGE = Thresholds(26 * 3600, 30 * 3600)
"""Seconds since the newest day rolled up began: normally today, so under a day except for a late run after midnight.
Bad from the alert's threshold, as above."""

ABOVE_ZERO = Thresholds(1, 1)
"""For counts that should be 0."""
