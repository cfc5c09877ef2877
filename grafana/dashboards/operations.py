"""HiveSync Operations: the exporter itself, and the reliability of its numbers.

Of several exporters the worst is shown.
"""

from __future__ import annotations

from exporter.collector import SKIPPED
from exporter.collectors.logs import AI_EVENTS, LATE, LINES, PREVIEW_EVENTS, UNREAD
from exporter.collectors.rollup import LATEST_DAY
from exporter.exposition import BUILD_INFO
from exporter.snapshot import COLLECTOR_UP, REFRESH_DURATION, REFRESH_FAILURES, SOURCE_LAST_SUCCESS, SOURCE_UP
from grafana import style
from grafana.drawing import about, bars, lines, listing, number, up_or_down
from grafana.layout import assemble
from grafana.panels import ANALYTICS, Operations
from grafana.promql import (
    ALERTS,
    ON_TARGET,
    SCRAPE_DURATION,
    UP,
    age,
    highest,
    log_rate,
    lowest,
    mean,
    number_of_zeros,
    or_zero,
    per_minute,
    quantile,
    rate,
    select,
)
from grafana.queries import PromQL
from grafana.sdk import dashboard

SECONDS = "s"

DESCRIPTION = (
    "The exporter itself: whether its sources answer, how old the data is, how long refreshes take, whether the logs "
    "and the roll-up keep up, and which alerts are firing. Of several exporters the worst is shown."
)


def build() -> dashboard.Dashboard:
    """Build the dashboard."""
    drawn = [*state(), *sources(), *refreshes(), *logs(), *rollup_and_alerts()]
    return assemble(Operations, DESCRIPTION, drawn, since="now-3h", others=[ANALYTICS])


def state() -> list[dashboard.Panel]:
    """Build the panels of current faults."""
    return [
        number(
            Operations.SOURCES_NOW,
            about(SOURCE_UP),
            PromQL(lowest(SOURCE_UP, "source"), "{{source}}"),
            values=style.UP,
            things=style.SOURCES,
            unit="bool",
            sparkline=False,
        ),
        number(
            Operations.TARGETS_NOW,
            about(UP, "Here: how many could not; every target of this Prometheus."),
            PromQL(number_of_zeros(lowest(UP, *ON_TARGET))),
            limits=style.COUNT_OF_WRONG,
        ),
        number(
            Operations.COLLECTORS_NOW,
            about(COLLECTOR_UP, "Here: how many did not."),
            PromQL(number_of_zeros(lowest(COLLECTOR_UP, "collector"))),
            limits=style.COUNT_OF_WRONG,
        ),
        number(
            Operations.ALERTS_NOW,
            about(ALERTS, "Here: how many are firing."),
            PromQL(or_zero(f"count({select(ALERTS, alertstate='firing')})")),
            limits=style.COUNT_OF_WRONG,
        ),
        number(
            Operations.ROLLUP_NOW,
            about(LATEST_DAY, "Here: how long ago that was, under a day while all is well."),
            PromQL(age(highest(LATEST_DAY))),
            unit=SECONDS,
            limits=style.ROLLUP_AGE,
            sparkline=False,
        ),
    ]


def sources() -> list[dashboard.Panel]:
    """Build the panels of sources, and of the collectors that read them."""
    return [
        up_or_down(
            Operations.SOURCES_UP,
            about(SOURCE_UP),
            PromQL(lowest(SOURCE_UP, "source"), "{{source}}"),
            things=style.SOURCES,
        ),
        lines(
            Operations.SOURCES_AGE,
            about(SOURCE_LAST_SUCCESS, "Here: how long ago that was."),
            PromQL(age(lowest(SOURCE_LAST_SUCCESS, "source")), "{{source}}"),
            unit=SECONDS,
            things=style.SOURCES,
        ),
        up_or_down(
            Operations.COLLECTORS_UP,
            about(COLLECTOR_UP),
            PromQL(lowest(COLLECTOR_UP, "collector"), "{{collector}}"),
        ),
        lines(
            Operations.COLLECTORS_FAILURES,
            about(REFRESH_FAILURES, "Here: per minute."),
            PromQL(per_minute(rate(REFRESH_FAILURES, "collector")), "{{collector}}"),
            shades_of=style.BAD,
        ),
    ]


