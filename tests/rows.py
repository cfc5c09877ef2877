"""Rows and keys of HiveSync for tests, with the relevant values as arguments; and the values that a collector makes of
them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg import sql

from exporter.collector import Collector, Sources
from exporter.sources.jsonl import JsonlLog
from exporter.sources.postgres import Postgres
from exporter.sources.redis import Redis
from exporter.spec import Sample

NOON = datetime(2026, 3, 17, 12, 0, 0, tzinfo=UTC)
"""A time in the middle of a day and of a month, for tests with a fixed clock."""

WITHIN_A_MINUTE = NOON + timedelta(seconds=37, microseconds=123_457)
"""A time within a minute, so that the windows that end there start within a minute too."""

CLOCKS = pytest.mark.parametrize("now", [NOON, WITHIN_A_MINUTE], ids=["on a minute", "within a minute"])
"""Both times, for a test with `now`."""

INSTANT = timedelta(microseconds=1)
"""The resolution of PostgreSQL's clock."""

TABLES = ("users", "subscriptions", "projects", "sessions", "ai_usage_events", "preview_jobs", "usage_analytics_daily")
"""All tables."""

NO_DATABASE = "postgresql://nobody@127.0.0.1:1/nowhere"
NOWHERE = "redis://127.0.0.1:1/0"


def insert(connection: psycopg.Connection, table: str, **columns: object) -> str:
    """Insert a row; returns its id, as text."""
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id::text").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(sql.Placeholder() for _ in columns),
    )
    row = connection.execute(query, list(columns.values())).fetchone()
    assert row is not None
    return str(row[0])


def counted(connection: psycopg.Connection) -> None:
    """Wait until the server's counters include the changes of this connection; by themselves they lag by up to a
    minute."""
    connection.execute("SELECT pg_stat_force_next_flush()")


def user(connection: psycopg.Connection, name: str) -> str:
    """Insert a user with that name; returns the id."""
    return insert(connection, "users", email=f"{name}@example.org", username=name)


def users(connection: psycopg.Connection, count: int) -> list[str]:
    """Insert that many users; returns their ids."""
    return [user(connection, f"user-{number}") for number in range(count)]


def keep(valkey: redis.Redis, key: str, **fields: object) -> None:
    """Store a Redis hash with these fields, except those that are None."""
    valkey.hset(key, mapping={name: str(value) for name, value in fields.items() if value is not None})


@asynccontextmanager
async def sources(database: str, redis_url: str = NOWHERE, now: datetime | None = None) -> AsyncIterator[Sources]:
    """The real sources, with both servers' clocks fixed at `now`, if given; the log files do not exist."""
    nowhere = Path("/nonexistent")
    opened = Sources(
        postgres=Postgres(database, now=now),
        redis=Redis(redis_url) if now is None else _RedisAt(redis_url, now),
        ai_events_log=JsonlLog("ai_events_log", nowhere),
        preview_log=JsonlLog("preview_log", nowhere),
    )
    try:
        yield opened
    finally:
        await opened.postgres.close()
        await opened.redis.close()


class _RedisAt(Redis):
    """A Redis with a fixed clock."""

    def __init__(self, url: str, now: datetime) -> None:
        super().__init__(url)
        self._now = now

    async def time(self) -> float:
        return self._now.timestamp()


def collect(
    collector: Collector, database: str, redis_url: str = NOWHERE, now: datetime | None = None
) -> dict[str, Any]:
    """Refresh a collector once; returns the values by `metric{label values}`."""

    async def refresh() -> Sequence[Sample]:
        async with sources(database, redis_url, now) as opened:
            return await collector.refresh(opened)

    return by_name(asyncio.run(refresh()))


def by_name(samples: Sequence[Sample]) -> dict[str, Any]:
    """Values by `metric{label values}`; fails on a duplicate sample."""
    values: dict[str, Any] = {}
    for sample in samples:
        name = f"{sample.spec.name}{{{','.join(sample.labels)}}}" if sample.labels else sample.spec.name
        assert name not in values, name
        values[name] = sample.value
    return values


def only(values: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The values of one metric, by its label values."""
    return {name[len(metric) + 1 : -1]: value for name, value in values.items() if name.startswith(f"{metric}{{")}
