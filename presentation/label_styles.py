"""The vocabulary of dashboards and page: a title and a colour for each label value.

    colors.py -> label_styles (this) -> grafana/ (panels), admin/ (cards, charts, tables)

The values are those of the metrics' closed labels (exporter/vocabulary.py), which a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from presentation.colors import (
    BAD,
    BLUE,
    GOOD,
    GREEN,
    GREY,
    LIGHT_BLUE,
    LIGHT_GREY,
    LIGHT_RED,
    LIGHT_YELLOW,
    ORANGE,
    RED,
    WARNING,
    YELLOW,
)


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
IN_THE_QUEUE = "In the queue"
JOB_STATES: LabelStyles = {
    "waiting": LabelStyle("Waiting", ORANGE),
    "running": LabelStyle("Running", BLUE),
    IN_THE_QUEUE: LabelStyle(IN_THE_QUEUE, GREY),
}
WINDOWS: LabelStyles = {
    "1m": LabelStyle("1 minute", LIGHT_GREY),
    "15m": LabelStyle("15 minutes", LIGHT_BLUE),
    "1h": LabelStyle("1 hour", BLUE),
}
DAYS: LabelStyles = {
    "24h": LabelStyle("Last 24 hours", BLUE),
    "7d": LabelStyle("Last 7 days", LIGHT_BLUE),
    "30d": LabelStyle("Last 30 days", GREY),
}
ACTIVE_SINCE: LabelStyles = {
    "returning": LabelStyle("Returning", GREEN),
    "lost": LabelStyle("Lost", ORANGE),
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
WORKER_HEALTH: LabelStyles = {"true": WORKER_STATES["healthy"], "false": WORKER_STATES["unhealthy"]}
"""By the flag `healthy` of the API."""
COMPONENTS: LabelStyles = {"tokens": LabelStyle("Tokens", BLUE), "gpu": LabelStyle("GPU instances", YELLOW)}
DIRECTIONS: LabelStyles = {"prompt": LabelStyle("Prompt", LIGHT_BLUE), "completion": LabelStyle("Completion", BLUE)}
INCIDENT_KINDS: LabelStyles = {
    "ai_error": LabelStyle("AI error", RED),
    "preview_failure": LabelStyle("Preview failure", ORANGE),
}
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
