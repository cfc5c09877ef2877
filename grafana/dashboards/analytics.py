"""HiveSync Analytics: users, AI usage, queues and workers, monetization and incidents, in the order of the catalogue.

A function per row, a call per panel. Titles and sizes of the panels are in `presentation/panels.py`.
"""

from __future__ import annotations

from exporter.collectors.activity import ACTIVE_USERS
from exporter.collectors.ai import ERRORS, PER_USER
from exporter.collectors.ai import REQUESTS as AI_REQUESTS
from exporter.collectors.cost import MONTH_TO_DATE, PROJECTED, TOKENS
from exporter.collectors.logs import AI_ERRORS, PREVIEW_FAILURES
from exporter.collectors.online import LIVE_VIEW_SESSIONS, ONLINE_DEVICES, ONLINE_USERS
from exporter.collectors.users import USERS
from exporter.collectors.workers import GPU_INFO, GPU_SECONDS, GPU_STATE, HEALTHY, LAST_HEARTBEAT
from exporter.spec import MetricSpec
from grafana import thresholds
from grafana.chart_panels import FORTNIGHT, ai_latency, ai_requests, daily_users, users_by_plan
from grafana.drawing import AGE, LARGE, NOTHING, RATE, RATIO, about, bargauge, stat, table, timeseries
from grafana.growth_panels import growth
from grafana.layout import assemble
from grafana.promql import (
    NONE,
    RANGE,
    cpu_workers,
    ever_above_zero,
    gpu_workers,
    labelled,
    log_increase,
    log_rate,
    max_by,
    per_minute,
    rate,
    ratio,
    rounded,
    sum_by,
    without_zeros,
)
from grafana.queries import PromQL
from grafana.queue_panels import queue_now, queues, requests
from grafana.sdk import dashboard
from presentation import colors, label_styles
from presentation.label_styles import QUEUES
from presentation.panels import OPERATIONS, Analytics, Panel

DOLLARS = "currencyUSD"

DESCRIPTION = (
    "Users, AI usage, queues, workers and costs of HiveSync. Aggregates only. "
    "Of several exporters each number is taken once."
)

IN_MONTH = "Not an invoice."

FOLDED = [panel for panel in Analytics if panel.is_row and panel not in (Analytics.SUMMARY, Analytics.CHARTS)]
"""Header and charts are on the first screen; the other rows open one by one."""


def build() -> dashboard.Dashboard:
    """Build the dashboard."""
    drawn = [
        *summary(),
        *charts(),
        *users(),
        *growth(),
        *ai_usage(),
        *queues(),
        *workers(),
        *monetization(),
        *incidents(),
    ]
    return assemble(Analytics, DESCRIPTION, drawn, since="now-24h", others=[OPERATIONS], folded=FOLDED)


def summary() -> list[dashboard.Panel]:
    """Build the summary header."""
    paid, free = (max_by(USERS, plan=plan) for plan in ("paid", "free"))
    return [
        stat(Analytics.ONLINE_USERS_NOW, about(ONLINE_USERS), PromQL(max_by(ONLINE_USERS))),
        stat(Analytics.AI_REQUESTS_LAST_HOUR, about(AI_REQUESTS), PromQL(max_by(AI_REQUESTS, window="1h"))),
        queue_now(Analytics.AI_QUEUE_NOW, "ai"),
        queue_now(Analytics.PREVIEW_QUEUE_NOW, "preview"),
        stat(
            Analytics.PAID_TO_FREE,
            about(USERS, "Shown: paid users per free user, so 0.5 is one per two; no value without free users."),
            PromQL(ratio(paid, free)),
            unit=RATIO,
            decimals=2,
        ),
    ]


def charts() -> list[dashboard.Panel]:
    """Build the four charts."""
    return [
        ai_requests(Analytics.AI_REQUESTS_DAY),
        daily_users(Analytics.DAU_FORTNIGHT, after=FORTNIGHT, last="14d"),
        users_by_plan(Analytics.USERS_BY_PLAN),
        ai_latency(Analytics.AI_LATENCY_DAY),
    ]


