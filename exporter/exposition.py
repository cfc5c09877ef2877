"""The snapshot as text: Prometheus' format and OpenMetrics, plain and gzipped, each rendered at most once per refresh.

The first scrape after a refresh renders its format, in a millisecond or two; a dozen collectors refresh between two
scrapes, and formats that are not requested are not rendered. Every other scrape is answered with bytes that are ready
(`web.py`).
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector as Registry

from exporter import snapshot
from exporter.inputs import INPUTS
from exporter.spec import Label, MetricSpec, Sample, family
from exporter.version import REVISION, VERSION
from exporter.view import View

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

GZIP_LEVEL = 6
"""Level 6 compresses 30 kB to 3.8 kB in 0.2 ms; level 1 to 4.2 kB in a third of that time, level 9 to no less in more
time."""

BUILD_INFO = MetricSpec(
    "hivesync_exporter_build_info",
    "info",
    "Version and revision of the running exporter.",
    "the exporter itself",
    (Label("version"), Label("revision")),
)
INPUT_PROVIDED = MetricSpec(
    "hivesync_input_provided",
    "gauge",
    "0 for an input that the setting NOT_PROVIDED names, else 1. The values that need it are absent.",
    "the exporter itself",
    (Label("input", tuple(each.name for each in INPUTS)),),
)
SPECS = (INPUT_PROVIDED, BUILD_INFO)


@dataclass(frozen=True)
class Body:
    """One format of one view as bytes."""

    content_type: str
    plain: bytes

    @cached_property
    def gzipped(self) -> bytes:
        """The body gzipped; computed at the first access."""
        return gzip.compress(self.plain, compresslevel=GZIP_LEVEL, mtime=0)


class Exposition:
    """One view in both formats, each rendered at the first access, always from the same samples."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = _Families(tuple(families))

    @cached_property
    def text(self) -> Body:
        """Prometheus' own format."""
        return Body(TEXT_TYPE, generate_latest(self._families))

    @cached_property
    def openmetrics(self) -> Body:
        """OpenMetrics. Metric names need no escaping: with ALLOWUTF8 the encoder takes half the time for the same
        bytes."""
        return Body(OPENMETRICS_TYPE, generate_openmetrics(self._families, escaping=ALLOWUTF8))  # type: ignore[no-untyped-call]

    def body(self, accept: str) -> Body:
        """Return the format preferred by an Accept header."""
        return self.openmetrics if wants_openmetrics(accept) else self.text


@lru_cache(maxsize=64)
def wants_openmetrics(accept: str) -> bool:
    """Return whether an Accept header prefers OpenMetrics, according to prometheus_client."""
    try:
        return choose_encoder(accept)[1].startswith("application/openmetrics-text")
    except TypeError:  # raised for a version that is no number
        return False


def render(view: View) -> Exposition:
    """Render all samples of a view. Raises TypeError for a value that does not match its metric's type."""
    return Exposition(_families(view))


def _families(view: View) -> Iterator[Metric]:
    """Yield a family per metric, in the order of the collectors; a metric of several collectors at its first
    occurrence."""
    samples: dict[MetricSpec, list[Sample]] = {}
    intervals: dict[MetricSpec, set[float]] = {}
    for collector in view.collectors:
        for spec in collector.specs:
            samples.setdefault(spec, [])
            intervals.setdefault(spec, set()).add(collector.interval)
        _sort_in(samples, collector.samples)
    for spec in (*snapshot.SPECS, *SPECS):
        samples[spec] = []
    inputs = (INPUT_PROVIDED.sample(int(each.name not in view.not_provided), input=each.name) for each in INPUTS)
    _sort_in(samples, (*view.own, *inputs, BUILD_INFO.sample(1, version=VERSION, revision=REVISION)))
    for spec, of_spec in samples.items():
        if of_spec:
            yield family(spec, of_spec, _note(spec, intervals.get(spec, ())))


def _note(spec: MetricSpec, intervals: Collection[float]) -> str:
    """Return the source of a metric and the interval of its refreshes; several collectors may have different
    intervals."""
    if not intervals:
        return f"Source: {spec.source}."
    every = " to ".join(f"{interval:g}" for interval in sorted({min(intervals), max(intervals)}))
    return f"Source: {spec.source}; refreshed every {every} s."


def _sort_in(samples: dict[MetricSpec, list[Sample]], new: Iterable[Sample]) -> None:
    for sample in new:
        samples[sample.spec].append(sample)


class _Families(Registry):
    """An adapter for prometheus_client's encoders, which take an object with `collect`."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


SHOWN_SECONDS = 0.2
"""Minimum time between two renderings. A dozen collectors refresh shortly after one another; rendering after each of
them would delay the scrapes of a client that scrapes many times a second by milliseconds."""


class Renderer:
    """The current exposition of a snapshot: rendered at the first request after a change, and kept for all others."""

    def __init__(self, view: Callable[[], View], clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._clock = clock
        self._rendered: Exposition | None = None
        self._changed = False
        self._rendered_at = 0.0

    def changed(self) -> None:
        """Note that the snapshot has changed."""
        self._changed = True

    @property
    def current(self) -> Exposition:
        """The exposition to show: current, or up to SHOWN_SECONDS old."""
        if self._rendered is None or (self._changed and self._clock() - self._rendered_at >= SHOWN_SECONDS):
            self._rendered = render(self._view())
            self._rendered_at, self._changed = self._clock(), False
        return self._rendered
