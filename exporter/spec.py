"""The declaration of a metric: its name, type, help and labels, independent of its values.

Collectors declare specs and make samples of them; `exposition.py` turns both into text. This is the only module that
uses prometheus_client's metric families, so that all earlier modules work on plain frozen values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from exporter.inputs import Need, first_lacking

MetricType = Literal["gauge", "counter", "summary", "histogram", "info"]


@dataclass(frozen=True, slots=True)
class Summary:
    """A sum in base units and the count of observations (a Prometheus summary without quantiles)."""

    total: float
    count: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative counts by upper bound (`le`, the last is `+Inf`) and the sum of all observations."""

    buckets: tuple[tuple[str, float], ...]
    total: float


Value = float | Summary | Histogram


@dataclass(frozen=True, slots=True)
class Label:
    """A label: its closed set of values, or None for an open label, whose values are bounded by `labels.py`."""

    name: str
    values: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric's definition in plain SQL: rows of label values and, last, the value, as of the parameter `now`.

    It shares no code with the collector of the metric; `definitions.py` has its parameters, and the SQL that
    definitions share. `table` may be missing; then there is no sample.
    """

    sql: str
    table: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class MetricSpec:
    """A metric, declared once. `help` states its meaning and window, `source` the origin of its data, `needs` the
    inputs without which it, or some of its samples, do not exist."""

    name: str
    type: MetricType
    help: str
    source: str
    labels: tuple[Label, ...] = ()
    definition: Definition | None = None
    needs: tuple[Need, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The label names in the order of a sample's label values."""
        return tuple(label.name for label in self.labels)

    def sample(self, value: Value, **labels: str) -> Sample:
        """Return a sample of this metric; the keyword arguments must be exactly its labels.

        Raises TypeError for other labels, ValueError for a value that is not in a label's closed set.
        """
        if len(labels) != len(self.labels):
            raise TypeError(f"{self.name} takes the labels {self.label_names}, not {tuple(labels)}")
        for label in self.labels:
            if label.values is not None and labels[label.name] not in label.values:
                raise ValueError(f"{self.name}: {label.name} is never {labels[label.name]!r}")
        return Sample(self, tuple(labels[label.name] for label in self.labels), value)

    def lacks(self, not_provided: Collection[str], labels: Mapping[str, str]) -> str | None:
        """Return the input for want of which there is no sample with these labels; None if there may be one."""
        return first_lacking(self.needs, not_provided, labels)

    def exists(self, not_provided: Collection[str]) -> bool:
        """Whether the metric may have samples at all."""
        return first_lacking((need for need in self.needs if not need.label), not_provided, {}) is None


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric; the label values in the order of the spec's labels."""

    spec: MetricSpec
    labels: tuple[str, ...]
    value: Value


def provided(samples: Iterable[Sample], not_provided: Collection[str]) -> tuple[Sample, ...]:
    """Return the samples without those that need an input that is not provided
    (docs/definitions.md#not-provided)."""
    return tuple(
        sample
        for sample in samples
        if sample.spec.lacks(not_provided, dict(zip(sample.spec.label_names, sample.labels, strict=True))) is None
    )


def family(spec: MetricSpec, samples: Iterable[Sample], note: str = "") -> Metric:
    """Return prometheus_client's family for one spec; `note` is appended to the help (the refresh interval)."""
    help_text = f"{spec.help} {note}".rstrip()
    names: Sequence[str] = spec.label_names
    match spec.type:
        case "gauge":
            gauge = GaugeMetricFamily(spec.name, help_text, labels=names)
            for sample in samples:
                gauge.add_metric(sample.labels, _number(sample))
            return gauge
        case "counter":
            counter = CounterMetricFamily(spec.name, help_text, labels=names)
            for sample in samples:
                counter.add_metric(sample.labels, _number(sample))
            return counter
        case "info":
            info = InfoMetricFamily(spec.name.removesuffix("_info"), help_text, labels=[])
            for sample in samples:
                info.add_metric([], dict(zip(names, sample.labels, strict=True)))
            return info
        case "summary":
            summary = SummaryMetricFamily(spec.name, help_text, labels=names)
            for sample in samples:
                if not isinstance(sample.value, Summary):
                    raise TypeError(f"{spec.name} takes a Summary")
                summary.add_metric(sample.labels, count_value=sample.value.count, sum_value=sample.value.total)
            return summary
        case "histogram":
            histogram = HistogramMetricFamily(spec.name, help_text, labels=names)
            for sample in samples:
                if not isinstance(sample.value, Histogram):
                    raise TypeError(f"{spec.name} takes a Histogram")
                histogram.add_metric(sample.labels, list(sample.value.buckets), sample.value.total)
            return histogram


def _number(sample: Sample) -> float:
    if not isinstance(sample.value, int | float):
        raise TypeError(f"{sample.spec.name} takes a number")
    return float(sample.value)
