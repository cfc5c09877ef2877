"""The catalogue of panels: dashboard, id, title and size of each, in this one place.

    panels (this) -> grafana/dashboards/ (the content of each panel) -> grafana/generated/*.json
                  -> the Analytics page (the panels it embeds, by URL)

A panel's id never changes and is never given to another panel: it is part of the URLs that pages and people keep. A
deleted panel leaves a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from typing import Literal
from urllib.parse import urlencode

GRAFANA_PATH = "/admin/analytics/grafana/"
"""Path of Grafana behind the Analytics section, which passes requests through to it."""

ANALYTICS_PATH = "/admin/analytics/"
"""Path of the Analytics page."""

REFRESH = "30s"
"""Interval at which charts are redrawn."""

COLUMNS = 24
"""Width of a dashboard, in Grafana's units."""

UNIT_PIXELS, GAP_PIXELS = 30, 8
"""Height of a unit, and gap between two panels, in pixels: Grafana's own grid."""

Theme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard as named in links; its uid is part of URLs, as are the panels' ids."""

    uid: str
    title: str

    @property
    def link(self) -> str:
        """URL of a link on another dashboard: Grafana puts its own path before each URL that begins with a slash."""
        return f"/d/{self.uid}/"


ANALYTICS = Dashboard("hivesync-analytics", "HiveSync Analytics")
OPERATIONS = Dashboard("hivesync-operations", "HiveSync Operations")
EMBEDDED = Dashboard("hivesync-embedded", "HiveSync Analytics: charts of the page")

LINK_TO_PAGE = "../"
"""URL of a link from a dashboard to the Analytics page: relative to Grafana's path, the base of its pages' URLs."""


class Panel(Enum):
    """A panel, or the heading of a row (height 1): `id`, `title`, and `width` and `height` in Grafana's units."""

    def __init__(self, id: int, title: str, width: int, height: int) -> None:  # noqa: A002 - Grafana's word for it
        self.id = id
        self.title = title
        self.width = width
        self.height = height

    @property
    def dashboard(self) -> Dashboard:
        """The panel's dashboard."""
        raise NotImplementedError

    @property
    def is_row(self) -> bool:
        """True for the heading of a row."""
        return self.height == 1

    @property
    def is_framed(self) -> bool:
        """True for a panel without a title: the page that frames it has title, definition and background."""
        return not self.title

    @property
    def pixels(self) -> int:
        """Height on a dashboard in pixels, also a good height for an iframe."""
        return self.height * (UNIT_PIXELS + GAP_PIXELS) - GAP_PIXELS

    def url(self, *, theme: Theme, since: str = "now-24h", timezone: str = "browser", refresh: str = REFRESH) -> str:
        """Return the URL of the panel alone, for an iframe; without `refresh` it is drawn once. A path on the Analytics
        section's own origin, as embedding requires."""
        parameters = {
            "orgId": "1",
            "panelId": str(self.id),
            "from": since,
            "to": "now",
            "timezone": timezone,
            "theme": theme,
            "hideLogo": "true",  # 12.4 and later draw one over the panel; older versions ignore it
        }
        if refresh:
            parameters["refresh"] = refresh
        return f"{GRAFANA_PATH}d-solo/{self.dashboard.uid}/panel?{urlencode(parameters)}"


