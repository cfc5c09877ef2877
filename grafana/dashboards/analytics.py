"""HiveSync Analytics: users, AI usage, queues and workers, monetization and incidents, in the order of the catalogue.

A function per row, a call per panel. Titles and sizes of the panels are in `grafana/panels.py`.
"""

from __future__ import annotations

from exporter.collectors.activity import ACTIVE_USERS
from exporter.collectors.ai import ERRORS, PER_USER
from exporter.collectors.ai import REQUESTS as AI_REQUESTS
from exporter.collectors.cost import MONTH_TO_DATE, PROJECTED, TOKENS
from exporter.collectors.latency import LATENCY
from exporter.collectors.logs import AI_ERRORS, PREVIEW_FAILURES
from exporter.collectors.online import LIVE_VIEW_SESSIONS, ONLINE_DEVICES, ONLINE_USERS
from exporter.collectors.users import USERS
from exporter.collectors.workers import GPU_INFO, GPU_SECONDS, GPU_STATE, HEALTHY, LAST_HEARTBEAT
from exporter.spec import MetricSpec
from grafana import style
from grafana.drawing import about, bars, lines, listing, number
from grafana.layout import assemble
from grafana.panels import OPERATIONS, Analytics, Panel
from grafana.promql import (
    RANGE,
    cpu_workers,
    gpu_workers,
    highest,
    log_increase,
    log_rate,
    per_minute,
    rate,
    ratio,
    total,
)
from grafana.queries import SQL, PromQL
from grafana.queue_panels import SECONDS, queue_now, queues, requests
from grafana.sdk import dashboard
from grafana.style import QUEUES

DOLLARS = "currencyUSD"

DESCRIPTION = (
    "Users, AI usage, queues, workers and costs of HiveSync. Aggregates only. "
    "Of several exporters each number is taken once."
)

DAILY = """
    SELECT date::timestamp AT TIME ZONE 'UTC' AS "time", dau AS "Daily active users"
    FROM usage_analytics_daily
    WHERE date > (now() AT TIME ZONE 'UTC')::date - 14 AND date <= (now() AT TIME ZONE 'UTC')::date
    ORDER BY 1
"""
"""Fourteen UTC days, today's up to now, at any time range of the dashboard."""

IN_MONTH = "A price file's estimate, no invoice."


def build() -> dashboard.Dashboard:
    """Build the dashboard."""
    drawn = [
        *summary(),
        *charts(),
        *users(),
        *ai_usage(),
        *queues(),
        *workers(),
        *monetization(),
        *incidents(),
    ]
    return assemble(Analytics, DESCRIPTION, drawn, since="now-24h", others=[OPERATIONS])


def summary() -> list[dashboard.Panel]:
    """Build the summary header."""
    paid, free = (highest(USERS, plan=plan) for plan in ("paid", "free"))
    return [
        number(Analytics.ONLINE_USERS_NOW, about(ONLINE_USERS), PromQL(highest(ONLINE_USERS))),
        number(Analytics.AI_REQUESTS_LAST_HOUR, about(AI_REQUESTS), PromQL(highest(AI_REQUESTS, window="1h"))),
        queue_now(Analytics.AI_QUEUE_NOW, "ai"),
        queue_now(Analytics.PREVIEW_QUEUE_NOW, "preview"),
        number(
            Analytics.PAID_TO_FREE,
            about(USERS, "0.5 is one paid user for two free ones; no value while nobody is on a free plan."),
            PromQL(ratio(paid, free)),
            decimals=2,
        ),
    ]


def charts() -> list[dashboard.Panel]:
    """Build the four charts."""
    return [
        lines(
            Analytics.AI_REQUESTS_DAY,
            about(AI_REQUESTS, "Here: in the hour before each point."),
            PromQL(highest(AI_REQUESTS, window="1h"), QUEUES["ai"].title),
            color=QUEUES["ai"].color,
            has_history=True,
            last="24h",
        ),
        lines(
            Analytics.DAU_FORTNIGHT,
            """Distinct users with a login, Live View join, AI request or preview request on each UTC day; the last
            point is today so far. Source: PostgreSQL (usage_analytics_daily), written by the roll-up.""",
            SQL(DAILY),
            color=style.BLUE,
            points=True,
            utc=True,
            last="14d",
        ),
        bars(
            Analytics.USERS_BY_PLAN,
            about(USERS),
            PromQL(highest(USERS, "plan"), "{{plan}}"),
            things=style.PLANS,
        ),
        lines(
            Analytics.AI_LATENCY_DAY,
            about(LATENCY, "Here: of AI jobs, in the hour before each point."),
            PromQL(highest(LATENCY, queue="ai", window="1h"), QUEUES["ai"].title),
            unit=SECONDS,
            color=QUEUES["ai"].color,
            has_history=True,
            last="24h",
        ),
    ]


