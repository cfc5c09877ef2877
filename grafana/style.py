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
class Thing:
    """A thing in a panel: its title for people, and its colour."""

    title: str
    color: str


Things = Mapping[str, Thing]
"""By the label value, or the legend, in the results of queries."""

PLANS: Things = {
    "paid": Thing("Paid", YELLOW),
    "trial": Thing("Trial", BLUE),
    "trial_expired": Thing("Trial expired", LIGHT_BLUE),
    "free": Thing("Free", GREY),
}
DEVICES: Things = {
    "desktop": Thing("Desktop", BLUE),
    "ipad": Thing("iPad", LIGHT_BLUE),
    "phone": Thing("Phone", YELLOW),
    "unknown": Thing("Unknown", GREY),
}
QUEUES: Things = {"ai": Thing("AI", BLUE), "preview": Thing("Preview", YELLOW)}
IN_THE_QUEUE = "In the queue"
JOB_STATES: Things = {
    "waiting": Thing("Waiting", ORANGE),
    "running": Thing("Running", BLUE),
    IN_THE_QUEUE: Thing(IN_THE_QUEUE, GREY),
}
WINDOWS: Things = {
    "1m": Thing("1 minute", LIGHT_GREY),
    "15m": Thing("15 minutes", LIGHT_BLUE),
    "1h": Thing("1 hour", BLUE),
}
STATISTICS: Things = {
    "median": Thing("Median", LIGHT_BLUE),
    "p90": Thing("90th percentile", BLUE),
    "max": Thing("Maximum", GREY),
}
ERROR_KINDS: Things = {
    "provider_error": Thing("Provider error", RED),
    "timeout": Thing("Timeout", ORANGE),
    "safety_rejection": Thing("Safety rejection", LIGHT_RED),
    "other": Thing("Other", GREY),
}
FAILURE_KINDS: Things = {
    "build_error": Thing("Build error", YELLOW),
    "timeout": ERROR_KINDS["timeout"],
    "worker_lost": Thing("Worker lost", LIGHT_YELLOW),
    "other": ERROR_KINDS["other"],
}
WORKER_KINDS: Things = {
    "cpu": Thing("CPU", BLUE),
    "gpu": Thing("GPU", YELLOW),
    "unknown": Thing("Unknown", GREY),
}
WORKER_STATES: Things = {
    "healthy": Thing("Healthy", GOOD),
    "unhealthy": Thing("Unhealthy", BAD),
    "active": Thing("Active", GOOD),
    "idle": Thing("Idle", BLUE),
    "offline": Thing("Offline", BAD),
    "unknown": Thing("Unknown", GREY),
}
COMPONENTS: Things = {"tokens": Thing("Tokens", BLUE), "gpu": Thing("GPU instances", YELLOW)}
SOURCES: Things = {
    "postgres": Thing("PostgreSQL", BLUE),
    "redis": Thing("Redis", YELLOW),
    "ai_events_log": Thing("AI events log", LIGHT_BLUE),
    "preview_log": Thing("Preview log", LIGHT_YELLOW),
}
LOGS: Things = {
    "ai-events": Thing("AI events log", LIGHT_BLUE),
    "preview": Thing("Preview log", LIGHT_YELLOW),
}
LOG_RESULTS: Things = {
    "ok": Thing("Known events", GREEN),
    "malformed": Thing("Malformed", RED),
    "unknown_event": Thing("Unknown events", GREY),
}
LOG_EVENTS: Things = {
    "ai.requested": Thing("AI requested", LIGHT_BLUE),
    "ai.completed": Thing("AI completed", BLUE),
    "ai.error": Thing("AI error", RED),
    "preview.requested": Thing("Preview requested", LIGHT_YELLOW),
    "preview.completed": Thing("Preview completed", YELLOW),
    "preview.failed": Thing("Preview failed", ORANGE),
    "live_view.joined": Thing("Live View joined", GREEN),
    "live_view.left": Thing("Live View left", GREY),
}
ALERT_STATES: Things = {"firing": Thing("Firing", BAD), "pending": Thing("Pending", WARNING)}
UP: Things = {"1": Thing("Up", GOOD), "0": Thing("Down", BAD)}
"""Words for the values 1 and 0 of a metric of availability."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The values from which a number is a warning, and bad."""

    warning: float
    bad: float


QUEUE_DEPTH: Mapping[str, Limits] = {"ai": Limits(50, 100), "preview": Limits(25, 50)}
"""Jobs waiting: bad from the alert's threshold (prometheus/rules/thresholds.yml; a test compares)."""

HEARTBEAT = Limits(
    Settings.model_fields["worker_healthy_seconds"].default / 2, Settings.model_fields["worker_healthy_seconds"].default
)
"""Seconds since a worker's last heartbeat: bad from the exporter's default threshold of an unhealthy worker."""

REFRESH_SECONDS = Limits(1, 5)
"""Duration of a refresh, at an interval of 15 s."""

ROLLUP_AGE = Limits(26 * 3600, 30 * 3600)
"""Seconds since the newest day rolled up began: normally today, so under a day except for a late run after midnight.
Bad from the alert's threshold, as above."""

COUNT_OF_WRONG = Limits(1, 1)
"""For counts that should be 0."""
