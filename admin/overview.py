"""The top of the Analytics page: the header's cards, the four charts and the two tables of the specification's §4.

cards.py says what a card, a chart and a table are; `sections.py` has what stands below.
"""

from __future__ import annotations

from admin.cards import (
    ACTIVE,
    BOTH,
    NO_QUEUE,
    PLAN_CLASSES,
    POSTGRES,
    REDIS,
    WHO_IS_ONLINE,
    Card,
    Chart,
    Column,
    Meaning,
    Number,
    Table,
)
from exporter.collectors.users import FRESHNESS
from grafana.panels import Analytics

HEADER: tuple[Card, ...] = (
    Card(
        "online-users",
        "Online users",
        Meaning(WHO_IS_ONLINE, "now", BOTH),
        (Number("Online users", "summary/online_users"),),
        "online_users",
    ),
    Card(
        "ai-requests-last-hour",
        "AI requests (last hour)",
        Meaning("AI jobs that users asked for, whatever came of them.", "the last 60 minutes, sliding", POSTGRES),
        (Number("AI requests (last hour)", "summary/ai_requests_last_hour"),),
        "ai_requests_last_hour",
    ),
    Card(
        "ai-queue",
        "AI queue",
        Meaning("AI jobs waiting for a worker, in all AI queues.", "now", REDIS),
        (Number("AI queue", "summary/ai_queue_depth", empty=NO_QUEUE),),
        "ai_queue_depth",
    ),
    Card(
        "preview-queue",
        "Preview queue",
        Meaning("Preview builds waiting for a worker, in all preview queues.", "now", REDIS),
        (Number("Preview queue", "summary/preview_queue_depth", empty=NO_QUEUE),),
        "preview_queue_depth",
    ),
    Card(
        "paid-free",
        "Paid vs free",
        Meaning(
            "Paid users for each free user: 0.5 is one paid user for two free ones. Trials are in neither.",
            "now",
            POSTGRES,
        ),
        (
            Number("Paid users per free user", "summary/paid_free_ratio", "ratio"),
            Number("paid", "summary/paid_users"),
            Number("free", "summary/free_users"),
        ),
        "paid_free_ratio",
    ),
)
"""§4, summary header."""

CHARTS: tuple[Chart, ...] = (
    Chart(
        "ai-requests",
        "AI requests per hour",
        Meaning("AI jobs that users asked for, by the hour.", "as chosen above the chart", POSTGRES),
        Analytics.AI_REQUESTS_DAY.pixels,
        {
            "24h": Analytics.AI_REQUESTS_DAY,
            "6h": Analytics.AI_REQUESTS_PER_HOUR,
            "7d": Analytics.AI_REQUESTS_PER_HOUR,
        },
        ("6h", "24h", "7d"),
        "24h",
    ),
    Chart(
        "dau",
        "Daily active users",
        Meaning(f"{ACTIVE} on each UTC day; the last day is today so far.", "as chosen above the chart", POSTGRES),
        Analytics.DAU_FORTNIGHT.pixels,
        {"14d": Analytics.DAU_FORTNIGHT},
        ("14d", "30d", "90d"),
        "14d",
        has_days=True,
    ),
    Chart(
        "plans",
        "Users by plan",
        Meaning(f"Every user once. {PLAN_CLASSES}", f"now. {FRESHNESS}", POSTGRES),
        Analytics.USERS_BY_PLAN.pixels,
        {"": Analytics.USERS_BY_PLAN},
    ),
    Chart(
        "ai-latency",
        "Average AI latency",
        Meaning(
            "From an AI job's creation to its success, averaged over the jobs that succeeded.",
            "as chosen above the chart",
            POSTGRES,
        ),
        Analytics.AI_LATENCY_DAY.pixels,
        {"24h": Analytics.AI_LATENCY_DAY, "6h": Analytics.AI_LATENCY, "7d": Analytics.AI_LATENCY},
        ("6h", "24h", "7d"),
        "24h",
        "seconds",
    ),
)
"""§4, charts."""

TABLES: tuple[Table, ...] = (
    Table(
        "top-users",
        "Top 20 AI users",
        Meaning(
            "The 20 users with most AI requests. Last seen is their latest activity of any kind.",
            "the last 7 days",
            POSTGRES,
        ),
        "tables/top-users/rows",
        (
            Column("user", "User"),
            Column("plan", "Plan", things="plans"),
            Column("last_seen", "Last seen", "time"),
            Column("ai_requests_7d", "Requests, 7 d", "number"),
        ),
        "No AI requests in the last 7 days",
        has_csv=True,
    ),
    Table(
        "incidents",
        "Recent incidents",
        Meaning(
            "AI jobs and preview builds that failed, newest first. While PostgreSQL is down: those in the logs.",
            "the last 7 days",
            f"{POSTGRES}, else the logs",
        ),
        "tables/incidents/rows",
        (
            Column("time", "Time", "time"),
            Column("kind", "Kind", things="incidents"),
            Column("error_kind", "Error", things="error_kinds"),
            Column("provider", "Provider"),
            Column("model", "Model"),
            Column("job_id", "Job", is_code=True),
        ),
        "No incidents in the last 7 days",
        has_csv=True,
    ),
)
"""§4, tables."""
