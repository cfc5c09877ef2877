"""PromQL, built from the metrics' own specs: an unknown metric or label is an error here, not an empty panel.

Several exporters may be scraped: two with the same sources, or one on each host with logs. So nothing is summed over
scrape targets. A value that all exporters see alike is taken once (`max by`); a counter of a log's reader is taken once
per `log_host`, a label set on the targets where several hosts have logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.spec import Label, MetricSpec

RATE_INTERVAL = "$__rate_interval"
"""Grafana's variable: at least four scrapes, and at least one step of the chart."""

RANGE = "$__range"
"""Grafana's variable: the time range."""

NONE = "none"
"""Value of each label of the series in place of those that are all 0."""

LOG_HOST = "log_host"
"""The target label that separates the hosts of logs; without it there is a single host."""

_PROMETHEUS = "Prometheus itself"
_TARGET = (Label("job"), Label("instance"))
UP = MetricSpec("up", "gauge", "1 if the last scrape of the target succeeded, else 0.", _PROMETHEUS, _TARGET)
SCRAPE_DURATION = MetricSpec("scrape_duration_seconds", "gauge", "Duration of the scrape.", _PROMETHEUS, _TARGET)
ALERTS = MetricSpec(
    "ALERTS",
    "gauge",
    "1 while an alert is pending or firing.",
    _PROMETHEUS,
    (Label("alertname"), Label("alertstate", ("pending", "firing")), Label("severity")),
)
PROMETHEUS_SPECS = (UP, SCRAPE_DURATION, ALERTS)
"""Metrics that Prometheus records about its own work."""

ON_TARGET = ("job", "instance")
"""Labels of every scraped sample besides its own."""


@dataclass(frozen=True, slots=True)
class Not:
    """Any other value of a label."""

    value: str


Matcher = str | Not


def select(spec: MetricSpec, part: str = "", /, **labels: Matcher) -> str:
    """Return the selector of a metric's series with these label values; `part` is a histogram's or summary's `_sum`,
    `_count`, `_bucket`.

    Raises ValueError for a label the metric does not have, and for a value that is not in the label's closed set.
    """
    if unknown := labels.keys() - set(spec.label_names):
        raise ValueError(f"{spec.name} has no label {', '.join(sorted(unknown))}")
    for label in spec.labels:
        matcher = labels.get(label.name)
        value = matcher.value if isinstance(matcher, Not) else matcher
        if value is not None and label.values is not None and value not in label.values:
            raise ValueError(f"{spec.name}: {label.name} is never {value!r}")
    matchers = ",".join(
        f'{name}!="{value.value}"' if isinstance(value, Not) else f'{name}="{value}"' for name, value in labels.items()
    )
    return f"{spec.name}{part}{{{matchers}}}" if matchers else f"{spec.name}{part}"


def max_by(spec: MetricSpec, *by: str, **labels: Matcher) -> str:
    """Return the metric as exported, taken once over exporters. Every label must be named: kept (`by`) or fixed."""
    return _by("max", by, select(spec, **_all_named(spec, by, labels)))


def min_by(spec: MetricSpec, *by: str, **labels: Matcher) -> str:
    """As `max_by`, but the worst of several exporters: for metrics that are 1 while all is well, and for times."""
    return _by("min", by, select(spec, **_all_named(spec, by, labels)))


def sum_by(spec: MetricSpec, *by: str, **labels: Matcher) -> str:
    """Return the sum over the metric's own labels, each combination taken once."""
    free = tuple(name for name in spec.label_names if not isinstance(labels.get(name), str))
    return _by("sum", by, max_by(spec, *free, **labels))


def ratio(numerator: str, denominator: str) -> str:
    """Return the quotient; no sample where the denominator is 0 or absent."""
    return f"{numerator} / ({denominator} > 0)"


def rate(spec: MetricSpec, *by: str, part: str = "", **labels: Matcher) -> str:
    """Return the rate per second of a counter that all exporters see alike."""
    return _by("max", by, f"rate({select(spec, part, **_all_named(spec, by, labels))}[{RATE_INTERVAL}])")


def log_rate(spec: MetricSpec, *by: str) -> str:
    """Return the rate per second of a counter of lines, over all hosts of logs."""
    return _over_log_hosts(spec, by, f"rate({select(spec)}[{RATE_INTERVAL}])")


def log_increase(spec: MetricSpec, *by: str, over: str) -> str:
    """Return the increase of a counter of lines over a time, over all hosts of logs."""
    return _over_log_hosts(spec, by, f"increase({select(spec)}[{over}])")


def quantile(of: float, spec: MetricSpec, *by: str, over: str) -> str:
    """Return a histogram's quantile over the observations of all exporters in a time."""
    buckets = _by("sum", (*by, "le"), f"rate({select(spec, '_bucket')}[{over}])")
    return f"histogram_quantile({of:g}, {buckets})"