def users() -> list[dashboard.Panel]:
    """Build the panels of users and devices."""
    return [
        lines(
            Analytics.ONLINE_USERS,
            about(ONLINE_USERS),
            PromQL(highest(ONLINE_USERS), "Online users"),
            color=style.BLUE,
        ),
        lines(
            Analytics.ONLINE_DEVICES,
            about(ONLINE_DEVICES),
            PromQL(highest(ONLINE_DEVICES, "device_type"), "{{device_type}}"),
            things=style.DEVICES,
            stacked=True,
        ),
        lines(
            Analytics.LIVE_VIEW_SESSIONS,
            about(LIVE_VIEW_SESSIONS),
            PromQL(highest(LIVE_VIEW_SESSIONS), "Live View sessions"),
            color=style.BLUE,
        ),
        *active_users(Analytics.DAU_NOW, Analytics.DAU_BY_PLAN, window="24h"),
        *active_users(Analytics.MAU_NOW, Analytics.MAU_BY_PLAN, window="30d"),
    ]


def active_users(now: Panel, by_plan: Panel, window: str) -> list[dashboard.Panel]:
    """Build DAU or MAU: the number, and its split by plan over time."""
    text = about(ACTIVE_USERS, f"Here: {window}.")
    return [
        number(now, text, PromQL(total(ACTIVE_USERS, window=window))),
        lines(
            by_plan,
            text,
            PromQL(highest(ACTIVE_USERS, "plan", window=window), "{{plan}}"),
            things=style.PLANS,
            stacked=True,
            has_history=True,
        ),
    ]


def ai_usage() -> list[dashboard.Panel]:
    """Build the panels of AI usage."""
    return [
        requests(Analytics.AI_REQUESTS_PER_MINUTE, AI_REQUESTS, "ai", "1m"),
        requests(Analytics.AI_REQUESTS_PER_HOUR, AI_REQUESTS, "ai", "1h"),
        lines(
            Analytics.AI_REQUESTS_PER_USER,
            about(PER_USER, "No value while nobody asked for anything."),
            PromQL(highest(PER_USER, "statistic", window="24h"), "{{statistic}}"),
            things=style.STATISTICS,
        ),
        bars(
            Analytics.AI_ERRORS_NOW,
            about(ERRORS),
            PromQL(highest(ERRORS, "kind", window="24h"), "{{kind}}"),
            things=style.ERROR_KINDS,
        ),
        lines(
            Analytics.AI_ERRORS,
            about(ERRORS, "Here: in the 24 hours before each point."),
            PromQL(highest(ERRORS, "kind", window="24h"), "{{kind}}"),
            things=style.ERROR_KINDS,
            stacked=True,
            has_history=True,
        ),
    ]