def users() -> list[dashboard.Panel]:
    """Build the panels of users and devices."""
    return [
        timeseries(
            Analytics.ONLINE_USERS,
            about(ONLINE_USERS),
            PromQL(max_by(ONLINE_USERS), "Online users"),
            color=colors.BLUE,
        ),
        timeseries(
            Analytics.ONLINE_DEVICES,
            about(ONLINE_DEVICES),
            PromQL(max_by(ONLINE_DEVICES, "device_type"), "{{device_type}}"),
            styles=label_styles.DEVICES,
            stacked=True,
        ),
        timeseries(
            Analytics.LIVE_VIEW_SESSIONS,
            about(LIVE_VIEW_SESSIONS),
            PromQL(max_by(LIVE_VIEW_SESSIONS), "Live View sessions"),
            color=colors.BLUE,
        ),
        *active_users(Analytics.DAU_NOW, Analytics.DAU_BY_PLAN, window="24h"),
        *active_users(Analytics.MAU_NOW, Analytics.MAU_BY_PLAN, window="30d"),
    ]


def active_users(now: Panel, by_plan: Panel, window: str) -> list[dashboard.Panel]:
    """Build DAU or MAU: the number, and its split by plan over time."""
    text = about(ACTIVE_USERS, f"Window: {window}.")
    return [
        stat(now, text, PromQL(sum_by(ACTIVE_USERS, window=window))),
        timeseries(
            by_plan,
            text,
            PromQL(max_by(ACTIVE_USERS, "plan", window=window), "{{plan}}"),
            styles=label_styles.PLANS,
            stacked=True,
            has_history=True,
        ),
    ]


def ai_usage() -> list[dashboard.Panel]:
    """Build the panels of AI usage."""
    errors = max_by(ERRORS, "kind", window="24h")
    styles = {**label_styles.ERROR_KINDS, **NOTHING}
    return [
        requests(Analytics.AI_REQUESTS_PER_MINUTE, AI_REQUESTS, "ai", "1m"),
        timeseries(
            Analytics.AI_REQUESTS_PER_USER,
            about(PER_USER, "No value without requests."),
            PromQL(max_by(PER_USER, "statistic", window="24h"), "{{statistic}}"),
            unit=RATIO,
            styles=label_styles.STATISTICS,
        ),
        bargauge(
            Analytics.AI_ERRORS_NOW,
            about(ERRORS),
            PromQL(without_zeros(errors, "kind"), "{{kind}}"),
            styles=styles,
        ),
        timeseries(
            Analytics.AI_ERRORS,
            about(ERRORS, "Each point is for the 24 hours before it."),
            PromQL(ever_above_zero(errors, ERRORS, "kind", window="24h"), "{{kind}}"),
            styles=styles,
            stacked=True,
            has_history=True,
        ),
    ]


