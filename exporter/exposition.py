"""The snapshot as text: Prometheus' format and OpenMetrics, plain and gzipped, rendered once a refresh.

A scrape is then a matter of choosing among bytes that are ready (`web.py`).
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector as Registry

from exporter import snapshot
from exporter.snapshot import View
from exporter.spec import MetricSpec, Sample, family
from exporter.version import REVISION, VERSION

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

BUILD_INFO = MetricSpec(
    "hivesync_exporter_build_info",
    "info",
    "The exporter that is running.",
    "the exporter itself",
    ("version", "revision"),
)


@dataclass(frozen=True, slots=True)
class Body:
    """One rendering, ready to be sent."""

    content_type: str
    plain: bytes
    gzipped: bytes


@dataclass(frozen=True, slots=True)
class Exposition:
    """Both formats of one view."""

    text: Body
    openmetrics: Body

    def body(self, accept: str) -> Body:
        """The format that an Accept header asks for."""
        return self.openmetrics if wants_openmetrics(accept) else self.text


@lru_cache(maxsize=256)
def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header prefers OpenMetrics, as prometheus_client reads it."""
    try:
        return choose_encoder(accept)[1].startswith("application/openmetrics-text")
    except TypeError:  # what it raises on a version that is no number
        return False


def render(view: View) -> Exposition:
    """All samples of a view, in both formats."""
    families = _Families(list(_families(view)))
    openmetrics = generate_openmetrics(families)  # type: ignore[no-untyped-call]
    return Exposition(_body(TEXT_TYPE, generate_latest(families)), _body(OPENMETRICS_TYPE, openmetrics))


def _body(content_type: str, plain: bytes) -> Body:
    return Body(content_type, plain, gzip.compress(plain, compresslevel=6, mtime=0))


def _families(view: View) -> Iterator[Metric]:
    """A family a metric, in the order of the collectors; one that several collectors feed stands where it occurs
    first."""
    samples: dict[MetricSpec, list[Sample]] = {}
    notes: dict[MetricSpec, str] = {}
    for collector in view.collectors:
        for spec in collector.specs:
            samples.setdefault(spec, [])
            notes.setdefault(spec, f"Source: {spec.source}; refreshed every {collector.interval:g} s.")
        _sort_in(samples, collector.samples)
    for spec in (*snapshot.SPECS, BUILD_INFO):
        samples[spec] = []
    _sort_in(samples, (*view.own, BUILD_INFO.sample(1, version=VERSION, revision=REVISION)))
    for spec, of_spec in samples.items():
        if of_spec:
            yield family(spec, of_spec, notes.get(spec, f"Source: {spec.source}."))


def _sort_in(samples: dict[MetricSpec, list[Sample]], new: Iterable[Sample]) -> None:
    for sample in new:
        samples[sample.spec].append(sample)


class _Families(Registry):
    """What prometheus_client's encoders take: something that collects."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class Renderer:
    """Keeps the latest exposition of a snapshot: renders anew after a change, never because somebody asks."""

    def __init__(self, view: Callable[[], View]) -> None:
        self._view = view
        self._changed = asyncio.Event()
        self.current = render(view())

    def changed(self) -> None:
        """The snapshot has something new."""
        self._changed.set()

    async def run(self) -> None:
        """Render after every change, until cancelled; changes that come together are rendered once."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self.current = render(self._view())
