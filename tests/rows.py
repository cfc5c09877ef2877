"""Rows of HiveSync's tables for tests: an insert a table, with what matters as arguments; and what a collector makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from exporter.collector import Collector, Sources
from exporter.sources.jsonl import JsonlLog
from exporter.sources.postgres import Postgres
from exporter.sources.redis import Redis
from exporter.spec import Sample

NOON = datetime(2026, 3, 17, 12, 0, 0, tzinfo=UTC)
"""A moment in the middle of a day and of a month, for tests that fix the clock."""

NOWHERE = "redis://127.0.0.1:1/0"

T = TypeVar("T")


def insert(connection: psycopg.Connection, table: str, **columns: object) -> str:
    """One row; the id it was given, as text."""
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id::text").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(sql.Placeholder() for _ in columns),
    )
    row = connection.execute(query, list(columns.values())).fetchone()
    assert row is not None
    return str(row[0])


def user(connection: psycopg.Connection, name: str) -> str:
    """A user with that name; the id."""
    return insert(connection, "users", email=f"{name}@example.org", username=name)


def users(connection: psycopg.Connection, count: int) -> list[str]:
    """That many users; their ids."""
    return [user(connection, f"user-{number}") for number in range(count)]


@asynccontextmanager
async def sources(database: str, redis_url: str = NOWHERE, now: datetime | None = None) -> AsyncIterator[Sources]:
    """The real sources; the clock fixed at `now`, if given; log files that do not exist."""
    nowhere = Path("/nonexistent")
    opened = Sources(
        postgres=Postgres(database, now=now),
        redis=Redis(redis_url),
        ai_events_log=JsonlLog("ai_events_log", nowhere),
        preview_log=JsonlLog("preview_log", nowhere),
    )
    await opened.postgres.open()
    try:
        yield opened
    finally:
        await opened.postgres.close()
        await opened.redis.close()


def collect(collector: Collector, database: str, redis_url: str = NOWHERE, now: datetime | None = None) -> dict[str, Any]:
    """One refresh of a collector: values by `metric{label values}`."""

    async def refresh() -> Sequence[Sample]:
        async with sources(database, redis_url, now) as opened:
            return await collector.refresh(opened)

    return by_name(asyncio.run(refresh()))


def by_name(samples: Sequence[Sample]) -> dict[str, Any]:
    """Values by `metric{label values}`; fails on a sample that is there twice."""
    values: dict[str, Any] = {}
    for sample in samples:
        name = f"{sample.spec.name}{{{','.join(sample.labels)}}}" if sample.labels else sample.spec.name
        assert name not in values, name
        values[name] = sample.value
    return values


def only(values: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The values of one metric, by its label values alone."""
    return {name[len(metric) + 1 : -1]: value for name, value in values.items() if name.startswith(f"{metric}{{")}


def run(work: Callable[[], Awaitable[T]]) -> T:
    """The result of an async function of no parameters."""

    async def main() -> T:
        return await work()

    return asyncio.run(main())
