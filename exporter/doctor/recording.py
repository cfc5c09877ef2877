"""The collectors' own statements, recorded while the collectors run: the doctor knows no statement of theirs.

    collectors -> recording (this) -> PostgreSQL;  indexes.py asks for the plan of each recorded statement

The transactions have a fixed `now` in a time without rows, so that a first reading of a window costs no more than a
later one. Its statements have their real times when they are explained (`Statement.at`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from exporter.collector import Collector, Dependent, Sources
from exporter.errors import AnalyticsError
from exporter.sources.postgres import Postgres, Row, Transaction
from exporter.sources.redis import Fields, Hashes, Redis
from exporter.windows import Integers

QUIET_TIME = datetime(2001, 1, 2, tzinfo=UTC)
"""A time without rows."""

STEP = timedelta(seconds=15)
"""Between two refreshes."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a collector, with its parameters."""

    collector: str
    query: str
    parameters: Mapping[str, object]

    def at(self, now: datetime) -> Mapping[str, object]:
        """Return the parameters moved from the quiet time to `now`."""
        moved = now - QUIET_TIME
        return {
            name: value + moved if isinstance(value, datetime) else value for name, value in self.parameters.items()
        }


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A collector's statements; the duration of its second refresh, None where it did not end in time."""

    collector: str
    statements: Sequence[Statement]
    seconds: float | None
    error: str = ""


class _Recorded:
    """A transaction that notes each statement before it runs it."""

    def __init__(self, transaction: Transaction, note: Callable[[str, Mapping[str, object]], None]) -> None:
        self._transaction = transaction
        self._note = note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)

    def _add(self, query: str, parameters: Mapping[str, object] | None) -> None:
        self._note(query, {"now": self._transaction.now, **(parameters or {})})

    async def rows(
        self, query: str, parameters: Mapping[str, object] | None = None, *, plan_once: bool = False
    ) -> list[Row]:
        self._add(query, parameters)
        return await self._transaction.rows(query, parameters, plan_once=plan_once)

    async def batches(
        self, query: str, parameters: Mapping[str, object] | None = None
    ) -> AsyncGenerator[list[Row], None]:
        self._add(query, parameters)
        async with aclosing(self._transaction.batches(query, parameters)) as batches:
            async for batch in batches:
                yield batch

    async def integers(self, query: str, columns: int, parameters: Mapping[str, object] | None = None) -> Integers:
        self._add(query, parameters)
        return await self._transaction.integers(query, columns, parameters)

    async def integers_in_blocks(
        self, query: str, columns: int, parameters: Mapping[str, object], take: Callable[[Integers], None]
    ) -> None:
        self._add(query, parameters)
        await self._transaction.integers_in_blocks(query, columns, parameters, take)


class _Recording:
    """The source PostgreSQL, with recorded transactions."""

    def __init__(self, postgres: Postgres, note: Callable[[str, Mapping[str, object]], None]) -> None:
        self._postgres = postgres
        self._note = note

    @asynccontextmanager
    async def transaction(self, *, fill: bool = False) -> AsyncIterator[Transaction]:
        del fill  # the short time limits hold for all
        async with self._postgres.transaction() as transaction:
            yield cast("Transaction", _Recorded(transaction, self._note))


class _OneWebSocket:
    """The source Redis with open WebSockets, whose sessions are looked up by id: one of each common type of ids."""

    reachability = None
    _SESSIONS = (b"00000000-0000-0000-0000-000000000000", b"0")

    async def all_hashes(self, patterns: Sequence[str], fields: Sequence[str]) -> AsyncGenerator[Hashes, None]:
        del patterns
        rows = [[session if field == "session_id" else None for field in fields] for session in self._SESSIONS]
        yield Hashes([b"ws:%d" % number for number in range(len(rows))], rows)

    async def hashes(self, keys: Sequence[bytes], fields: Sequence[str]) -> list[Fields]:
        return [tuple(None for _ in fields) for _ in keys]


async def record(
    collectors: Sequence[Collector], postgres: Callable[[datetime], Postgres], sources: Sources, seconds: float
) -> list[Refreshed]:
    """Refresh each collector of PostgreSQL twice, and return its statements; each within `seconds`.

    `postgres` opens the source with a fixed `now`. A collector that needs another's windows is refreshed after it.
    """
    first, second = postgres(QUIET_TIME), postgres(QUIET_TIME + STEP)
    try:
        return [
            await _refreshed(collector, (first, second), sources, seconds)
            for collector in sorted(collectors, key=lambda each: isinstance(each, Dependent))
            if Postgres.name in collector.sources
        ]
    finally:
        await first.close()
        await second.close()


async def _refreshed(
    collector: Collector, postgres: tuple[Postgres, Postgres], sources: Sources, seconds: float
) -> Refreshed:
    statements: list[Statement] = []

    def note(query: str, parameters: Mapping[str, object]) -> None:
        statements.append(Statement(collector.name, query, parameters))

    duration, error = None, ""
    try:
        async with asyncio.timeout(seconds):
            for source in postgres:
                began = asyncio.get_running_loop().time()
                recording = replace(
                    sources,
                    postgres=cast("Postgres", _Recording(source, note)),
                    redis=cast("Redis", _OneWebSocket()),
                )
                await collector.refresh(recording)
                duration = asyncio.get_running_loop().time() - began
    except TimeoutError:
        duration, error = None, "timeout"
    except AnalyticsError as failure:
        duration, error = None, str(failure)
    return Refreshed(collector.name, statements, duration, error)