def workers() -> list[dashboard.Panel]:
    """Build the panels of workers."""
    worker, heartbeat = "Worker", "Last heartbeat"
    return [
        table(
            Analytics.CPU_WORKERS,
            about(HEALTHY, "All workers other than GPU workers; the time is the age of the last heartbeat."),
            PromQL(cpu_workers(HEALTHY, LAST_HEARTBEAT)),
            columns={"worker": worker, "kind": "Kind", "status": "Status", "Value": heartbeat},
            mappings={"kind": label_styles.WORKER_KINDS, "status": label_styles.WORKER_STATES},
            unit=AGE,
            decimals=1,
            thresholds=thresholds.HEARTBEAT,
        ),
        table(
            Analytics.GPU_WORKERS,
            about(GPU_STATE, "The time is the age of the last heartbeat."),
            PromQL(gpu_workers(GPU_STATE, LAST_HEARTBEAT, GPU_INFO)),
            columns={
                "worker": worker,
                "state": "State",
                "Value": heartbeat,
                "instance_type": "Instance",
                "lifecycle": "Lifecycle",
            },
            mappings={"state": label_styles.WORKER_STATES},
            unit=AGE,
            decimals=1,
            thresholds=thresholds.HEARTBEAT,
        ),
        timeseries(
            Analytics.HEALTHY_WORKERS,
            about(HEALTHY, "Shown: the number of healthy workers."),
            PromQL(sum_by(HEALTHY, "kind"), "{{kind}}"),
            styles=label_styles.WORKER_KINDS,
        ),
        timeseries(
            Analytics.GPU_INSTANCES,
            about(GPU_SECONDS, "Shown: the rate, which is the number of running instances."),
            PromQL(rate(GPU_SECONDS, "instance_type", "lifecycle"), "{{instance_type}} {{lifecycle}}"),
            shades_of=label_styles.WORKER_KINDS["gpu"].color,
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
        stat(Analytics.ALL_USERS, about(USERS), PromQL(sum_by(USERS))),
        *(stat(panel, about(USERS), PromQL(max_by(USERS, plan=plan))) for panel, plan in plans.items()),
        timeseries(
            Analytics.USERS_OVER_TIME,
            about(USERS),
            PromQL(max_by(USERS, "plan"), "{{plan}}"),
            styles=label_styles.PLANS,
            stacked=True,
        ),
        cost_now(Analytics.AI_COST_SO_FAR, MONTH_TO_DATE),
        cost_now(Analytics.AI_COST_PROJECTED, PROJECTED),
        timeseries(
            Analytics.AI_COST,
            about(MONTH_TO_DATE, IN_MONTH),
            PromQL(max_by(MONTH_TO_DATE, "component"), "{{component}}"),
            unit=DOLLARS,
            decimals=2,
            styles=label_styles.COMPONENTS,
            stacked=True,
        ),
        bargauge(
            Analytics.AI_TOKENS,
            about(TOKENS),
            PromQL(max_by(TOKENS, "model", "direction"), "{{model}} {{direction}}"),
            unit=LARGE,
            color=QUEUES["ai"].color,
        ),
    ]


def incidents() -> list[dashboard.Panel]:
    """Build the recent incidents as numbers; the Analytics page lists them."""
    both = {"ai": (AI_ERRORS, label_styles.ERROR_KINDS), "preview": (PREVIEW_FAILURES, label_styles.FAILURE_KINDS)}
    text = "Events ai.error and preview.failed by error_kind, over all log hosts"
    styles = {
        f"{queue} {kind}": label_styles.LabelStyle(
            f"{QUEUES[queue].title}: {kind_style.title.lower()}", kind_style.color
        )
        for queue, (_, kinds) in both.items()
        for kind, kind_style in {**kinds, **NOTHING}.items()
    }
    in_range = " or ".join(
        labelled(rounded(log_increase(spec, "kind", over=RANGE)), "queue", queue) for queue, (spec, _) in both.items()
    )
    return [
        timeseries(
            Analytics.INCIDENTS_OVER_TIME,
            f"{text}, per minute. Source: the log files.",
            *(
                PromQL(ever_above_zero(per_minute(log_rate(spec, "kind")), spec, "kind"), f"{queue} {{{{kind}}}}")
                for queue, (spec, _) in both.items()
            ),
            unit=RATE,
            styles=styles,
            bars=True,
        ),
        bargauge(
            Analytics.INCIDENTS_BY_KIND,
            f"{text}; extrapolated by Prometheus to the time range, and rounded. Source: the log files.",
            PromQL(without_zeros(f"({in_range})", "queue", "kind"), "{{queue}} {{kind}}"),
            styles={**styles, f"{NONE} {NONE}": NOTHING[NONE]},
        ),
    ]


def cost_now(panel: Panel, spec: MetricSpec) -> dashboard.Panel:
    """Build the sum of both components; no value while one of them is unknown, since a part would pass for the whole
    cost."""
    tokens, gpu = (max_by(spec, component=component) for component in ("tokens", "gpu"))
    return stat(panel, about(spec, IN_MONTH), PromQL(f"{tokens} + {gpu}"), unit=DOLLARS, decimals=2)
