"""Limits of the load on PostgreSQL: read only, few connections, short statements, no waiting for locks."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import pytest

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import postgres as source
from exporter.sources.postgres import Postgres, Row, Transaction
from tests.exporter.sources.postgres_asking import ask, names_of, opened, read, refused
from tests.rows import user, users
from tests.waiting import bounded, patience


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO users (email) VALUES ('x@example.org')",
        "DELETE FROM users",
        "TRUNCATE users CASCADE",
        "CREATE TABLE hole (x int)",
        "SELECT nextval('numbers')",
        "SELECT * FROM users FOR UPDATE",
    ],
)
def test_nothing_can_be_written_whatever_the_role_may(
    query: str, database: str, connection: psycopg.Connection
) -> None:
    user(connection, "somebody")
    connection.execute("CREATE SEQUENCE numbers")
    assert refused(database, query).kind == "read_only_sql_transaction"
    assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)


def test_a_transaction_cannot_be_made_to_write(database: str) -> None:
    assert refused(database, "SET TRANSACTION READ WRITE").kind == "active_sql_transaction"


@pytest.mark.parametrize("fill", [False, True])
def test_a_statement_is_cut_short_by_the_server(fill: bool, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "STATEMENT_SECONDS", 0.1)

    async def attempt() -> tuple[str, bool | None]:
        async with opened(database) as postgres:
            with pytest.raises(CollectionFailed) as raised:
                await read(postgres, "SELECT pg_sleep(60)", fill=fill)
            assert await read(postgres, "SELECT 1") == [(1,)]
            return raised.value.kind, postgres.reachability.up

    assert asyncio.run(attempt()) == ("statement_timeout", True)


def test_a_statement_of_a_fill_has_no_more_time_than_any_other(database: str) -> None:
    async def limits() -> list[Any]:
        async with opened(database) as postgres:
            return [(await read(postgres, "SHOW statement_timeout", fill=fill))[0][0] for fill in (False, True)]

    assert asyncio.run(limits()) == ["8s", "8s"]


@pytest.mark.parametrize(("options", "expected"), [("", "32MB"), ("?options=-cwork_mem%3D64MB", "64MB")])
def test_a_fill_has_memory_enough_to_group_a_history_by_user(options: str, expected: str, database: str) -> None:
    async def limits() -> list[Any]:
        async with opened(f"{database}{options}") as postgres:
            return [(await read(postgres, "SHOW work_mem", fill=fill))[0][0] for fill in (True, False)]

    filling, otherwise = asyncio.run(limits())
    assert filling == expected
    assert otherwise == ("64MB" if options else "4MB")


def test_a_server_that_does_not_keep_its_limit_is_not_waited_for(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "STATEMENT_SECONDS", 0.1)
    monkeypatch.setattr(source, "GRACE_SECONDS", 0.1)

    async def endless(postgres: Postgres) -> None:
        async with postgres.transaction() as transaction:
            await transaction.rows("SELECT set_config('statement_timeout', '0', true)")
            await transaction.rows("SELECT pg_sleep(60)")

    async def attempt() -> tuple[str, bool | None]:
        async with opened(database) as postgres:
            with pytest.raises(SourceUnavailable) as raised:
                await endless(postgres)
            down = postgres.reachability.up
            assert await read(postgres, "SELECT 1") == [(1,)]
            return raised.value.kind, down

    assert asyncio.run(attempt()) == ("timeout", False)


@pytest.mark.parametrize("lock", ["LOCK TABLE users IN ACCESS EXCLUSIVE MODE", "ALTER TABLE users ADD COLUMN x int"])
def test_a_locked_table_is_not_waited_for(lock: str, database: str, connection: psycopg.Connection) -> None:
    with connection.transaction():
        connection.execute(lock)
        started = time.monotonic()
        assert refused(database, "SELECT count(*) FROM users").kind == "lock_not_available"
        assert time.monotonic() - started < patience(1)
    assert ask(database, lambda t: t.rows("SELECT count(*) FROM users")) == [(0,)]


def test_we_lock_nobody_out(database: str, connection: psycopg.Connection) -> None:
    """A migration proceeds at the end of every transaction, also of a failed or cancelled transaction."""

    async def attempt() -> None:
        async with opened(database) as postgres:
            with pytest.raises(CollectionFailed):
                await read(postgres, "SELECT 1 / 0 FROM users, pg_class")
            with pytest.raises(CollectionFailed):
                await read(postgres, "SELECT count(*), no_such_column FROM users")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await read(postgres, "SELECT count(*), pg_sleep(60) FROM users")
            connection.execute(f"SET lock_timeout = '{patience(2):.0f}s'".encode())
            await asyncio.to_thread(connection.execute, "ALTER TABLE users ADD COLUMN x int")

    asyncio.run(attempt())


def test_many_readers_share_three_connections(database: str, connection: psycopg.Connection) -> None:
    users(connection, 3)

    async def crowd() -> tuple[list[int], list[list[Row]]]:
        seen: list[int] = []

        async def one(postgres: Postgres) -> list[Row]:
            async with postgres.transaction() as transaction:
                ((connections,),) = await transaction.rows(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'hivesync-analytics'"
                )
                seen.append(connections)
                return await transaction.rows("SELECT count(*), pg_sleep(0.01)::text FROM users")

        async with opened(database) as postgres:
            return seen, await asyncio.gather(*(one(postgres) for _ in range(20)))

    seen, answers = asyncio.run(crowd())
    assert max(seen) == 3
    assert [answer[0][0] for answer in answers] == [3] * 20


def test_readings_of_whole_histories_leave_a_connection_for_what_is_quick(database: str) -> None:
    async def attempt() -> int:
        async with opened(database) as postgres:
            go_on, filling = asyncio.Event(), 0

            async def fill() -> None:
                nonlocal filling
                async with postgres.transaction(fill=True):
                    filling += 1
                    await go_on.wait()

            fills = [asyncio.create_task(fill()) for _ in range(4)]
            try:
                async with bounded():
                    for _ in range(5):
                        await read(postgres, "SELECT 1")
                return filling
            finally:
                go_on.set()
                await asyncio.gather(*fills)

    assert asyncio.run(attempt()) <= 2


@pytest.mark.parametrize(
    ("addition", "name"), [("", "hivesync-analytics"), ("?application_name=exporter-7", "exporter-7")]
)
def test_a_connection_says_whose_it_is_or_what_its_url_says(
    addition: str, name: str, database: str, connection: psycopg.Connection
) -> None:
    async def named(transaction: Transaction) -> set[str]:
        del transaction
        return names_of(connection)

    assert ask(f"{database}{addition}", named) == {name}


def test_options_of_the_url_are_kept(database: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE SCHEMA analytics; CREATE VIEW analytics.people AS SELECT 7 AS many")
    url = f"{database}?options=-csearch_path%3Danalytics%20-cwork_mem%3D7MB"
    assert ask(url, lambda t: t.rows("SELECT many, current_setting('work_mem') FROM people")) == [(7, "7MB")]
