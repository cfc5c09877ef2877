"""Values of the snapshot's view, each with its status, its sources and its time (docs/definitions.md#admin-values).

    exporter/snapshot.py -> values (this) -> one module per document -> api.py, page/

A value whose collector or source fails is degraded: the last one known, or null. A value that is null and ok does not
exist (no job succeeded in the window). A value that needs an input that this HiveSync does not have is not provided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar, cast

from exporter.collector import Presenting
from exporter.inputs import Need, first_lacking, source_of
from exporter.spec import MetricSpec, Sample, Summary
from exporter.view import CollectorView, View

Content = TypeVar("Content")

Scalar = float | int | str | bool | None


@dataclass(frozen=True, slots=True)
class Value:
    """A value with its status and sources; `as_of` in Unix seconds, None before the first successful refresh. `input`:
    the name of the input for want of which it is not provided."""

    value: Scalar
    ok: bool
    sources: tuple[str, ...]
    as_of: float | None
    input: str | None = None

    def replaced(self, value: Scalar) -> Value:
        """Another value with the same status, sources and time; a value that is not provided remains null."""
        return self if self.input else replace(self, value=value)

    @property
    def number(self) -> float | None:
        """The value if it is a number, else None."""
        return self.value if isinstance(self.value, int | float) else None


def combined(parts: Iterable[Value], fold: Callable[[Sequence[float]], float | None]) -> Value:
    """One value of several: all their sources, the oldest of their times, null where a part is null. Parts that are not
    provided are left out; without any other part, the value is not provided."""
    given = list(parts)
    values = [value for value in given if value.input is None]
    if given and not values:
        return given[0]
    numbers = [value.number for value in values]
    known = [number for number in numbers if number is not None]
    times = [value.as_of for value in values]
    return Value(
        fold(known) if values and len(known) == len(values) else None,
        bool(values) and all(value.ok for value in values),
        tuple(dict.fromkeys(source for value in values for source in value.sources)),
        min((time for time in times if time is not None), default=None),
    )


def largest(parts: Iterable[Value]) -> Value:
    """The largest of several values that are known, with the sources and the status of all."""
    values = list(parts)
    numbers = [value.number for value in values if value.number is not None]
    return combined(values, max).replaced(max(numbers, default=None))


def ratio(numbers: Sequence[float]) -> float | None:
    """The first of two numbers divided by the second; None for a division by 0."""
    above, below = numbers
    return above / below if below else None


class Values:
    """The values of one view of the snapshot, looked up by metric and labels."""

    def __init__(self, view: View, now: float, workers_from: str = "redis") -> None:
        """`now` in Unix seconds; `workers_from` as in the setting WORKERS_FROM."""
        self.view, self.now, self._workers_from = view, now, workers_from
        self._down = {source.name for source in view.sources if source.up is False}
        self._collectors = {collector.name: collector for collector in view.collectors}
        self._samples: dict[MetricSpec, list[tuple[CollectorView, Sample]]] = {}
        self._feeding: dict[MetricSpec, list[CollectorView]] = {}
        for collector in view.collectors:
            for spec in collector.specs:
                self._feeding.setdefault(spec, []).append(collector)
            for sample in collector.last_samples:
                self._samples.setdefault(sample.spec, []).append((collector, sample))

    @property
    def degraded(self) -> bool:
        """Whether a source is down or a collector fails."""
        return bool(self._down) or any(collector.up is False for collector in self.view.collectors)

    def value(self, spec: MetricSpec, **labels: str) -> Value:
        """The sample with these labels; null if there is none.

        A counter has a sample as soon as it is known: without one it is as before the first refresh, not yet known."""
        wanted = tuple(labels[name] for name in spec.label_names)
        for collector, sample in self._samples.get(spec, ()):
            if sample.labels == wanted:
                return self._value(collector, sample)
        missing = self.missing(spec, **labels)
        if spec.type == "counter" and missing.input is None:
            return Value(None, False, missing.sources, None)
        return missing

    def summary(self, spec: MetricSpec, **labels: str) -> tuple[Value, Value]:
        """The count and the sum of a summary."""
        wanted = tuple(labels[name] for name in spec.label_names)
        for collector, sample in self._samples.get(spec, ()):
            if sample.labels == wanted and isinstance(sample.value, Summary):
                count = self._value(collector, sample)
                return count, count.replaced(sample.value.total)
        return self.missing(spec, **labels), self.missing(spec, **labels)

    def each(self, spec: MetricSpec) -> list[tuple[tuple[str, ...], Value]]:
        """Every sample of a metric, by the values of its labels."""
        return [(sample.labels, self._value(collector, sample)) for collector, sample in self._samples.get(spec, ())]

    def total(self, spec: MetricSpec, **labels: str) -> Value:
        """The sum of the samples with these labels; null if there are none."""
        chosen = [
            value
            for values, value in self.each(spec)
            if labels.items() <= dict(zip(spec.label_names, values, strict=True)).items()
        ]
        return combined(chosen, sum) if chosen else self.missing(spec, **labels)

    def missing(self, spec: MetricSpec, **labels: str) -> Value:
        """Null, with the status, sources and time of the collectors of that metric; not provided where a sample with
        these labels needs an input that is not."""
        lacking = spec.lacks(self.view.not_provided, labels)
        return self._not_provided(lacking) if lacking else self._null(self._feeding.get(spec, ()))

    def lacking(self, *needs: Need) -> str | None:
        """The first input that is not provided and that one of these needs lacks."""
        return first_lacking(needs, self.view.not_provided, {})

    def of_collector(self, name: str) -> Value:
        """Null, with the status, sources and time of that collector; degraded for a collector that does not run."""
        return self._null([view for view in (self._collectors.get(name),) if view])

    def content(self, kind: type[Presenting[Content]], name: str = "") -> Content | None:
        """The content of the collector of that class and name (default: the name of the class). None before its first
        successful refresh, and for a collector that does not run."""
        view = self._collectors.get(name or kind.name)
        return cast("Content", view.last_content) if view else None

    def _not_provided(self, name: str) -> Value:
        return Value(None, True, (source_of(name, self._workers_from),), self.now, name)

    def _null(self, collectors: Sequence[CollectorView]) -> Value:
        times = [collector.last_success for collector in collectors if collector.last_success is not None]
        return Value(
            None,
            bool(collectors) and all(self._works(collector) for collector in collectors),
            tuple(dict.fromkeys(source for collector in collectors for source in collector.sources)),
            min(times, default=None),
        )

    def _value(self, collector: CollectorView, sample: Sample) -> Value:
        value = sample.value
        number = value if isinstance(value, int | float) else value.count if isinstance(value, Summary) else None
        return Value(number, self._works(collector), collector.sources, collector.last_success)

    def _works(self, collector: CollectorView) -> bool:
        return collector.up is True and self._down.isdisjoint(collector.sources)


def iso(time: float | None) -> str | None:
    """A time in the API's format: ISO 8601, UTC, to the millisecond."""
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
