"""What a collector is: a subject's questions, asked of the sources on its own clock.

Sources (how to reach a system) stand before it, the snapshot (who keeps time and isolates failures) behind it. A
collector keeps whatever state makes its next refresh cheap. It changes a piece of that state only once all that belongs
to it has been read, and without an `await` in between: a refresh that is cancelled or fails leaves every piece whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from exporter.sources.jsonl import JsonlLog
from exporter.sources.postgres import Postgres
from exporter.sources.redis import Redis
from exporter.spec import Label, MetricSpec, Sample

Content = TypeVar("Content", covariant=True)


@dataclass(frozen=True, slots=True)
class Sources:
    """Every system a collector may ask, by the name it has in `hivesync_source_up`."""

    postgres: Postgres
    redis: Redis
    ai_events_log: JsonlLog
    preview_log: JsonlLog


class Collector(Protocol):
    """One subject: its specs, the sources it needs, and how to read them."""

    @property
    def name(self) -> str:
        """The label value of `hivesync_collector_up`."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources it asks; it fails when one of them does."""

    @property
    def periods(self) -> int:
        """Refresh periods (REFRESH_SECONDS) between two of its refreshes: 1 for the fast ones."""

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """Every metric it may return; a test keeps this true."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """The samples as of now. Raises SourceUnavailable or CollectionFailed; then none of its gauges are shown."""


@runtime_checkable
class Counting(Protocol):
    """A collector that counts: what it has counted is shown even while its sources are down."""

    def counters(self) -> Sequence[Sample]:
        """Its counters as they stand."""


@runtime_checkable
class Presenting(Protocol[Content]):
    """A collector that feeds the Analytics page with more than samples."""

    name: str

    @property
    def content(self) -> Content:
        """The content as of the last refresh, which the snapshot takes up after each; immutable."""


@runtime_checkable
class Remembering(Protocol):
    """A collector that shows what it read some time ago, for as long as that is good enough."""

    def read_afresh(self) -> None:
        """Read at the next refresh, whether its time has come or not."""


@runtime_checkable
class Dependent(Protocol):
    """A collector that reads windows which others keep."""

    @property
    def needs(self) -> Set[str]:
        """The names of those collectors."""


@runtime_checkable
class Dated(Protocol):
    """A collector whose values may be of an earlier reading than its last refresh."""

    behind: float
    """Seconds from that reading to the last refresh that worked."""

    def promised_age(self, interval: float) -> float:
        """How old (seconds) its values may be at most, with a refresh every `interval` seconds."""


SKIPPED = MetricSpec(
    "hivesync_skipped_values",
    "gauge",
    "Values the collector read and left out of its metrics because they cannot be true or are not what they should be, "
    "by reason; of the same window as the metrics they were left out of.",
    source="every source",
    labels=(Label("collector"), Label("reason")),
)


def skipped(collector: str, reasons: Mapping[str, int]) -> list[Sample]:
    """A sample a reason, zeros included, so that a first bad value shows as an increase."""
    return [SKIPPED.sample(count, collector=collector, reason=reason) for reason, count in reasons.items()]
