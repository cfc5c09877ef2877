"""Questions to PostgreSQL through the exporter's source, and the connections that it leaves at the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

import psycopg
import pytest

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources.postgres import Postgres, Row, Transaction

T = TypeVar("T")


@asynccontextmanager
async def opened(url: str, now: datetime | None = None) -> AsyncIterator[Postgres]:
    postgres = Postgres(url, now=now)
    try:
        yield postgres
    finally:
        await postgres.close()


async def read(postgres: Postgres, query: str, *, fill: bool = False) -> list[Row]:
    async with postgres.transaction(fill=fill) as transaction:
        return await transaction.rows(query)


def ask(url: str, question: Callable[[Transaction], Awaitable[T]], now: datetime | None = None) -> T:
    """The result of one question in a transaction."""

    async def answer() -> T:
        async with opened(url, now) as postgres, postgres.transaction() as transaction:
            return await question(transaction)

    return asyncio.run(answer())


def refused(url: str, query: str) -> CollectionFailed:
    """The failure of a query that the server refuses; the source must count as reached, and work again after it."""

    async def attempt() -> CollectionFailed:
        async with opened(url) as postgres:
            with pytest.raises(CollectionFailed) as raised:
                await read(postgres, query)
            assert postgres.reachability.up is True
            assert await read(postgres, "SELECT 1") == [(1,)]
            return raised.value

    return asyncio.run(attempt())


def names_of(connection: psycopg.Connection) -> set[str]:
    """The application names of the other connections to the database."""
    rows = connection.execute(
        "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return {name for (name,) in rows}


def cut_all(connection: psycopg.Connection) -> int:
    """Terminate every other connection to the database; returns their number."""
    rows = connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ).fetchall()
    assert all(ended for (ended,) in rows)
    return len(rows)


def why_unavailable(*urls: str) -> list[str]:
    """The kinds of failure of attempts to connect, all at once."""

    async def attempt(url: str) -> str:
        async with opened(url) as postgres:
            with pytest.raises(SourceUnavailable) as raised:
                await read(postgres, "SELECT 1")
            assert (postgres.reachability.up, postgres.reachability.error) == (False, raised.value.kind)
            return raised.value.kind

    async def attempts() -> list[str]:
        return await asyncio.gather(*map(attempt, urls))

    return asyncio.run(attempts())