def mean(spec: MetricSpec, *by: str) -> str:
    """Return a histogram's mean over the observations of all exporters."""
    sums, counts = (_by("sum", by, f"rate({select(spec, part)}[{RATE_INTERVAL}])") for part in ("_sum", "_count"))
    return ratio(sums, counts)


def age(timestamp: str) -> str:
    """Return the seconds since a unix time."""
    return f"time() - {timestamp}"


def per_minute(expression: str) -> str:
    """Convert a rate per second into a rate per minute."""
    return f"60 * {expression}"


def in_minutes(seconds: str) -> str:
    """Convert seconds into minutes, so that a chart's axis is divided into minutes."""
    return f"({seconds}) / 60"


def in_hours(seconds: str) -> str:
    """Convert seconds into hours, so that a chart's axis is divided into hours."""
    return f"({seconds}) / 3600"


def rounded(expression: str) -> str:
    """Round to whole numbers: an increase is extrapolated, but counts have no halves."""
    return f"round({expression})"


def highest_first(expression: str) -> str:
    """Sort the result of an instant query by value."""
    return f"sort_desc({expression})"


def without_zeros(expression: str, *by: str) -> str:
    """Return the series above 0, for an instant query; if all are 0, a single series `none` of 0, which is not the same
    as no data."""
    return f"{expression} > 0 or {_none(f'max({expression}) == 0', by)}"


def ever_above_zero(expression: str, spec: MetricSpec, *by: str, **labels: Matcher) -> str:
    """Return the series of an expression of this metric that are above 0 at any time of the range, with their zeros; if
    none is, a single series `none` of 0, which is not the same as no data."""
    over = "max_over_time" if spec.type == "gauge" else "increase"
    ever = _by("max", by, f"{over}({select(spec, **labels)}[{RANGE}] @ end()) > 0")
    return f"{expression} and on ({', '.join(by)}) {ever} or {_none(f'max({expression}) unless on () {ever}', by)}"


def number_of_zeros(expression: str) -> str:
    """Return the number of series with the value 0, not 1; no sample, not 0, without any series."""
    return f"sum(1 - {expression})"


def or_zero(expression: str) -> str:
    """Return 0 for a missing sample: only for Prometheus' own metrics, where an absent series means none."""
    return f"{expression} or vector(0)"


def labelled(expression: str, label: str, value: str) -> str:
    """Add a label."""
    return f'label_replace({expression}, "{label}", "{value}", "", "")'


def cpu_workers(healthy: MetricSpec, heartbeat: MetricSpec) -> str:
    """Return the seconds since the last heartbeat of each worker that is no GPU worker, with its health as label
    `status`."""
    health = max_by(healthy, "worker", "kind", kind=Not("gpu"))
    since = f"({age(max_by(heartbeat, 'worker', 'kind', kind=Not('gpu')))})"
    parts = (
        labelled(f"({since} and on (worker, kind) {health} == {value})", "status", status)
        for value, status in ((1, "healthy"), (0, "unhealthy"))
    )
    return " or ".join(parts)


def gpu_workers(state: MetricSpec, heartbeat: MetricSpec, info: MetricSpec) -> str:
    """Return the seconds since the last heartbeat of each GPU worker, with state and instance as labels `state`,
    `instance_type`, `lifecycle`.

    A single expression, so that a table needs no joins: each factor but the last is 1. A worker whose state or instance
    differs between two exporters for a moment is shown with one of them (`topk`).
    """
    states = max_by(state, "worker", "state")
    known = f"topk by (worker) (1, {states} == 1)"
    unknown = labelled(f"(max by (worker) ({states}) == bool 0)", "state", "unknown")
    instance = f"topk by (worker) (1, {max_by(info, 'worker', 'instance_type', 'lifecycle')})"
    since = f"({age(max_by(heartbeat, 'worker', kind='gpu'))})"
    return (
        f"({known} or on (worker) {unknown}) * on (worker) group_left (instance_type, lifecycle) {instance}"
        f" * on (worker) group_left () {since}"
    )


def _none(expression: str, by: Sequence[str]) -> str:
    for label in by:
        expression = labelled(expression, label, NONE)
    return expression


def _all_named(spec: MetricSpec, by: Sequence[str], labels: dict[str, Matcher]) -> dict[str, Matcher]:
    fixed = {name for name, value in labels.items() if isinstance(value, str)}
    if forgotten := set(spec.label_names) - set(by) - fixed:
        raise ValueError(f"{spec.name}: neither kept nor fixed: {', '.join(sorted(forgotten))}")
    if unknown := set(by) - set(spec.label_names) - set(ON_TARGET):
        raise ValueError(f"{spec.name} has no label {', '.join(sorted(unknown))}")
    return labels


def _over_log_hosts(spec: MetricSpec, by: Sequence[str], expression: str) -> str:
    return _by("sum", by, _by("max", (LOG_HOST, *spec.label_names), expression))


def _by(aggregation: str, labels: Sequence[str], expression: str) -> str:
    return f"{aggregation} by ({', '.join(labels)}) ({expression})" if labels else f"{aggregation}({expression})"
