"""HiveSync Operations: the exporter itself, and the reliability of its numbers.

Of several exporters the worst is shown.
"""

from __future__ import annotations

from exporter.collector import SKIPPED
from exporter.collectors.logs import AI_EVENTS, LATE, LINES, PREVIEW_EVENTS, UNREAD
from exporter.collectors.rollup import LATEST_DAY
from exporter.exposition import BUILD_INFO
from exporter.snapshot import COLLECTOR_UP, REFRESH_DURATION, REFRESH_FAILURES, SOURCE_LAST_SUCCESS, SOURCE_UP
from grafana import thresholds
from grafana.drawing import AGE, HOURS, NOTHING, RATE, SECONDS, about, bargauge, stat, state_timeline, table, timeseries
from grafana.layout import assemble
from grafana.promql import (
    ALERTS,
    NONE,
    ON_TARGET,
    RANGE,
    SCRAPE_DURATION,
    UP,
    age,
    ever_above_zero,
    in_hours,
    log_rate,
    max_by,
    mean,
    min_by,
    number_of_zeros,
    or_zero,
    per_minute,
    quantile,
    rate,
    select,
)
from grafana.queries import PromQL
from grafana.sdk import dashboard
from presentation import colors, label_styles
from presentation.panels import ANALYTICS, Operations

DESCRIPTION = (
    "The exporter itself: state of the sources, age of the data, duration of refreshes, progress of the logs and the "
    "roll-up, firing alerts. Of several exporters the worst value is shown."
)


def build() -> dashboard.Dashboard:
    """Build the dashboard."""
    drawn = [*state(), *sources(), *refreshes(), *logs(), *rollup_and_alerts()]
    return assemble(Operations, DESCRIPTION, drawn, since="now-3h", others=[ANALYTICS])


def state() -> list[dashboard.Panel]:
    """Build the panels of current faults."""
    return [
        stat(
            Operations.SOURCES_NOW,
            about(SOURCE_UP),
            PromQL(min_by(SOURCE_UP, "source"), "{{source}}"),
            mappings=label_styles.UP,
            styles=label_styles.SOURCES,
            unit="bool",
        ),
        stat(
            Operations.TARGETS_NOW,
            about(UP, "Shown: the number of targets that are down, over all jobs of this Prometheus."),
            PromQL(number_of_zeros(min_by(UP, *ON_TARGET))),
            thresholds=thresholds.ABOVE_ZERO,
        ),
        stat(
            Operations.COLLECTORS_NOW,
            about(COLLECTOR_UP, "Shown: the number of failing collectors."),
            PromQL(number_of_zeros(min_by(COLLECTOR_UP, "collector"))),
            thresholds=thresholds.ABOVE_ZERO,
        ),
        stat(
            Operations.ALERTS_NOW,
            about(ALERTS, "Shown: the number of firing alerts."),
            PromQL(or_zero(f"count({select(ALERTS, alertstate='firing')})")),
            thresholds=thresholds.ABOVE_ZERO,
        ),
        stat(
            Operations.ROLLUP_NOW,
            about(LATEST_DAY, "Shown: the time since then, normally under a day."),
            PromQL(age(max_by(LATEST_DAY))),
            unit=AGE,
            decimals=1,
            thresholds=thresholds.ROLLUP_AGE,
        ),
    ]


def sources() -> list[dashboard.Panel]:
    """Build the panels of sources, and of the collectors that read them."""
    return [
        state_timeline(
            Operations.SOURCES_UP,
            about(SOURCE_UP),
            PromQL(min_by(SOURCE_UP, "source"), "{{source}}"),
            styles=label_styles.SOURCES,
        ),
        timeseries(
            Operations.SOURCES_AGE,
            about(SOURCE_LAST_SUCCESS, "Shown: the time since then."),
            PromQL(age(min_by(SOURCE_LAST_SUCCESS, "source")), "{{source}}"),
            unit=SECONDS,
            styles=label_styles.SOURCES,
        ),
        state_timeline(
            Operations.COLLECTORS_UP,
            about(COLLECTOR_UP),
            PromQL(min_by(COLLECTOR_UP, "collector"), "{{collector}}"),
        ),
        timeseries(
            Operations.COLLECTORS_FAILURES,
            about(REFRESH_FAILURES, "Shown per minute."),
            PromQL(
                ever_above_zero(per_minute(rate(REFRESH_FAILURES, "collector")), REFRESH_FAILURES, "collector"),
                "{{collector}}",
            ),
            unit=RATE,
            shades_of=colors.BAD,
            styles=NOTHING,
        ),
    ]


