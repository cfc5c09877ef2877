"""The lower part of the Analytics page: every number of the specification's §3.1 to §3.4 that is not at its top.

cards.py says what a card and a table are; `overview.py` has what stands above.
"""

from __future__ import annotations

from admin.cards import (
    ACTIVE,
    AI_LOG,
    BOTH,
    PLAN_CLASSES,
    POSTGRES,
    REDIS,
    WHO_IS_ONLINE,
    Card,
    Column,
    Meaning,
    Number,
    Section,
    Table,
    each,
)
from exporter.collectors.users import FRESHNESS
from grafana.style import DEVICES, ERROR_KINDS, LOG_EVENTS, PLANS, STATISTICS, WINDOWS

NO_JOBS = "no jobs"

SECTIONS: tuple[Section, ...] = (
    Section(
        "users",
        "Users and devices",
        (
            Card(
                "online-now",
                "Online now",
                Meaning(f"{WHO_IS_ONLINE} Live View sessions: sessions of that kind that are online.", "now", BOTH),
                (
                    Number("Users", "users/online_users"),
                    Number("Live View sessions", "users/live_view_sessions"),
                ),
            ),
            Card(
                "online-devices",
                "Online devices",
                Meaning("Sessions that are online; a WebSocket and its session are one device.", "now", BOTH),
                each("users/online_devices", DEVICES),
            ),
            Card(
                "dau",
                "Daily active users",
                Meaning(f"{ACTIVE}, by their plan as of now. {PLAN_CLASSES}", "the last 24 hours, sliding", POSTGRES),
                (
                    Number("All", "users/daily_active_users"),
                    *each("users/daily_active_users_by_plan", PLANS),
                ),
            ),
            Card(
                "mau",
                "Monthly active users",
                Meaning(f"{ACTIVE}, by their plan as of now. {PLAN_CLASSES}", "the last 30 days, sliding", POSTGRES),
                (
                    Number("All", "users/monthly_active_users"),
                    *each("users/monthly_active_users_by_plan", PLANS),
                ),
            ),
        ),
    ),
    Section(
        "ai",
        "AI usage",
        (
            Card(
                "ai-requests",
                "AI requests",
                Meaning("AI jobs that users asked for, whatever came of them.", "sliding, as each line says", POSTGRES),
                (
                    Number("Last minute", "ai/requests_per_minute"),
                    Number("Last hour", "ai/requests_per_hour"),
                    Number("Last 24 hours", "ai/requests_per_day"),
                ),
            ),
            Card(
                "ai-requests-per-user",
                "AI requests a user",
                Meaning("Over the users with at least one AI request.", "the last 24 hours, sliding", POSTGRES),
                each("ai/requests_per_user", STATISTICS, "ratio", "no users"),
            ),
            Card(
                "ai-errors",
                "AI errors",
                Meaning("AI jobs that failed, by when they ended.", "the last 24 hours, sliding", POSTGRES),
                each("ai/errors", ERROR_KINDS),
            ),
            Card(
                "ai-log",
                "AI events in the log",
                Meaning(
                    "Lines of the AI events log, by event.",
                    "since counting began; kept over restarts; at a first start known once the log's end was reached",
                    AI_LOG,
                ),
                (
                    *(
                        Number(LOG_EVENTS[event].title, f"ai/log_events/{event}")
                        for event in ("ai.requested", "ai.completed", "ai.error")
                    ),
                ),
            ),
        ),
    ),
    Section(
        "queues",
        "Queues and jobs",
        (
            Card(
                "ai-latency",
                "AI job latency",
                Meaning(
                    "From an AI job's creation to its success, averaged over the jobs that succeeded in the window.",
                    "sliding, as each line says",
                    POSTGRES,
                ),
                each("queues/latency_seconds/ai", WINDOWS, "seconds", NO_JOBS),
            ),
            Card(
                "preview-latency",
                "Preview job latency",
                Meaning(
                    "From a preview job's creation to its success, averaged over those that succeeded in the window.",
                    "sliding, as each line says",
                    POSTGRES,
                ),
                each("queues/latency_seconds/preview", WINDOWS, "seconds", NO_JOBS),
            ),
            Card(
                "preview-requests",
                "Preview requests",
                Meaning("Preview builds that users asked for.", "sliding, as each line says", POSTGRES),
                (
                    Number("Last minute", "queues/preview_requests/1m"),
                    Number("Last hour", "queues/preview_requests/1h"),
                    Number("Last 24 hours", "queues/preview_requests/24h"),
                ),
            ),
            Card(
                "processing",
                "AI jobs worked off",
                Meaning("What the AI queue's workers say they did.", "since they began counting", REDIS),
                (
                    Number("Jobs", "queues/processing/jobs"),
                    Number("Processing time", "queues/processing/seconds", "seconds"),
                ),
            ),
        ),
        (
            Table(
                "queue-depths",
                "Queues",
                Meaning("Jobs waiting in each queue.", "now", REDIS),
                "queues/queues",
                (
                    Column("queue", "Kind", things="queues"),
                    Column("name", "Queue", is_code=True),
                    Column("depth", "Waiting", "number"),
                ),
                "No queue is known: no key matches the settings AI_QUEUE_KEYS and PREVIEW_QUEUE_KEYS",
            ),
        ),
    ),
    Section(
        "workers",
        "Workers",
        (
            Card(
                "workers",
                "Healthy workers",
                Meaning(
                    "Workers whose heartbeat is recent enough (120 s, unless set otherwise), of those known.",
                    "now",
                    REDIS,
                ),
                (Number("Healthy", "workers/healthy"), Number("Known", "workers/total")),
            ),
        ),
        (
            Table(
                "workers",
                "CPU and GPU workers",
                Meaning(
                    "Healthy while the heartbeat is recent enough. A GPU worker is active, idle, or offline when it is "
                    "silent.",
                    "now; a worker silent for 24 hours is forgotten",
                    REDIS,
                ),
                "workers/workers",
                (
                    Column("worker", "Worker", is_code=True),
                    Column("kind", "Kind", things="worker_kinds"),
                    Column("healthy", "Health", things="health", has_dot=True),
                    Column("state", "State", things="worker_states", has_dot=True),
                    Column("last_heartbeat", "Last heartbeat", "time"),
                    Column("instance_type", "Instance"),
                    Column("lifecycle", "Lifecycle"),
                ),
                "No workers known",
            ),
        ),
    ),
    Section(
        "monetization",
        "Monetization",
        (
            Card(
                "users-by-plan",
                "Users and projects",
                Meaning(f"Every user once, and every project once. {PLAN_CLASSES}", f"now. {FRESHNESS}", POSTGRES),
                (
                    Number("All users", "monetization/users"),
                    *each("monetization/users_by_plan", PLANS),
                    Number("Projects", "monetization/projects"),
                ),
            ),
            *(
                Card(
                    f"cost-{span}",
                    title,
                    Meaning(
                        "Tokens at their models' prices, and GPU instances at their hourly price, as in the price "
                        f"file. {more}",
                        window,
                        f"{POSTGRES} (tokens), {REDIS} (GPU)",
                    ),
                    (
                        Number("Tokens", f"monetization/cost_month_{span}_dollars/tokens", "dollars", "no prices"),
                        Number("GPU instances", f"monetization/cost_month_{span}_dollars/gpu", "dollars", "no prices"),
                        Number("Total", f"monetization/cost_month_{span}_dollars/total", "dollars", "no prices"),
                    ),
                    is_estimate=True,
                )
                for span, title, more, window in (
                    ("to_date", "AI cost so far", "", "this calendar month (UTC) so far"),
                    (
                        "projected",
                        "AI cost projected",
                        "In proportion to the time gone.",
                        "this calendar month (UTC) to its end",
                    ),
                )
            ),
        ),
        (
            Table(
                "tokens",
                "AI tokens this month",
                Meaning(
                    "Tokens by model and direction; a model without a price is under other.",
                    "this calendar month (UTC) so far",
                    POSTGRES,
                ),
                "monetization/tokens_month_to_date",
                (
                    Column("model", "Model"),
                    Column("direction", "Direction", things="directions"),
                    Column("tokens", "Tokens", "number"),
                ),
                "No tokens this month",
            ),
        ),
    ),
)
"""§3.1 to §3.4, everything that is not above."""
