"""How things look and what they are called: one title and one colour for each, wherever it is drawn.

Colours are HiveSync's design tokens and nothing else. A dashboard is drawn in the light and in the dark theme from the
same file, so of each token that one of its values is taken (or the opaque colour its background is made of) that can be
told from the background in both.
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
"""button-primary, active: of the yellows the one that is seen on white"""
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
"""Every colour there is."""

GOOD, WARNING, BAD = DARK_GREEN, ORANGE, RED
"""What a value is when it is judged."""

NO_DATA = "no data"
"""Shown where there is no value: not 0, which would be one."""


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that is drawn: what people call it, and its colour."""

    title: str
    color: str


Things = Mapping[str, Thing]
"""By the label value, or the legend, under which queries return them."""

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
"""What a value of 1 and 0 means where something is up or not."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From which value on something is a warning, and from which on bad."""

    warning: float
    bad: float


QUEUE_DEPTH: Mapping[str, Limits] = {"ai": Limits(50, 100), "preview": Limits(25, 50)}
"""Jobs waiting: bad is where the alert begins (prometheus/rules/thresholds.yml; a test compares)."""

HEARTBEAT = Limits(
    Settings.model_fields["worker_healthy_seconds"].default / 2, Settings.model_fields["worker_healthy_seconds"].default
)
"""Seconds since a worker's last heartbeat: bad is where the exporter calls it unhealthy, unless that is set anew."""

REFRESH_SECONDS = Limits(1, 5)
"""Duration of a refresh, of which there is one every 15 s."""

ROLLUP_AGE = Limits(26 * 3600, 30 * 3600)
"""Seconds since the newest day rolled up began: it is today's, so under a day but for a late run after midnight. Bad is
where the alert begins, as above."""

COUNT_OF_WRONG = Limits(1, 1)
"""Of what there should be none."""
