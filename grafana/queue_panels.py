"""The panels of queues and jobs, of the dashboard HiveSync Analytics (`dashboards/analytics.py`)."""

from __future__ import annotations

from exporter.collectors.dead_letters import DEAD_LETTERS
from exporter.collectors.jobs import JOBS, OLDEST
from exporter.collectors.latency import LATENCY
from exporter.collectors.previews import REQUESTS as PREVIEW_REQUESTS
from exporter.collectors.queues import DEPTH, PROCESSING
from exporter.collectors.unacked import UNACKED
from exporter.spec import MetricSpec
from grafana import thresholds
from grafana.drawing import MINUTES, NOTHING, RATE, SECONDS, about, stat, timeseries
from grafana.promql import age, ever_above_zero, in_minutes, max_by, per_minute, rate, ratio, sum_by
from grafana.queries import PromQL
from grafana.sdk import dashboard
from presentation import colors, label_styles
from presentation.label_styles import QUEUES
from presentation.panels import Analytics, Panel


def queues() -> list[dashboard.Panel]:
    """Build the panels of queues and jobs."""
    seconds, jobs = (rate(PROCESSING, "queue", part=part) for part in ("_sum", "_count"))
    return [
        queue(Analytics.AI_QUEUE, "ai"),
        queue(Analytics.PREVIEW_QUEUE, "preview"),
        latency(Analytics.AI_LATENCY, "ai"),
        latency(Analytics.PREVIEW_LATENCY, "preview"),
        requests(Analytics.PREVIEW_REQUESTS, PREVIEW_REQUESTS, "preview", "1h"),
        timeseries(
            Analytics.AI_JOBS,
            about(PROCESSING),
            PromQL(per_minute(jobs), "{{queue}}"),
            unit=RATE,
            styles={"ai": QUEUES["ai"]},
        ),
        timeseries(
            Analytics.AI_PROCESSING,
            about(
                PROCESSING,
                "Shown: the mean of the jobs that ended around each point, without waiting time.",
            ),
            PromQL(ratio(seconds, jobs), "{{queue}}"),
            unit=SECONDS,
            styles={"ai": QUEUES["ai"]},
        ),
        jobs_not_ended(Analytics.AI_JOBS_WAITING, "ai"),
        jobs_not_ended(Analytics.PREVIEW_JOBS_WAITING, "preview"),
        timeseries(
            Analytics.OLDEST_WAITING,
            about(OLDEST, "Shown: time since then."),
            PromQL(in_minutes(age(max_by(OLDEST, "queue"))), "{{queue}}"),
            unit=MINUTES,
            styles=QUEUES,
        ),
        timeseries(
            Analytics.UNACKED,
            about(UNACKED),
            PromQL(max_by(UNACKED), "With workers"),
            color=colors.BLUE,
        ),
        timeseries(
            Analytics.DEAD_LETTERS,
            about(DEAD_LETTERS),
            PromQL(ever_above_zero(max_by(DEAD_LETTERS, "name"), DEAD_LETTERS, "name"), "{{name}}"),
            shades_of=colors.BAD,
            styles=NOTHING,
        ),
    ]


def queue_now(panel: Panel, name: str) -> dashboard.Panel:
    """Build the number of waiting jobs of a queue, over all its lists."""
    return stat(
        panel,
        about(DEPTH, f"{QUEUES[name].title} jobs, over all their queues."),
        PromQL(sum_by(DEPTH, queue=name)),
        thresholds=thresholds.QUEUE_DEPTH[name],
    )


def queue(panel: Panel, name: str) -> dashboard.Panel:
    """Build the number of waiting jobs, list by list."""
    return timeseries(
        panel,
        about(DEPTH),
        PromQL(max_by(DEPTH, "name", queue=name), "{{name}}"),
        shades_of=QUEUES[name].color,
        stacked=True,
    )


def jobs_not_ended(panel: Panel, name: str) -> dashboard.Panel:
    """Build the jobs that wait and run, as PostgreSQL knows them, with the queue's depth beside them."""
    return timeseries(
        panel,
        about(JOBS, "In the queue: the entries of its lists."),
        PromQL(max_by(JOBS, "state", queue=name), "{{state}}"),
        PromQL(sum_by(DEPTH, queue=name), label_styles.IN_THE_QUEUE),
        styles=label_styles.JOB_STATES,
    )


def latency(panel: Panel, name: str) -> dashboard.Panel:
    """Build the mean latency in all windows. Only the longest is joined over the hourly points of the past: between the
    points of the shorter ones no value is known."""
    return timeseries(
        panel,
        about(LATENCY),
        PromQL(max_by(LATENCY, "window", queue=name), "{{window}}"),
        unit=SECONDS,
        styles=label_styles.WINDOWS,
        history_of=["1h"],
    )


def requests(panel: Panel, spec: MetricSpec, name: str, window: str) -> dashboard.Panel:
    """Build the requests in a sliding window."""
    return timeseries(
        panel,
        about(spec, f"Window before each point: {label_styles.WINDOWS[window].title}."),
        PromQL(max_by(spec, window=window), QUEUES[name].title),
        color=QUEUES[name].color,
        has_history=True,
    )
