"""PromQL, built from the metrics' own specs: a metric or label that does not exist is an error here, not an empty
panel.

Several exporters may be scraped: two that look at the same things, or one on each host that has logs. So nothing is
ever added up over scrape targets. What they all see alike is taken once (`max by`); what a log's reader counts is
taken once for each `log_host`, a label that whoever scrapes several log hosts gives their targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.spec import Label, MetricSpec

RATE_INTERVAL = "$__rate_interval"
"""Grafana's: at least four scrapes, and at least one step of the chart."""

RANGE = "$__range"
"""Grafana's: the time shown."""

LOG_HOST = "log_host"
"""The target label that tells the hosts of logs apart; without it there is one."""

_PROMETHEUS = "Prometheus itself"
_TARGET = (Label("job"), Label("instance"))
UP = MetricSpec("up", "gauge", "Whether the target could be scraped.", _PROMETHEUS, _TARGET)
SCRAPE_DURATION = MetricSpec("scrape_duration_seconds", "gauge", "How long the scrape took.", _PROMETHEUS, _TARGET)
ALERTS = MetricSpec(
    "ALERTS",
    "gauge",
    "1 while an alert is pending or firing.",
    _PROMETHEUS,
    (Label("alertname"), Label("alertstate", ("pending", "firing")), Label("severity")),
)
PROMETHEUS_SPECS = (UP, SCRAPE_DURATION, ALERTS)
"""What Prometheus records about its own work."""

ON_TARGET = ("job", "instance")
"""The labels that every scraped sample has besides its own."""


@dataclass(frozen=True, slots=True)
class Not:
    """Any other value of a label."""

    value: str


Matcher = str | Not


def select(spec: MetricSpec, part: str = "", /, **labels: Matcher) -> str:
    """The series of a metric with these label values; `part` is a histogram's or summary's `_sum`, `_count`,
    `_bucket`.

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


def highest(spec: MetricSpec, *by: str, **labels: Matcher) -> str:
    """The metric as it is, whoever exports it. Every label must be named: kept (`by`) or fixed."""
    return _by("max", by, select(spec, **_all_named(spec, by, labels)))


def lowest(spec: MetricSpec, *by: str, **labels: Matcher) -> str:
    """As `highest`, but of several exporters the worst: for what is 1 while all is well, and for times."""
    return _by("min", by, select(spec, **_all_named(spec, by, labels)))


def total(spec: MetricSpec, *by: str, **labels: Matcher) -> str:
    """The sum over the metric's own labels, each taken once."""
    free = tuple(name for name in spec.label_names if not isinstance(labels.get(name), str))
    return _by("sum", by, highest(spec, *free, **labels))


def ratio(numerator: str, denominator: str) -> str:
    """One by the other; nothing where there is nothing to divide by."""
    return f"{numerator} / ({denominator} > 0)"


def rate(spec: MetricSpec, *by: str, part: str = "", **labels: Matcher) -> str:
    """Per second, of a counter that all exporters see alike."""
    return _by("max", by, f"rate({select(spec, part, **_all_named(spec, by, labels))}[{RATE_INTERVAL}])")


def log_rate(spec: MetricSpec, *by: str) -> str:
    """Per second, of a counter of lines: over all hosts of logs."""
    return _over_log_hosts(spec, by, f"rate({select(spec)}[{RATE_INTERVAL}])")


def log_increase(spec: MetricSpec, *by: str, over: str) -> str:
    """How many lines came in that time, on all hosts of logs."""
    return _over_log_hosts(spec, by, f"increase({select(spec)}[{over}])")


def quantile(of: float, spec: MetricSpec, *by: str) -> str:
    """A histogram's quantile over all its observations, whoever made them."""
    buckets = _by("sum", (*by, "le"), f"rate({select(spec, '_bucket')}[{RATE_INTERVAL}])")
    return f"histogram_quantile({of:g}, {buckets})"


def mean(spec: MetricSpec, *by: str) -> str:
    """A histogram's mean over all its observations, whoever made them."""
    sums, counts = (_by("sum", by, f"rate({select(spec, part)}[{RATE_INTERVAL}])") for part in ("_sum", "_count"))
    return ratio(sums, counts)


def age(timestamp: str) -> str:
    """Seconds since a unix time."""
    return f"time() - {timestamp}"


def per_minute(expression: str) -> str:
    """Of what is per second."""
    return f"60 * {expression}"


def number_of_zeros(expression: str) -> str:
    """How many of these are 0 and not 1; nothing, not 0, when there are none at all."""
    return f"sum(1 - {expression})"


def or_zero(expression: str) -> str:
    """0 where there is nothing: only for what Prometheus itself keeps, where nothing means none."""
    return f"{expression} or vector(0)"


def labelled(expression: str, label: str, value: str) -> str:
    """With one more label."""
    return f'label_replace({expression}, "{label}", "{value}", "", "")'


def cpu_workers(healthy: MetricSpec, heartbeat: MetricSpec) -> str:
    """Seconds since the last heartbeat of each worker that is no GPU worker; its health is the label `status`."""
    health = highest(healthy, "worker", "kind", kind=Not("gpu"))
    since = f"({age(highest(heartbeat, 'worker', 'kind', kind=Not('gpu')))})"
    parts = (
        labelled(f"({since} and on (worker, kind) {health} == {value})", "status", status)
        for value, status in ((1, "healthy"), (0, "unhealthy"))
    )
    return " or ".join(parts)


def gpu_workers(state: MetricSpec, heartbeat: MetricSpec, info: MetricSpec) -> str:
    """Seconds since the last heartbeat of each GPU worker; state and instance are the labels `state`,
    `instance_type`, `lifecycle`.

    One expression, so that a table needs no joins: each factor but the last is 1. A worker whose state or instance two
    exporters see differently for a moment is shown in one of them (`topk`).
    """
    states = highest(state, "worker", "state")
    known = f"topk by (worker) (1, {states} == 1)"
    unknown = labelled(f"(max by (worker) ({states}) == bool 0)", "state", "unknown")
    instance = f"topk by (worker) (1, {highest(info, 'worker', 'instance_type', 'lifecycle')})"
    since = f"({age(highest(heartbeat, 'worker', kind='gpu'))})"
    return (
        f"({known} or on (worker) {unknown}) * on (worker) group_left (instance_type, lifecycle) {instance}"
        f" * on (worker) group_left () {since}"
    )


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
