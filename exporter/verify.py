"""Verification: compares the values of `/metrics`, and the windows behind them, with the definitions.

Each PostgreSQL metric is obtained in three ways: `served`, as shown by the running exporter at the time of the
question; `fresh`, after one more refresh; and from scratch, computed from the definition. The last two of a collector
share one transaction, with one `now` and one reading of the WebSockets, while traffic goes on: a difference between
them is a fault of the windows, not of timing. Values that are normally read less often than they may change (users,
plans, projects, late rows) are read for the comparison. Served values are older; they may differ from fresh ones within
the age promised by their collector, and no longer.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence, Set
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from exporter.collector import SKIPPED, Collector, PartlyProved, Remembering, Sources
from exporter.collectors.online import OnlineNow, read_web_sockets
from exporter.definitions import Terms, WebSocket, read_definitions
from exporter.errors import MOST_REPEATS, AnalyticsError, CollectionFailed, MadeWay, SourceUnavailable
from exporter.sources.postgres import Postgres, Transaction
from exporter.sources.redis import Hashes, Redis
from exporter.spec import MetricSpec, Sample, provided
from exporter.view import Served

TOLERANCE = 1e-9
"""Relative: the two ways add floating-point numbers in a different order."""


NOT_PROVED = """\
Not proved: that the tables, or views in their place, are the right ones (all ways read the same); values of Redis alone
(queues, workers), and which WebSockets it holds; the logs' counters; tables and charts of the Analytics page."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One sample in all ways; None for a way without such a sample. `error` replaces all values after a failed
    reading."""

    metric: str
    fresh: float | None = None
    from_scratch: float | None = None
    error: str | None = None
    served: float | None = None
    age: float | None = None
    """Age of the served value in seconds; None without a serving exporter."""
    promised_age: float = 0.0
    """Limit of that age; 0 where the collector fails."""

    @property
    def same(self) -> bool:
        """Whether the fresh value is right."""
        return self.error is None and _alike(self.fresh, self.from_scratch)

    @property
    def serves_the_same(self) -> bool:
        """Whether the served value equals the fresh one, or nothing is served."""
        return self.age is None or _alike(self.served, self.fresh)

    @property
    def late(self) -> bool:
        """Whether the served value differs from the fresh one, and is older than promised."""
        return not self.serves_the_same and self.age is not None and self.age > self.promised_age

    @property
    def nil(self) -> bool:
        """Whether the sample is right in all ways."""
        return self.same and not self.late

    @property
    def difference(self) -> float | None:
        """Fresh less from scratch or, where those are equal, served less fresh; None where a value is missing."""
        if self.same and self.age is not None:
            return _difference(self.served, self.fresh)
        return _difference(self.fresh, self.from_scratch)


def _alike(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _difference(one: float | None, other: float | None) -> float | None:
    if _alike(one, other):
        return 0.0
    return None if one is None or other is None else one - other


STATEMENT_SECONDS = 300.0
"""The statement timeout: a definition counts a whole history from scratch, in one statement."""

AtRest = Callable[[], AbstractAsyncContextManager[Sequence[Collector]]]
"""Suspends the refreshes of the collectors meanwhile (`Snapshot.at_rest`)."""


async def compare(at_rest: AtRest, sources: Sources, terms: Terms, served: Sequence[Served] = ()) -> list[Comparison]:
    """Compare every sample of the collectors of PostgreSQL in all ways, one collector after the other: each in a
    transaction of its own, so that locks are held for a part of the time, and a part can be repeated where another
    client waits. The collectors are suspended only during the fresh refreshes.

    `served` are the values shown by `/metrics` (`Snapshot.served`) before this; without them none are compared.
    """
    shown = {each.collector: each for each in served}
    async with at_rest() as collectors:
        defined = [collector for collector in collectors if is_defined(collector)]
    comparisons: list[Comparison] = []
    for collector in defined:
        comparisons += await _part(collector, at_rest, sources, terms, shown.get(collector.name))
    return comparisons


async def _part(
    collector: Collector, at_rest: AtRest, sources: Sources, terms: Terms, served: Served | None
) -> list[Comparison]:
    """Compare the samples of one collector; again where the reading was given up for another client."""
    failed: MadeWay | None = None
    for _ in range(MOST_REPEATS + 1):
        if failed is not None:
            await sources.postgres.made_way()
        try:
            return await _compare(collector, at_rest, sources, terms, served)
        except MadeWay as error:
            failed = error
    return [Comparison(f"collector {collector.name}", error=str(failed))]


async def _compare(
    collector: Collector, at_rest: AtRest, sources: Sources, terms: Terms, served: Served | None
) -> list[Comparison]:
    async with AsyncExitStack() as resting:
        # They are suspended before the transaction begins: for a collector refreshed after that, its `now` would be in
        # the past.
        await resting.enter_async_context(at_rest())
        async with sources.postgres.transaction(fill=True, statement_seconds=STATEMENT_SECONDS) as transaction:
            pinned = replace(
                sources,
                postgres=cast("Postgres", _OneTransaction(transaction)),
                redis=cast("Redis", _OneReading(sources.redis)),
            )
            web_sockets: list[WebSocket] = []
            if isinstance(collector, Remembering):
                collector.read_afresh()
            fresh = await _outcome(_fresh(collector, pinned, terms.not_provided))
            if isinstance(collector, OnlineNow) and collector.ws_session_keys and sources.redis.reachability.up:
                web_sockets, _ = await read_web_sockets(pinned.redis, collector.ws_session_keys)
            await resting.aclose()  # counting from scratch takes long, and needs the transaction only
            from_scratch = await _outcome(_from_scratch(collector, transaction, terms, web_sockets))
    return _compared(collector, fresh, from_scratch, served)


_Outcome = Sequence[Sample] | AnalyticsError


async def _outcome(reading: Awaitable[Sequence[Sample]]) -> _Outcome:
    try:
        return await reading
    except MadeWay:
        raise
    except (CollectionFailed, SourceUnavailable) as error:
        return error


async def _fresh(collector: Collector, sources: Sources, not_provided: Collection[str]) -> Sequence[Sample]:
    return provided(await collector.refresh(sources), not_provided)


def is_defined(collector: Collector) -> bool:
    """Return whether the collector has metrics from PostgreSQL, with definitions to compare them with."""
    return Postgres.name in collector.sources and any(spec.definition for spec in collector.specs)


async def _from_scratch(
    collector: Collector, transaction: Transaction, terms: Terms, web_sockets: Sequence[WebSocket]
) -> Sequence[Sample]:
    async with transaction.savepoint():
        return await read_definitions(_proved(collector), transaction, terms, web_sockets)


def _proved(collector: Collector) -> Sequence[MetricSpec]:
    """Return the metrics of the collector to compare."""
    return collector.proved if isinstance(collector, PartlyProved) else collector.specs


def _compared(collector: Collector, fresh: _Outcome, from_scratch: _Outcome, served: Served | None) -> list[Comparison]:
    for outcome in (fresh, from_scratch):
        if isinstance(outcome, AnalyticsError):
            return [Comparison(f"collector {collector.name}", error=str(outcome))]
    proved = set(_proved(collector)) - {SKIPPED}
    one, other = (_values(cast("Sequence[Sample]", outcome), proved) for outcome in (fresh, from_scratch))
    if served is None:
        return [Comparison(name, one.get(name), other.get(name)) for name in dict.fromkeys((*one, *other))]
    shown = _values(served.samples, proved)
    promised_age = 0.0 if served.fails else served.promised_age
    return [
        Comparison(
            name,
            one.get(name),
            other.get(name),
            served=shown.get(name),
            age=served.age,
            promised_age=promised_age,
        )
        for name in dict.fromkeys((*one, *other, *shown))
    ]


def _values(samples: Sequence[Sample], proved: Set[MetricSpec]) -> dict[str, float]:
    return {_name(sample): cast("float", sample.value) for sample in samples if sample.spec in proved}


def _name(sample: Sample) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in zip(sample.spec.label_names, sample.labels, strict=True))
    return f"{sample.spec.name}{{{labels}}}" if labels else sample.spec.name


class _OneTransaction:
    """A stand-in for the PostgreSQL source that gives all collectors the same transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    @asynccontextmanager
    async def transaction(self, *, fill: bool = False) -> AsyncIterator[Transaction]:
        del fill
        async with self._transaction.savepoint():
            yield self._transaction