def refreshes() -> list[dashboard.Panel]:
    """Build the panels of refreshes: durations, and values left out."""
    return [
        bars(
            Operations.REFRESH_DURATIONS,
            about(REFRESH_DURATION, "Here: what 95 of 100 do not exceed, told from buckets."),
            PromQL(quantile(0.95, REFRESH_DURATION, "collector"), "{{collector}}"),
            unit=SECONDS,
            limits=style.REFRESH_SECONDS,
        ),
        lines(
            Operations.REFRESH_MEANS,
            about(REFRESH_DURATION, "Here: the mean."),
            PromQL(mean(REFRESH_DURATION, "collector"), "{{collector}}"),
            unit=SECONDS,
            shades_of=style.BLUE,
        ),
        lines(
            Operations.SKIPPED_VALUES,
            about(SKIPPED),
            PromQL(highest(SKIPPED, "collector", "reason"), "{{collector}}: {{reason}}"),
            shades_of=style.BAD,
        ),
        lines(
            Operations.SCRAPES,
            about(SCRAPE_DURATION),
            PromQL(highest(SCRAPE_DURATION, *ON_TARGET), "{{job}} {{instance}}"),
            unit=SECONDS,
            shades_of=style.BLUE,
        ),
    ]


def logs() -> list[dashboard.Panel]:
    """Build the panels of the logs: delay and progress of their reading."""
    return [
        lines(
            Operations.LOG_LINES,
            about(LINES, "Here: per second, both logs, on all hosts of logs."),
            PromQL(log_rate(LINES, "result"), "{{result}}"),
            unit="cps",
            things=style.LOG_RESULTS,
            stacked=True,
        ),
        lines(
            Operations.LOG_UNREAD,
            about(UNREAD, "Of several hosts of logs the one that lags most."),
            PromQL(highest(UNREAD, "log"), "{{log}}"),
            unit="bytes",
            things=style.LOGS,
        ),
        lines(
            Operations.LOG_LATE,
            about(LATE, "Here: per second, on all hosts of logs."),
            PromQL(log_rate(LATE, "log"), "{{log}}"),
            unit="cps",
            things=style.LOGS,
        ),
        lines(
            Operations.LOG_EVENTS,
            "Known events in both logs, per minute, on all hosts of logs. Source: the log files.",
            *(PromQL(per_minute(log_rate(spec, "event")), "{{event}}") for spec in (AI_EVENTS, PREVIEW_EVENTS)),
            things=style.LOG_EVENTS,
        ),
    ]


def rollup_and_alerts() -> list[dashboard.Panel]:
    """Build the panels of the roll-up, alerts and running processes."""
    return [
        lines(
            Operations.ROLLUP_AGE,
            about(LATEST_DAY, "Here: how long ago that was; a saw with teeth of a day while all is well."),
            PromQL(age(highest(LATEST_DAY)), "Age"),
            unit=SECONDS,
            color=style.BLUE,
        ),
        listing(
            Operations.ALERTS,
            about(ALERTS, "None is what one wants to see."),
            PromQL(highest(ALERTS, "alertname", "alertstate", "severity"), now=True),
            columns={"alertname": "Alert", "alertstate": "State", "severity": "Severity"},
            words={"alertstate": style.ALERT_STATES},
        ),
        up_or_down(
            Operations.TARGETS,
            about(UP),
            PromQL(lowest(UP, *ON_TARGET), "{{job}} {{instance}}"),
        ),
        listing(
            Operations.EXPORTERS,
            about(BUILD_INFO),
            PromQL(highest(BUILD_INFO, "instance", "version", "revision"), now=True),
            columns={"instance": "Exporter", "version": "Version", "revision": "Revision"},
        ),
    ]