def refreshes() -> list[dashboard.Panel]:
    """Build the panels of refreshes: durations, and values left out."""
    return [
        bargauge(
            Operations.REFRESH_DURATIONS,
            about(REFRESH_DURATION, "Shown: the 95th percentile in the time range, estimated from the buckets."),
            PromQL(quantile(0.95, REFRESH_DURATION, "collector", over=RANGE), "{{collector}}"),
            unit=SECONDS,
            thresholds=thresholds.REFRESH_SECONDS,
        ),
        timeseries(
            Operations.REFRESH_MEANS,
            about(REFRESH_DURATION, "Shown: the mean."),
            PromQL(mean(REFRESH_DURATION, "collector"), "{{collector}}"),
            unit=SECONDS,
            shades_of=colors.BLUE,
        ),
        timeseries(
            Operations.SKIPPED_VALUES,
            about(SKIPPED),
            PromQL(
                ever_above_zero(max_by(SKIPPED, "collector", "reason"), SKIPPED, "collector", "reason"),
                "{{collector}}: {{reason}}",
            ),
            shades_of=colors.BAD,
            styles={f"{NONE}: {NONE}": NOTHING[NONE]},
        ),
        timeseries(
            Operations.SCRAPES,
            about(SCRAPE_DURATION),
            PromQL(max_by(SCRAPE_DURATION, *ON_TARGET), "{{job}} {{instance}}"),
            unit=SECONDS,
            shades_of=colors.BLUE,
        ),
    ]


def logs() -> list[dashboard.Panel]:
    """Build the panels of the logs: delay and progress of their reading."""
    return [
        timeseries(
            Operations.LOG_LINES,
            about(LINES, "Shown per second, both logs, over all log hosts."),
            PromQL(ever_above_zero(log_rate(LINES, "result"), LINES, "result"), "{{result}}"),
            unit="cps",
            styles={**label_styles.LOG_RESULTS, **NOTHING},
            stacked=True,
        ),
        timeseries(
            Operations.LOG_UNREAD,
            about(UNREAD, "Of several log hosts the highest value."),
            PromQL(max_by(UNREAD, "log"), "{{log}}"),
            unit="bytes",
            styles=label_styles.LOGS,
        ),
        timeseries(
            Operations.LOG_LATE,
            about(LATE, "Shown per second, over all log hosts."),
            PromQL(ever_above_zero(log_rate(LATE, "log"), LATE, "log"), "{{log}}"),
            unit="cps",
            styles={**label_styles.LOGS, **NOTHING},
        ),
        timeseries(
            Operations.LOG_EVENTS,
            "Known events in both logs, per minute, over all log hosts. Source: the log files.",
            *(PromQL(per_minute(log_rate(spec, "event")), "{{event}}") for spec in (AI_EVENTS, PREVIEW_EVENTS)),
            unit=RATE,
            styles=label_styles.LOG_EVENTS,
        ),
    ]


def rollup_and_alerts() -> list[dashboard.Panel]:
    """Build the panels of the roll-up, alerts and running processes."""
    return [
        timeseries(
            Operations.ROLLUP_AGE,
            about(LATEST_DAY, "Shown: the time since then, normally a sawtooth of one day."),
            PromQL(in_hours(age(max_by(LATEST_DAY))), "Age"),
            unit=HOURS,
            color=colors.BLUE,
        ),
        table(
            Operations.ALERTS,
            about(ALERTS, "Normally none."),
            PromQL(max_by(ALERTS, "alertname", "alertstate", "severity")),
            columns={"alertname": "Alert", "alertstate": "State", "severity": "Severity"},
            mappings={"alertstate": label_styles.ALERT_STATES},
            sort_by="alertstate",
            nothing="none firing",
        ),
        state_timeline(
            Operations.TARGETS,
            about(UP),
            PromQL(min_by(UP, *ON_TARGET), "{{job}} {{instance}}"),
        ),
        table(
            Operations.EXPORTERS,
            about(BUILD_INFO),
            PromQL(max_by(BUILD_INFO, "instance", "version", "revision")),
            columns={"instance": "Exporter", "version": "Version", "revision": "Revision"},
        ),
    ]