@unique
class Analytics(Panel):
    """Users, AI usage, queues and workers, monetization: header and charts on one screen, then row by row."""

    SUMMARY = 1, "Now", COLUMNS, 1
    ONLINE_USERS_NOW = 2, "Online users", 4, 3
    AI_REQUESTS_LAST_HOUR = 3, "AI requests, last hour", 5, 3
    AI_QUEUE_NOW = 4, "AI queue", 5, 3
    PREVIEW_QUEUE_NOW = 5, "Preview queue", 5, 3
    PAID_TO_FREE = 6, "Paid users per free user", 5, 3

    CHARTS = 10, "Charts", COLUMNS, 1
    AI_REQUESTS_DAY = 11, "AI requests per hour", 12, 7
    DAU_FORTNIGHT = 12, "Active users by UTC day, last 14 days", 12, 7
    USERS_BY_PLAN = 13, "Users by plan", 12, 7
    AI_LATENCY_DAY = 14, "Average AI latency", 12, 7

    USERS = 20, "Users and sessions", COLUMNS, 1
    ONLINE_USERS = 21, "Online users over time", 8, 8
    ONLINE_DEVICES = 22, "Online devices by type", 8, 8
    LIVE_VIEW_SESSIONS = 23, "Live View sessions", 8, 8
    DAU_NOW = 24, "Active users, last 24 hours", 4, 8
    DAU_BY_PLAN = 25, "Active users by plan, sliding 24 hours", 8, 8
    MAU_NOW = 26, "Active users, last 30 days", 4, 8
    MAU_BY_PLAN = 27, "Active users by plan, sliding 30 days", 8, 8

    GROWTH = 100, "Growth", COLUMNS, 1
    STICKINESS = 101, "Stickiness", 4, 8
    NEW_USERS = 102, "New users", 8, 8
    PREVIOUSLY_ACTIVE = 103, "Active in the 30 days before the last 30: returning and lost", 12, 8
    TRIAL_CONVERSION = 104, "Trial conversion, last 30 days", 4, 8
    TRIALS_ENDED = 105, "Trials ended, by plan now", 8, 8
    CHURN = 106, "Churn of paid users, last 30 days", 4, 8
    PAID_PLANS_ENDED = 107, "Paid plans ended, by plan now", 8, 8
    COST_PER_ACTIVE_USER = 108, "AI cost per active user, this month (estimate)", 12, 4
    COST_PER_1000_REQUESTS = 109, "AI cost per 1,000 AI requests, this month (estimate)", 12, 4

    AI_USAGE = 30, "AI usage", COLUMNS, 1
    AI_REQUESTS_PER_MINUTE = 31, "AI requests per minute", 12, 8
    AI_REQUESTS_PER_USER = 33, "AI requests per user, last 24 hours", 12, 8
    AI_ERRORS_NOW = 34, "AI errors, last 24 hours", 8, 8
    AI_ERRORS = 35, "AI errors by kind, sliding 24 hours", 16, 8

    QUEUES = 40, "Queues and jobs", COLUMNS, 1
    AI_QUEUE = 41, "AI queue depth", 12, 8
    PREVIEW_QUEUE = 42, "Preview queue depth", 12, 8
    AI_LATENCY = 43, "Average AI job latency by window", 12, 8
    PREVIEW_LATENCY = 44, "Average preview job latency by window", 12, 8
    PREVIEW_REQUESTS = 45, "Preview requests per hour", 8, 8
    AI_JOBS = 46, "AI jobs processed per minute", 8, 8
    AI_PROCESSING = 47, "Mean processing time per AI job", 8, 8
    AI_JOBS_WAITING = 48, "AI jobs waiting and running", 12, 8
    PREVIEW_JOBS_WAITING = 49, "Preview jobs waiting and running", 12, 8
    OLDEST_WAITING = 90, "Age of the oldest waiting job", 8, 8
    UNACKED = 91, "Unacknowledged Celery messages", 8, 8
    DEAD_LETTERS = 92, "Dead letters", 8, 8

    WORKERS = 50, "Workers", COLUMNS, 1
    CPU_WORKERS = 51, "CPU workers", 10, 8
    GPU_WORKERS = 52, "GPU workers", 14, 8
    HEALTHY_WORKERS = 53, "Healthy workers", 12, 8
    GPU_INSTANCES = 54, "Running GPU instances", 12, 8

    MONETIZATION = 60, "Monetization", COLUMNS, 1
    ALL_USERS = 61, "All users", 4, 4
    PAID_USERS = 62, "Paid users", 5, 4
    FREE_USERS = 63, "Free users", 5, 4
    TRIAL_USERS = 64, "Trial users", 5, 4
    EXPIRED_TRIALS = 65, "Expired trials", 5, 4
    AI_COST_SO_FAR = 66, "AI cost this month so far (estimate)", 6, 8
    AI_COST_PROJECTED = 67, "AI cost this month projected (estimate)", 6, 8
    AI_TOKENS = 70, "AI tokens this month by model", 12, 8
    USERS_OVER_TIME = 68, "Users by plan over time", 12, 8
    AI_COST = 69, "AI cost this month by component (estimate)", 12, 8

    INCIDENTS = 80, "Recent incidents", COLUMNS, 1
    INCIDENTS_OVER_TIME = 81, "AI errors and preview failures per minute", 16, 8
    INCIDENTS_BY_KIND = 82, "Incidents by kind, in the time range", 8, 8

    @property
    def dashboard(self) -> Dashboard:
        return ANALYTICS


@unique
class Operations(Panel):
    """The reliability of the numbers in `Analytics`: the exporter, its sources, its logs, the roll-up, alerts."""

    STATE = 1, "Now", COLUMNS, 1
    SOURCES_NOW = 2, "Sources", 8, 4
    TARGETS_NOW = 3, "Targets down", 4, 4
    COLLECTORS_NOW = 4, "Collectors failing", 4, 4
    ALERTS_NOW = 5, "Alerts firing", 4, 4
    ROLLUP_NOW = 6, "Age of the newest roll-up day", 4, 4

    SOURCES = 10, "Sources and collectors", COLUMNS, 1
    SOURCES_UP = 11, "Sources up", 12, 8
    SOURCES_AGE = 12, "Age of data by source", 12, 8
    COLLECTORS_UP = 13, "Collectors up", 12, 10
    COLLECTORS_FAILURES = 14, "Failed refreshes per minute by collector", 12, 10

    REFRESHES = 20, "Refreshes", COLUMNS, 1
    REFRESH_DURATIONS = 21, "Refresh duration by collector (95th percentile)", 12, 10
    REFRESH_MEANS = 22, "Refresh duration by collector (mean)", 12, 10
    SKIPPED_VALUES = 23, "Skipped values", 12, 8
    SCRAPES = 24, "Scrape duration by target", 12, 8

    LOGS = 30, "Logs", COLUMNS, 1
    LOG_LINES = 31, "Log lines per second", 6, 8
    LOG_UNREAD = 32, "Unread bytes by log", 6, 8
    LOG_LATE = 34, "Late log lines per second", 6, 8
    LOG_EVENTS = 33, "Log events per minute", 6, 8

    ROLLUP = 40, "Roll-up and alerts", COLUMNS, 1
    ROLLUP_AGE = 41, "Age of the newest roll-up day over time", 12, 8
    ALERTS = 42, "Alerts", 12, 8
    TARGETS = 43, "Targets up", 12, 6
    EXPORTERS = 44, "Exporters", 12, 6

    @property
    def dashboard(self) -> Dashboard:
        return OPERATIONS


@unique
class Embedded(Panel):
    """The charts of the page, each for every range: one below the other, on a dashboard without other readers."""

    AI_REQUESTS = 1, "", COLUMNS, 8
    DAU = 2, "", COLUMNS, 8
    USERS_BY_PLAN = 3, "", COLUMNS, 8
    AI_LATENCY = 4, "", COLUMNS, 8

    @property
    def dashboard(self) -> Dashboard:
        return EMBEDDED


CATALOGUE: tuple[type[Panel], ...] = (Analytics, Operations, Embedded)
"""The panels of every dashboard."""