def workers() -> list[dashboard.Panel]:
    """Build the panels of workers."""
    worker, heartbeat = "Worker", "Last heartbeat"
    return [
        listing(
            Analytics.CPU_WORKERS,
            about(HEALTHY, "Every worker that is no GPU worker, and how long ago its last heartbeat was."),
            PromQL(cpu_workers(HEALTHY, LAST_HEARTBEAT), now=True),
            columns={"worker": worker, "kind": "Kind", "status": "Status", "Value": heartbeat},
            words={"kind": style.WORKER_KINDS, "status": style.WORKER_STATES},
            unit=SECONDS,
            limits=style.HEARTBEAT,
        ),
        listing(
            Analytics.GPU_WORKERS,
            about(GPU_STATE, "With how long ago its last heartbeat was, and the instance it runs on."),
            PromQL(gpu_workers(GPU_STATE, LAST_HEARTBEAT, GPU_INFO), now=True),
            columns={
                "worker": worker,
                "state": "State",
                "Value": heartbeat,
                "instance_type": "Instance",
                "lifecycle": "Lifecycle",
            },
            words={"state": style.WORKER_STATES},
            unit=SECONDS,
            limits=style.HEARTBEAT,
        ),
        lines(
            Analytics.HEALTHY_WORKERS,
            about(HEALTHY, "Here: how many are."),
            PromQL(total(HEALTHY, "kind"), "{{kind}}"),
            things=style.WORKER_KINDS,
        ),
        lines(
            Analytics.GPU_INSTANCES,
            about(GPU_SECONDS, "Here: seconds run in each second, which is how many ran."),
            PromQL(rate(GPU_SECONDS, "instance_type", "lifecycle"), "{{instance_type}} {{lifecycle}}"),
            shades_of=style.WORKER_KINDS["gpu"].color,
            stacked=True,
        ),
    ]


def monetization() -> list[dashboard.Panel]:
    """Build the panels of monetization."""
    plans = {
        Analytics.PAID_USERS: "paid",
        Analytics.FREE_USERS: "free",
        Analytics.TRIAL_USERS: "trial",
        Analytics.EXPIRED_TRIALS: "trial_expired",
    }
    return [
        number(Analytics.ALL_USERS, about(USERS), PromQL(total(USERS))),
        *(number(panel, about(USERS), PromQL(highest(USERS, plan=plan))) for panel, plan in plans.items()),
        lines(
            Analytics.USERS_OVER_TIME,
            about(USERS),
            PromQL(highest(USERS, "plan"), "{{plan}}"),
            things=style.PLANS,
            stacked=True,
        ),
        cost_now(Analytics.AI_COST_SO_FAR, MONTH_TO_DATE),
        cost_now(Analytics.AI_COST_PROJECTED, PROJECTED),
        lines(
            Analytics.AI_COST,
            about(MONTH_TO_DATE, IN_MONTH),
            PromQL(highest(MONTH_TO_DATE, "component"), "{{component}}"),
            unit=DOLLARS,
            decimals=2,
            things=style.COMPONENTS,
            stacked=True,
        ),
        bars(
            Analytics.AI_TOKENS,
            about(TOKENS),
            PromQL(highest(TOKENS, "model", "direction"), "{{model}} {{direction}}"),
            color=QUEUES["ai"].color,
        ),
    ]


def incidents() -> list[dashboard.Panel]:
    """Build the recent incidents as numbers; the Analytics page lists them."""
    both = {"ai": (AI_ERRORS, style.ERROR_KINDS), "preview": (PREVIEW_FAILURES, style.FAILURE_KINDS)}
    text = "Events ai.error and preview.failed by error_kind, on all hosts of logs. Source: the log files."
    things = {
        f"{queue} {kind}": style.Thing(f"{QUEUES[queue].title}: {thing.title.lower()}", thing.color)
        for queue, (_, kinds) in both.items()
        for kind, thing in kinds.items()
    }
    return [
        lines(
            Analytics.INCIDENTS_OVER_TIME,
            f"{text} Per minute.",
            *(PromQL(per_minute(log_rate(spec, "kind")), f"{queue} {{{{kind}}}}") for queue, (spec, _) in both.items()),
            things=things,
            bars=True,
        ),
        bars(
            Analytics.INCIDENTS_BY_KIND,
            f"{text} As Prometheus extrapolates it, so not always a whole number.",
            *(
                PromQL(log_increase(spec, "kind", over=RANGE), f"{queue} {{{{kind}}}}", now=True)
                for queue, (spec, _) in both.items()
            ),
            things=things,
        ),
    ]


def cost_now(panel: Panel, spec: MetricSpec) -> dashboard.Panel:
    """Build the sum of both components; no value while one of them is unknown, since half the cost would pass for
    all."""
    tokens, gpu = (highest(spec, component=component) for component in ("tokens", "gpu"))
    return number(panel, about(spec, IN_MONTH), PromQL(f"{tokens} + {gpu}"), unit=DOLLARS, decimals=2)
