"""Clients that wait for the exporter's locks, and an exporter that is gone: neither waits for a long reading."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager

import psycopg
import pytest

from exporter.errors import MadeWay
from exporter.sources.postgres import Postgres, Transaction
from tests.exporter.sources.postgres_asking import opened
from tests.roles import reading_role
from tests.waiting import bounded, until, until_async

SLOW = "SELECT id, pg_sleep(30) FROM users UNION ALL SELECT gen_random_uuid(), pg_sleep(30)"
"""Longer than any test may take: it ends only when it is canceled."""


async def statement(transaction: Transaction) -> None:
    await transaction.rows(f"SELECT count(*) FROM ({SLOW}) AS slow")


async def blocks(transaction: Transaction) -> None:
    query = "SELECT n, n FROM generate_series(1::bigint, 3) AS n, (SELECT pg_sleep(30), count(*) FROM users) AS slow"
    await transaction.integers_in_blocks(query, 2, {}, lambda _: None)


async def batches(transaction: Transaction) -> None:
    async with aclosing(transaction.batches(SLOW)) as rows:
        async for _ in rows:
            pass


async def idle(transaction: Transaction) -> None:
    await transaction.rows("SELECT count(*) FROM users")
    await asyncio.Event().wait()


async def savepoint(transaction: Transaction) -> None:
    async with transaction.savepoint():
        await statement(transaction)


@pytest.fixture
def reader(database: str, connection: psycopg.Connection) -> Iterator[str]:
    """The URL of a role that may read the tables, and no more."""
    with reading_role(connection) as role:
        yield database.replace("postgres@", f"{role}@")


@asynccontextmanager
async def altering(database: str, statement: str = "ALTER TABLE users ADD note text") -> AsyncIterator[None]:
    """A migration that waits as long as it must; it must be through at the end."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as migration:
        running = asyncio.create_task(migration.execute(statement.encode()))
        yield
        async with bounded():
            await running


@pytest.mark.parametrize("body", [statement, blocks, batches, idle, savepoint])
def test_a_long_reading_makes_way_for_a_migration(
    body: Callable[[Transaction], Awaitable[None]], reader: str, database: str, connection: psycopg.Connection
) -> None:
    async def migrate() -> None:
        async with opened(reader) as postgres:
            reading = asyncio.create_task(read(postgres))
            await until_async(lambda: locks(connection), "a reading with its lock")
            async with altering(database), bounded():
                with pytest.raises(MadeWay):
                    await reading
            await postgres.made_way()
            async with postgres.transaction() as transaction:
                assert await transaction.rows("SELECT count(note) FROM users") == [(0,)]
            assert postgres.reachability.up

    async def read(postgres: Postgres) -> None:
        async with postgres.transaction(fill=True) as transaction:
            await body(transaction)

    asyncio.run(migrate())


def locks(connection: psycopg.Connection) -> bool:
    """Whether another session has a lock on `users`."""
    rows = connection.execute("SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass").fetchall()
    return rows != [(0,)]


def test_an_index_that_is_built_concurrently_does_not_wait_either(
    reader: str, database: str, connection: psycopg.Connection
) -> None:
    async def build() -> None:
        async with opened(reader) as postgres:
            reading = asyncio.create_task(read(postgres))
            await until_async(lambda: locks(connection), "a reading with its lock")
            async with altering(database, "CREATE INDEX CONCURRENTLY of_a_test ON users (email)"), bounded():
                with pytest.raises(MadeWay):
                    await reading

    async def read(postgres: Postgres) -> None:
        async with postgres.transaction(fill=True) as transaction:
            await statement(transaction)

    asyncio.run(build())


def test_only_the_reading_that_is_waited_for_is_given_up(
    reader: str, database: str, connection: psycopg.Connection
) -> None:
    async def migrate() -> None:
        async with opened(reader) as postgres:
            reading = asyncio.create_task(read(postgres, SLOW))
            other = asyncio.create_task(read(postgres, "SELECT count(*), pg_sleep(30) FROM projects"))
            await until_async(lambda: locks(connection), "a reading with its lock")
            async with altering(database), bounded():
                with pytest.raises(MadeWay):
                    await reading
            assert not other.done()
            other.cancel()

    async def read(postgres: Postgres, query: str) -> None:
        async with postgres.transaction(fill=True) as transaction:
            await transaction.rows(query)

    asyncio.run(migrate())


READ = """
import asyncio, sys
from exporter.sources.postgres import Postgres

async def read():
    async with Postgres(sys.argv[1]).transaction(fill=True) as transaction:
        await transaction.rows(sys.argv[2])

asyncio.run(read())
"""


@pytest.mark.parametrize(
    ("number", "query"),
    [
        (signal.SIGKILL, "SELECT count(*), pg_sleep(300) FROM users"),
        (
            signal.SIGSTOP,
            "SELECT repeat('x', 1000000), (SELECT count(*) FROM users) FROM generate_series(1, 5000)",
        ),
    ],
    ids=["killed within a statement", "frozen within an answer"],
)
def test_an_exporter_that_is_gone_leaves_nothing_at_work(
    number: signal.Signals, query: str, database: str, connection: psycopg.Connection
) -> None:
    process = subprocess.Popen([sys.executable, "-c", READ, database, query])
    try:
        until(lambda: states(connection) == ["active"], "a reading at work")
        os.kill(process.pid, number)
        until(lambda: states(connection) == [], "no reading")
        assert not locks(connection)
    finally:
        process.kill()
        process.wait()


def states(connection: psycopg.Connection) -> list[str]:
    """The states of the exporter's sessions with a query on `users`."""
    return [
        state
        for (state,) in connection.execute(
            "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'hivesync-analytics' AND query LIKE '%users%'"
        ).fetchall()
    ]