class _OneReading:
    """A stand-in for the Redis source that answers a repeated question with the same result."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._answers: dict[tuple[Any, ...], Any] = {}

    async def all_hashes(self, patterns: Sequence[str], fields: Sequence[str]) -> AsyncGenerator[Hashes, None]:
        async def read() -> list[Hashes]:
            async with aclosing(self._redis.all_hashes(patterns, fields)) as batches:
                return [batch async for batch in batches]

        for batch in cast("list[Hashes]", await self._once(read, "all_hashes", *patterns, *fields)):
            yield batch

    async def hashes(self, keys: Sequence[bytes], fields: Sequence[str]) -> list[Any]:
        return cast("list[Any]", await self._once(lambda: self._redis.hashes(keys, fields), "hashes", *keys, *fields))

    async def _once(self, read: Callable[[], Awaitable[Any]], *question: Any) -> Any:
        if question not in self._answers:
            self._answers[question] = await read()
        return self._answers[question]


def render(comparisons: Sequence[Comparison], not_provided: Sequence[str] = ()) -> str:
    """Return a readable table, one line per sample, followed by the result, the inputs that are not provided, and the
    limits of the proof."""
    width = max((len(c.metric) for c in comparisons), default=6)
    serving = any(c.age is not None for c in comparisons)
    served = f"  {'served':>14}  {'age':>7}" if serving else ""
    lines = [f"{'metric':<{width}}{served}  {'fresh':>14}  {'from scratch':>14}  {'difference':>12}"]
    for c in comparisons:
        if c.error is not None:
            lines.append(f"{c.metric:<{width}}  could not be read: {c.error}")
            continue
        served = f"  {_number(c.served):>14}  {_seconds(c.age):>7}" if serving else ""
        shown = "missing" if c.difference is None else _number(c.difference)
        lines.append(
            f"{c.metric:<{width}}{served}  {_number(c.fresh):>14}  {_number(c.from_scratch):>14}  {shown:>12}{_mark(c)}"
        )
    skipped = [f"Not provided, and without values to compare: {', '.join(not_provided)}."] if not_provided else []
    return "\n".join([*lines, "", _verdict(comparisons), *skipped, NOT_PROVED])


def _mark(c: Comparison) -> str:
    if not c.same:
        return "  <-- differs"
    if not c.late:
        return "" if c.serves_the_same else "  within its age"
    if c.served is None:
        return "  <-- not served"
    return f"  <-- served is older than {_seconds(c.promised_age)}" if c.promised_age else "  <-- differs"


def _verdict(comparisons: Sequence[Comparison]) -> str:
    compared = [c for c in comparisons if c.error is None]
    wrong, late = sum(not c.same for c in compared), sum(c.same and c.late for c in compared)
    within = sum(not c.serves_the_same and not c.late for c in compared)
    parts = [f"{len(compared)} samples, difference: nil" if compared else "nothing was compared"]
    if wrong or late:
        parts = [f"{wrong + late} of {len(compared)} samples differ"]
    if late:
        parts.append(f"{late} not served in time")
    if within:
        parts.append(f"{within} served differ within their age")
    if unread := len(comparisons) - len(compared):
        parts.append(f"{unread} collectors could not be read")
    return "; ".join(parts)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.9g}"
