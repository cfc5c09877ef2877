"""The snapshot as the API shows it: every value with its status, its sources and the time it is of (contract §3).

A value whose collector or source fails is degraded: it is the last that was known, or null. A value that is null and
ok is one that there is none of (no job succeeded, nobody asked).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from exporter.collector import Collector
from exporter.collectors.charts import Charts
from exporter.collectors.incidents import Incidents
from exporter.collectors.logs import LogCollector
from exporter.collectors.rollup import Rollup
from exporter.collectors.top_users import TopUsers
from exporter.snapshot import CollectorView, View
from exporter.spec import MetricSpec, Sample, Summary

Kind = TypeVar("Kind", bound=Collector)

Scalar = float | int | str | bool | None


@dataclass(frozen=True, slots=True)
class Value:
    """One value and what is to be known of it; `as_of` in unix seconds, None where nothing was ever read."""

    value: Scalar
    ok: bool
    sources: tuple[str, ...]
    as_of: float | None

    def showing(self, value: Scalar) -> Value:
        """Another value that is known as well as this one."""
        return Value(value, self.ok, self.sources, self.as_of)

    @property
    def number(self) -> float | None:
        """It, where it is a number."""
        return self.value if isinstance(self.value, int | float) else None


def combined(parts: Iterable[Value], fold: Callable[[Sequence[float]], float | None]) -> Value:
    """A value of several: of all their sources, as old as the oldest, null where one of them is."""
    values = list(parts)
    numbers = [value.number for value in values]
    known = [number for number in numbers if number is not None]
    times = [value.as_of for value in values]
    return Value(
        fold(known) if values and len(known) == len(values) else None,
        bool(values) and all(value.ok for value in values),
        tuple(dict.fromkeys(source for value in values for source in value.sources)),
        min((time for time in times if time is not None), default=None),
    )


def ratio(numbers: Sequence[float]) -> float | None:
    """The first to the second; None to none."""
    above, below = numbers
    return above / below if below else None


@dataclass(frozen=True, slots=True)
class Tables:
    """The collectors that know more than metrics say; None for one that does not run here."""

    charts: Charts | None
    incidents: Incidents | None
    rollup: Rollup | None
    top_users: TopUsers | None
    logs: tuple[LogCollector, ...]

    @classmethod
    def of(cls, collectors: Sequence[Collector]) -> Tables:
        """Those among the collectors that run."""
        return cls(
            _one(collectors, Charts),
            _one(collectors, Incidents),
            _one(collectors, Rollup),
            _one(collectors, TopUsers),
            tuple(collector for collector in collectors if isinstance(collector, LogCollector)),
        )


def _one(collectors: Sequence[Collector], kind: type[Kind]) -> Kind | None:
    return next((collector for collector in collectors if isinstance(collector, kind)), None)


class Reading:
    """One view of the snapshot, to look values up in."""

    def __init__(self, view: View, tables: Tables, now: float) -> None:
        self.view, self.tables, self.now = view, tables, now
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
        """The sample with these labels; null where there is none.

        A counter has one as soon as it is known: without one it is as before the first refresh, never known."""
        wanted = tuple(labels[name] for name in spec.label_names)
        for collector, sample in self._samples.get(spec, ()):
            if sample.labels == wanted:
                return self._value(collector, sample)
        nothing = self.nothing(*self._feeding.get(spec, ()))
        return Value(None, False, nothing.sources, None) if spec.type == "counter" else nothing

    def summary(self, spec: MetricSpec, **labels: str) -> tuple[Value, Value]:
        """The count and the sum of a summary."""
        wanted = tuple(labels[name] for name in spec.label_names)
        for collector, sample in self._samples.get(spec, ()):
            if sample.labels == wanted and isinstance(sample.value, Summary):
                count = self._value(collector, sample)
                return count, count.showing(sample.value.total)
        nothing = self.nothing(*self._feeding.get(spec, ()))
        return nothing, nothing

    def each(self, spec: MetricSpec) -> list[tuple[tuple[str, ...], Value]]:
        """Every sample of a metric, by the values of its labels."""
        return [(sample.labels, self._value(collector, sample)) for collector, sample in self._samples.get(spec, ())]

    def total(self, spec: MetricSpec, **labels: str) -> Value:
        """The sum over the samples that have these labels, null where there are none."""
        chosen = [
            value
            for values, value in self.each(spec)
            if labels.items() <= dict(zip(spec.label_names, values, strict=True)).items()
        ]
        return combined(chosen, sum) if chosen else self.nothing(*self._feeding.get(spec, ()))

    def of_collector(self, name: str) -> Value:
        """Null, known as well as what that collector says; never known where it does not run."""
        return self.nothing(*(view for view in (self._collectors.get(name),) if view))

    def nothing(self, *collectors: CollectorView) -> Value:
        """Null, known as well as what these collectors say."""
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
    """A time as the API writes it: ISO 8601, UTC, to the millisecond."""
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
