"""The values at one moment, frozen: of each collector and source, as `snapshot.py` shows them to all readers.

snapshot.py -> view (this) -> exposition.py, verify.py, admin/documents
"""

from __future__ import annotations

from dataclasses import dataclass

from exporter.spec import MetricSpec, Sample


@dataclass(frozen=True, slots=True)
class CollectorView:
    """The state of one collector: `up` is None before the end of its first refresh; `samples` are empty while it fails,
    `last_samples` and `last_content` are those of its last success."""

    name: str
    sources: tuple[str, ...]
    specs: tuple[MetricSpec, ...]
    interval: float
    up: bool | None
    error: str | None
    last_success: float | None
    samples: tuple[Sample, ...]
    last_samples: tuple[Sample, ...] = ()
    last_content: object = None


@dataclass(frozen=True, slots=True)
class SourceView:
    """The state of one source: `up` is None before the first attempt; `error` is a constant word (`refused`)."""

    name: str
    up: bool | None
    error: str | None
    last_success: float | None


@dataclass(frozen=True, slots=True)
class Served:
    """One collector's gauges at a moment: none while it `fails`, or one of its sources is down.

    `age` is the time (seconds) since their reading or, before the first reading, since the start. Beyond `promised_age`
    the collector is late.
    """

    collector: str
    fails: bool
    samples: tuple[Sample, ...]
    age: float
    promised_age: float


@dataclass(frozen=True, slots=True)
class View:
    """All values at one moment; `own` are the samples about the exporter's own work."""

    collectors: tuple[CollectorView, ...]
    own: tuple[Sample, ...]
    sources: tuple[SourceView, ...] = ()
    not_provided: frozenset[str] = frozenset()

    @property
    def ready(self) -> bool:
        """Whether every collector with metrics has completed an attempt: all available values are shown."""
        return all(collector.up is not None for collector in self.collectors if collector.specs)
