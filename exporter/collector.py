"""The interface of a collector: the queries of one subject, run against the sources on the collector's own clock.

Sources (access to a system) come before a collector, the snapshot (timing and isolation of failures) after it. A
collector keeps any state that makes its next refresh cheap. It changes a piece of that state only once all related data
has been read, and without an `await` in between: a refresh that is cancelled or fails leaves each piece consistent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from exporter.inputs import Need
from exporter.prices import Prices
from exporter.sources.jsonl import JsonlLog
from exporter.sources.postgres import Postgres
from exporter.sources.redis import Redis
from exporter.spec import Label, MetricSpec, Sample

Content = TypeVar("Content", covariant=True)


@dataclass(frozen=True, slots=True)
class Sources:
    """The systems that collectors read, by their names in `hivesync_source_up`."""

    postgres: Postgres
    redis: Redis
    ai_events_log: JsonlLog
    preview_log: JsonlLog


class Collector(Protocol):
    """One subject: its specs, its sources, and its reading."""

    @property
    def name(self) -> str:
        """The label value of `hivesync_collector_up`."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that the collector reads; it fails when one of them does."""

    @property
    def periods(self) -> int:
        """Refresh periods (REFRESH_SECONDS) between two refreshes: 1 for the fast collectors."""

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """The metrics that the collector may return; a test checks this."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return the samples as of now. Raises SourceUnavailable or CollectionFailed; then none of the gauges are
        shown."""


@runtime_checkable
class Counting(Protocol):
    """A collector with counters, which are shown even while its sources are down."""

    def counters(self) -> Sequence[Sample]:
        """Return the current counters."""


@runtime_checkable
class Presenting(Protocol[Content]):
    """A collector with content for the Analytics page beyond its samples."""

    name: str

    @property
    def content(self) -> Content:
        """The content as of the last refresh, read by the snapshot after each refresh; immutable."""


@runtime_checkable
class Remembering(Protocol):
    """A collector that shows values of an earlier reading while they are recent enough."""

    def read_afresh(self) -> None:
        """Make the next refresh read, even if the reading is not due."""


@runtime_checkable
class Priced(Protocol):
    """A collector that computes costs."""

    def use_prices(self, prices: Prices) -> None:
        """Use these prices from the next refresh on."""


@runtime_checkable
class Dependent(Protocol):
    """A collector that reads windows kept by other collectors."""

    @property
    def needs(self) -> Set[str]:
        """The names of those collectors."""


@runtime_checkable
class Dispensable(Protocol):
    """A collector that has nothing to read without some inputs, and is not run then."""

    @property
    def inputs(self) -> tuple[Need, ...]:
        """Its needs."""


@runtime_checkable
class PartlyProved(Protocol):
    """A collector that also feeds metrics whose definition is that of another collector's samples."""

    @property
    def proved(self) -> Sequence[MetricSpec]:
        """The metrics of which a definition gives all samples of this collector."""


@runtime_checkable
class Dated(Protocol):
    """A collector whose values may be older than its last refresh."""

    behind: float
    """Seconds from the reading to the last successful refresh."""

    def promised_age(self, interval: float) -> float:
        """Return the maximum age (seconds) of the values, with a refresh every `interval` seconds."""


SKIPPED = MetricSpec(
    "hivesync_skipped_values",
    "gauge",
    "Impossible or malformed values that the collector leaves out of its metrics, by reason, in the window of those"
    " metrics; as beyond_limit, workers or lists that it does not distinguish from others.",
    source="every source",
    labels=(Label("collector"), Label("reason")),
)


def skipped(collector: str, reasons: Mapping[str, int]) -> list[Sample]:
    """Return one sample per reason, zeros included, so that a first bad value shows as an increase."""
    return [SKIPPED.sample(count, collector=collector, reason=reason) for reason, count in reasons.items()]
