"""Holds the windows against the definitions: every PostgreSQL metric, incremental and from scratch, in one snapshot.

Collectors refresh and the definitions are read inside one transaction, with one `now` and one reading of the
WebSockets, while traffic goes on: whatever differs then is a fault of the windows, not of the moment. What is looked
for less often than it may change (users, plans, projects, late rows) is looked for on the occasion.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from exporter.collector import SKIPPED, Collector, Remembering, Sources
from exporter.collectors.online import OnlineNow, read_web_sockets
from exporter.definitions import Terms, WebSocket, read_definitions
from exporter.errors import AnalyticsError, CollectionFailed, SourceUnavailable
from exporter.sources.postgres import Postgres, Transaction
from exporter.sources.redis import Hashes, Redis
from exporter.spec import Sample

TOLERANCE = 1e-9
"""Relative: the two ways add floating-point numbers in a different order."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One sample both ways; None where one way has no such sample. `error` in place of both when it could not be
    read."""

    metric: str
    incremental: float | None = None
    from_scratch: float | None = None
    error: str | None = None

    @property
    def same(self) -> bool:
        """Whether both ways agree."""
        if self.error is not None or self.incremental is None or self.from_scratch is None:
            return False
        return math.isclose(self.incremental, self.from_scratch, rel_tol=TOLERANCE, abs_tol=TOLERANCE)

    @property
    def difference(self) -> float | None:
        """Incremental less from scratch; None where one is missing."""
        if self.incremental is None or self.from_scratch is None:
            return None
        return 0.0 if self.same else self.incremental - self.from_scratch


AtRest = AbstractAsyncContextManager[Sequence[Collector]]
"""Collectors that nothing else refreshes while it is held (`Snapshot.at_rest`)."""


async def compare(at_rest: AtRest, sources: Sources, terms: Terms) -> list[Comparison]:
    """Every sample of the collectors that ask PostgreSQL, both ways. They rest for their own refresh only."""
    async with AsyncExitStack() as resting:
        # They rest before the transaction begins: one that refreshed after that would take its `now` for the past.
        collectors = await resting.enter_async_context(at_rest)
        async with sources.postgres.transaction(fill=True) as transaction:
            pinned = replace(
                sources,
                postgres=cast("Postgres", _OneTransaction(transaction)),
                redis=cast("Redis", _OneReading(sources.redis)),
            )
            incremental: dict[Collector, _Outcome] = {}
            web_sockets: list[WebSocket] = []
            for collector in collectors:
                if isinstance(collector, Remembering):
                    collector.read_afresh()
            for collector in collectors:
                if is_defined(collector):
                    incremental[collector] = await _outcome(collector.refresh(pinned))
                if isinstance(collector, OnlineNow) and sources.redis.reachability.up:
                    web_sockets, _ = await read_web_sockets(pinned.redis, collector.ws_session_keys)
            await resting.aclose()  # counting from scratch takes long, and needs the transaction only
            comparisons: list[Comparison] = []
            for collector, outcome in incremental.items():
                from_scratch = await _outcome(_from_scratch(collector, transaction, terms, web_sockets))
                comparisons += _paired(collector.name, outcome, from_scratch)
    return comparisons


_Outcome = Sequence[Sample] | AnalyticsError


async def _outcome(reading: Awaitable[Sequence[Sample]]) -> _Outcome:
    try:
        return await reading
    except (CollectionFailed, SourceUnavailable) as error:
        return error


def is_defined(collector: Collector) -> bool:
    """Whether it asks PostgreSQL for metrics, so that definitions say what these must be."""
    return Postgres.name in collector.sources and any(spec.definition for spec in collector.specs)


async def _from_scratch(
    collector: Collector, transaction: Transaction, terms: Terms, web_sockets: Sequence[WebSocket]
) -> Sequence[Sample]:
    async with transaction.savepoint():
        return await read_definitions(collector.specs, transaction, terms, web_sockets)


def _paired(collector: str, incremental: _Outcome, from_scratch: _Outcome) -> list[Comparison]:
    for outcome in (incremental, from_scratch):
        if isinstance(outcome, AnalyticsError):
            return [Comparison(f"collector {collector}", error=str(outcome))]
    one, other = (
        {_name(sample): cast("float", sample.value) for sample in outcome if sample.spec != SKIPPED}
        for outcome in (cast("Sequence[Sample]", incremental), cast("Sequence[Sample]", from_scratch))
    )
    return [Comparison(name, one.get(name), other.get(name)) for name in dict.fromkeys((*one, *other))]


def _name(sample: Sample) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in zip(sample.spec.label_names, sample.labels, strict=True))
    return f"{sample.spec.name}{{{labels}}}" if labels else sample.spec.name


class _OneTransaction:
    """Stands for the PostgreSQL source and gives everybody the same transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    @asynccontextmanager
    async def transaction(self, *, fill: bool = False) -> AsyncIterator[Transaction]:
        del fill
        async with self._transaction.savepoint():
            yield self._transaction


class _OneReading:
    """Stands for the Redis source and answers the same question the same way a second time."""

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


def render(comparisons: Sequence[Comparison]) -> str:
    """A table for people, a line a sample, and what it comes to in the last line."""
    width = max((len(c.metric) for c in comparisons), default=6)
    lines = [f"{'metric':<{width}}  {'incremental':>18}  {'from scratch':>18}  {'difference':>12}"]
    for c in comparisons:
        if c.error is not None:
            lines.append(f"{c.metric:<{width}}  could not be read: {c.error}")
        else:
            shown = _number(c.difference) if c.difference is not None else "missing"
            mark = "" if c.same else "  <-- differs"
            lines.append(
                f"{c.metric:<{width}}  {_number(c.incremental):>18}  {_number(c.from_scratch):>18}  {shown:>12}{mark}"
            )
    compared = [c for c in comparisons if c.error is None]
    wrong = sum(not c.same for c in compared)
    verdict = f"{wrong} of {len(compared)} samples differ" if wrong else f"{len(compared)} samples, difference: nil"
    unread = len(comparisons) - len(compared)
    return "\n".join([*lines, "", f"{verdict}; {unread} collectors could not be read" if unread else verdict])


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.9g}"
