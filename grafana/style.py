"""Titles and colours: one title and one colour for each thing, in all panels.

Colours are HiveSync's design tokens only. A dashboard is drawn in the light and in the dark theme from the same file,
so of each token the value is used (or the opaque colour of its background) that is visible on the background of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.settings import Settings

BLUE = "#2196F3"
"""focus"""
LIGHT_BLUE = "#64B5F6"
"""link, dark"""
YELLOW = "#FFB300"
"""button-primary, active: the yellow that is visible on white"""
LIGHT_YELLOW = "#FFD54F"
"""button-primary, hover, dark"""
GREEN = "#4CAF50"
"""success background, opaque"""
DARK_GREEN = "#2E7D32"
"""success text, light"""
RED = "#E53935"
"""error background, opaque"""
LIGHT_RED = "#EF9A9A"
"""error text, dark"""
ORANGE = "#FF8F00"
"""warning text, light"""
GREY = "#9E9E9E"
"""text-muted, light"""
LIGHT_GREY = "#BDBDBD"
"""border-strong, light"""

TOKENS = frozenset(
    {BLUE, LIGHT_BLUE, YELLOW, LIGHT_YELLOW, GREEN, DARK_GREEN, RED, LIGHT_RED, ORANGE, GREY, LIGHT_GREY}
)
"""All colours."""

GOOD, WARNING, BAD = DARK_GREEN, ORANGE, RED
"""Colours of judged values."""

NO_DATA = "no data"
"""Text in place of a missing value: not 0, which would be a value."""


@dataclass(frozen=True, slots=True)
class LabelStyle:
    """The title and the colour of a label value."""

    title: str
    color: str


LabelStyles = Mapping[str, LabelStyle]
"""By the label value, or the legend, in the results of queries."""

PLANS: LabelStyles = {
    "paid": LabelStyle("Paid", YELLOW),
    "trial": LabelStyle("Trial", BLUE),
    "trial_expired": LabelStyle("Trial expired", LIGHT_BLUE),
    "free": LabelStyle("Free", GREY),
}
DEVICES: LabelStyles = {
    "desktop": LabelStyle("Desktop", BLUE),
    "ipad": LabelStyle("iPad", LIGHT_BLUE),
    "phone": LabelStyle("Phone", YELLOW),
    "unknown": LabelStyle("Unknown", GREY),
}
QUEUES: LabelStyles = {"ai": LabelStyle("AI", BLUE), "preview": LabelStyle("Preview", YELLOW)}
WINDOWS: LabelStyles = {
    "1m": LabelStyle("1 minute", LIGHT_GREY),
    "15m": LabelStyle("15 minutes", LIGHT_BLUE),
    "1h": LabelStyle("1 hour", BLUE),
}
STATISTICS: LabelStyles = {
    "median": LabelStyle("Median", LIGHT_BLUE),
    "p90": LabelStyle("90th percentile", BLUE),
    "max": LabelStyle("Maximum", GREY),
}
ERROR_KINDS: LabelStyles = {
    "provider_error": LabelStyle("Provider error", RED),
    "timeout": LabelStyle("Timeout", ORANGE),
    "safety_rejection": LabelStyle("Safety rejection", LIGHT_RED),
    "other": LabelStyle("Other", GREY),
}
FAILURE_KINDS: LabelStyles = {
    "build_error": LabelStyle("Build error", YELLOW),
    "timeout": ERROR_KINDS["timeout"],
    "worker_lost": LabelStyle("Worker lost", LIGHT_YELLOW),
    "other": ERROR_KINDS["other"],
}
WORKER_KINDS: LabelStyles = {
    "cpu": LabelStyle("CPU", BLUE),
    "gpu": LabelStyle("GPU", YELLOW),
    "unknown": LabelStyle("Unknown", GREY),
}
WORKER_STATES: LabelStyles = {
    "healthy": LabelStyle("Healthy", GOOD),
    "unhealthy": LabelStyle("Unhealthy", BAD),
    "active": LabelStyle("Active", GOOD),
    "idle": LabelStyle("Idle", BLUE),
    "offline": LabelStyle("Offline", BAD),
    "unknown": LabelStyle("Unknown", GREY),
}
COMPONENTS: LabelStyles = {"tokens": LabelStyle("Tokens", BLUE), "gpu": LabelStyle("GPU instances", YELLOW)}
SOURCES: LabelStyles = {
    "postgres": LabelStyle("PostgreSQL", BLUE),
    "redis": LabelStyle("Redis", YELLOW),
    "ai_events_log": LabelStyle("AI events log", LIGHT_BLUE),
    "preview_log": LabelStyle("Preview log", LIGHT_YELLOW),
}
LOGS: LabelStyles = {
    "ai-events": LabelStyle("AI events log", LIGHT_BLUE),
    "preview": LabelStyle("Preview log", LIGHT_YELLOW),
}
LOG_RESULTS: LabelStyles = {
    "ok": LabelStyle("Known events", GREEN),
    "malformed": LabelStyle("Malformed", RED),
    "unknown_event": LabelStyle("Unknown events", GREY),
}
LOG_EVENTS: LabelStyles = {
    "ai.requested": LabelStyle("AI requested", LIGHT_BLUE),
    "ai.completed": LabelStyle("AI completed", BLUE),
    "ai.error": LabelStyle("AI error", RED),
    "preview.requested": LabelStyle("Preview requested", LIGHT_YELLOW),
    "preview.completed": LabelStyle("Preview completed", YELLOW),
    "preview.failed": LabelStyle("Preview failed", ORANGE),
    "live_view.joined": LabelStyle("Live View joined", GREEN),
    "live_view.left": LabelStyle("Live View left", GREY),
}
ALERT_STATES: LabelStyles = {"firing": LabelStyle("Firing", BAD), "pending": LabelStyle("Pending", WARNING)}
UP: LabelStyles = {"1": LabelStyle("Up", GOOD), "0": LabelStyle("Down", BAD)}
"""Words for the values 1 and 0 of a metric of availability."""


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
