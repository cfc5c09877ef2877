"""The panels of queues and jobs, of the dashboard HiveSync Analytics (`dashboards/analytics.py`)."""

from __future__ import annotations

from exporter.collectors.dead_letters import DEAD_LETTERS
from exporter.collectors.jobs import JOBS, OLDEST
from exporter.collectors.latency import LATENCY
from exporter.collectors.previews import REQUESTS as PREVIEW_REQUESTS
from exporter.collectors.queues import DEPTH, PROCESSING
from exporter.collectors.unacked import UNACKED
from exporter.spec import MetricSpec
from grafana import style
from grafana.drawing import about, lines, number
from grafana.panels import Analytics, Panel
from grafana.promql import age, highest, per_minute, rate, ratio, total
from grafana.queries import PromQL
from grafana.sdk import dashboard
from grafana.style import QUEUES

SECONDS = "s"

BY_WINDOW = "A window without a job that succeeded has no value."


def queues() -> list[dashboard.Panel]:
    """Build the panels of queues and jobs."""
    seconds, jobs = (rate(PROCESSING, "queue", part=part) for part in ("_sum", "_count"))
    return [
        queue(Analytics.AI_QUEUE, "ai"),
        queue(Analytics.PREVIEW_QUEUE, "preview"),
        latency(Analytics.AI_LATENCY, "ai"),
        latency(Analytics.PREVIEW_LATENCY, "preview"),
        requests(Analytics.PREVIEW_REQUESTS, PREVIEW_REQUESTS, "preview", "1h"),
        lines(
            Analytics.AI_JOBS,
            about(PROCESSING),
            PromQL(per_minute(jobs), "{{queue}}"),
            things={"ai": QUEUES["ai"]},
        ),
        lines(
            Analytics.AI_PROCESSING,
            about(PROCESSING, "Here: the mean of the jobs that ended just then; without the time they waited."),
            PromQL(ratio(seconds, jobs), "{{queue}}"),
            unit=SECONDS,
            things={"ai": QUEUES["ai"]},
        ),
        jobs_not_ended(Analytics.AI_JOBS_WAITING, "ai"),
        jobs_not_ended(Analytics.PREVIEW_JOBS_WAITING, "preview"),
        lines(
            Analytics.OLDEST_WAITING,
            about(OLDEST, "Here: how long ago that was."),
            PromQL(age(highest(OLDEST, "queue")), "{{queue}}"),
            unit=SECONDS,
            things=QUEUES,
        ),
        lines(
            Analytics.UNACKED,
            about(UNACKED),
            PromQL(highest(UNACKED), "With workers"),
            color=style.BLUE,
        ),
        lines(
            Analytics.DEAD_LETTERS,
            about(DEAD_LETTERS),
            PromQL(highest(DEAD_LETTERS, "name"), "{{name}}"),
            shades_of=style.BAD,
        ),
    ]


def queue_now(panel: Panel, name: str) -> dashboard.Panel:
    """Build the number of waiting jobs of a queue, over all its lists."""
    return number(
        panel,
        about(DEPTH, f"Here: {QUEUES[name].title} jobs, over all its queues."),
        PromQL(total(DEPTH, queue=name)),
        limits=style.QUEUE_DEPTH[name],
    )


def queue(panel: Panel, name: str) -> dashboard.Panel:
    """Build the number of waiting jobs, list by list."""
    return lines(
        panel,
        about(DEPTH),
        PromQL(highest(DEPTH, "name", queue=name), "{{name}}"),
        shades_of=QUEUES[name].color,
        stacked=True,
    )


def jobs_not_ended(panel: Panel, name: str) -> dashboard.Panel:
    """Build the jobs that wait and run, as PostgreSQL knows them, with the queue's depth beside them."""
    return lines(
        panel,
        about(JOBS, "In the queue: the entries of its lists."),
        PromQL(highest(JOBS, "state", queue=name), "{{state}}"),
        PromQL(total(DEPTH, queue=name), style.IN_THE_QUEUE),
        things=style.JOB_STATES,
    )


def latency(panel: Panel, name: str) -> dashboard.Panel:
    """Build the mean latency in all windows. Only the longest is joined over the hourly points of the past: between the
    points of the shorter ones no value is known."""
    return lines(
        panel,
        about(LATENCY, BY_WINDOW),
        PromQL(highest(LATENCY, "window", queue=name), "{{window}}"),
        unit=SECONDS,
        things=style.WINDOWS,
        history_of=["1h"],
    )


def requests(panel: Panel, spec: MetricSpec, name: str, window: str) -> dashboard.Panel:
    """Build the requests in a sliding window."""
    return lines(
        panel,
        about(spec, f"Here: in the {style.WINDOWS[window].title} before each point."),
        PromQL(highest(spec, window=window), QUEUES[name].title),
        color=QUEUES[name].color,
        has_history=True,
    )
