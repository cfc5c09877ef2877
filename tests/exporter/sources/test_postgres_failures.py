"""Failures of PostgreSQL by kind, and the connections after them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from demo.database import create_role
from exporter.errors import SourceUnavailable
from exporter.sources import postgres as source
from exporter.sources.postgres import Postgres, Row
from exporter.sources.refusals import failure
from servers.postgres import PostgresServer
from tests.exporter.sources.postgres_asking import ask, cut_all, names_of, opened, read, refused, why_unavailable
from tests.rows import insert
from tests.waiting import patience, until


@pytest.mark.parametrize(
    ("query", "kind", "detail"),
    [
        ("SELECT * FROM no_such_table", "undefined_table", 'relation "no_such_table" does not exist'),
        ("SELECT users.karma FROM users", "undefined_column", "column users.karma does not exist"),
        ("SELECT no_such_function()", "undefined_function", "function no_such_function() does not exist"),
        ("SELECT 'hunter2'::int", "invalid_text_representation", ""),
        ("SELECT email::int FROM users", "invalid_text_representation", ""),
        ("SELECT 1 / 0", "division_by_zero", ""),
    ],
)
def test_a_question_that_is_refused_names_tables_and_columns_and_never_a_value(
    query: str, kind: str, detail: str, database: str, connection: psycopg.Connection
) -> None:
    insert(connection, "users", email="hunter2")
    error = refused(database, query)
    assert (error.source, error.kind, error.detail) == ("postgres", kind, detail)
    assert "hunter2" not in str(error)


def test_a_server_that_is_not_there_is_refused() -> None:
    assert why_unavailable("postgresql://somebody@127.0.0.1:1/hivesync") == ["refused"]


def test_the_first_refusal_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool of psycopg would retry; each refresh is a new attempt already."""
    monkeypatch.setattr(source, "CONNECT_SECONDS", 600.0)

    async def attempts() -> list[str]:
        async def attempt(postgres: Postgres) -> str:
            with pytest.raises(SourceUnavailable) as raised:
                await read(postgres, "SELECT 1")
            return raised.value.kind

        async with opened("postgresql://somebody@127.0.0.1:1/hivesync") as postgres:
            kinds = [await attempt(postgres) for _ in range(3)]
            return kinds + await asyncio.gather(*(attempt(postgres) for _ in range(8)))

    started = time.monotonic()
    assert asyncio.run(attempts()) == ["refused"] * 11
    assert time.monotonic() - started < patience(30)


def test_once_it_is_there_the_next_reading_works(postgres_server: PostgresServer, database: str) -> None:
    name = str(conninfo_to_dict(database)["dbname"])

    async def attempt() -> list[Row]:
        async with opened(database) as postgres:
            with psycopg.connect(postgres_server.url, autocommit=True) as admin:
                admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
                for _ in range(3):
                    with pytest.raises(SourceUnavailable):
                        await read(postgres, "SELECT 1")
                admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
            with suppress(SourceUnavailable):  # a pending attempt may have been the last refused one
                await read(postgres, "SELECT 1")
            return await read(postgres, "SELECT 1")

    assert asyncio.run(attempt()) == [(1,)]


@pytest.fixture
def access(postgres_server: PostgresServer) -> Iterator[dict[str, str]]:
    """Roles that cannot connect, by the reason."""
    roles = {
        "password": "LOGIN",
        "rejected": "LOGIN",
        "no login": "NOLOGIN",
        "full": "LOGIN CONNECTION LIMIT 0",
        "not here": "LOGIN",
    }
    names = {reason: f"r{uuid4().hex}" for reason in roles}
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        row = connection.execute("SHOW hba_file").fetchone()
        assert row is not None
        rules = Path(row[0])
        before = rules.read_text()
        for reason, name in names.items():
            create_role(connection, name, roles[reason])
        rules.write_text(f"host all {names['rejected']} 127.0.0.1/32 reject\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        yield names
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        for name in names.values():
            connection.execute(f"DROP ROLE {name}".encode())


def test_why_a_server_lets_nobody_in_is_said_by_kind(
    access: dict[str, str],
    postgres_server: PostgresServer,
    database: str,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source, "CONNECT_SECONDS", patience(1))
    name = str(conninfo_to_dict(database)["dbname"])
    connection.execute(f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC'.encode())
    url_of = postgres_server.url_of
    expected = {
        make_conninfo(url_of("postgres", access["password"]), password="wrong"): "authentication",
        make_conninfo(url_of("postgres", access["password"]), password=""): "authentication",
        url_of("postgres", access["rejected"]): "authentication",
        url_of("postgres", access["no login"]): "authentication",
        url_of("postgres", "nobody_of_that_name"): "authentication",
        url_of(name, access["not here"]): "authentication",
        url_of("postgres", access["full"]): "too_many_connections",
        url_of("no_such_database"): "unknown_database",
        f"{database}?sslmode=require": "tls",
    }
    assert dict(zip(expected, why_unavailable(*expected), strict=True)) == expected
    assert ask(url_of("postgres", access["password"]), lambda t: t.rows("SELECT 1")) == [(1,)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.OperationalError("connection failed: FATAL:  the database system is starting up"), "starting_up"),
        (psycopg.OperationalError("connection failed: FATAL:  the database system is shutting down"), "shutting_down"),
        (psycopg.OperationalError("failed to resolve host 'db': Name or service not known"), "unknown_host"),
        (psycopg.OperationalError('FATAL:  no pg_hba.conf entry for host "::1", SSL off'), "authentication"),
        (psycopg.OperationalError("SSL error: certificate verify failed"), "tls"),
        (psycopg.OperationalError("server closed the connection unexpectedly"), "connection_lost"),
        (psycopg.errors.ConnectionTimeout("connection timeout expired"), "timeout"),
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "connection_lost"),
        (psycopg.errors.AdminShutdown(), "admin_shutdown"),
        (psycopg.errors.CannotConnectNow(), "cannot_connect_now"),
        (psycopg.errors.TooManyConnections(), "too_many_connections"),
        (psycopg.errors.InvalidPassword(), "invalid_password"),
    ],
    ids=lambda value: str(value)[-30:],
)
def test_an_error_in_which_no_server_works_for_us_is_the_sources(error: Exception, kind: str) -> None:
    failed = failure(error)
    assert isinstance(failed, SourceUnavailable)
    assert failed.kind == kind


def test_connections_that_were_cut_are_replaced_unnoticed(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "CONNECT_SECONDS", patience(1.5))

    async def attempt() -> list[bool | None]:
        up = []
        async with opened(database) as postgres:
            for _ in range(3):
                await asyncio.gather(*(read(postgres, "SELECT pg_sleep(0.1)::text") for _ in range(3)))
                up.append(postgres.reachability.up)
                assert await asyncio.to_thread(cut_all, connection) == 3
            await read(postgres, "SELECT 1")
            return [*up, postgres.reachability.up]

    assert asyncio.run(attempt()) == [True] * 4


def test_a_connection_cut_in_a_transaction_fails_the_source_and_the_next_works(
    database: str, connection: psycopg.Connection
) -> None:
    async def cut(postgres: Postgres) -> None:
        async with postgres.transaction() as transaction:
            await transaction.rows("SELECT 1")
            assert await asyncio.to_thread(cut_all, connection) == 1
            await transaction.rows("SELECT 1")

    async def attempt() -> tuple[bool | None, bool | None]:
        async with opened(database) as postgres:
            with pytest.raises(SourceUnavailable, match="admin_shutdown"):
                await cut(postgres)
            down = postgres.reachability.up
            await read(postgres, "SELECT 1")
            return down, postgres.reachability.up

    assert asyncio.run(attempt()) == (False, True)


def test_an_error_of_ours_is_passed_on_and_gives_the_connection_back(database: str) -> None:
    async def blunder(postgres: Postgres) -> None:
        async with postgres.transaction() as transaction:
            await transaction.rows("SELECT 1")
            raise ZeroDivisionError

    async def attempt() -> None:
        async with opened(database) as postgres:
            for _ in range(5):
                with pytest.raises(ZeroDivisionError):
                    await blunder(postgres)
            assert await read(postgres, "SELECT 1") == [(1,)]
            assert postgres.reachability.up is True

    asyncio.run(attempt())


def test_what_is_cancelled_goes_on_nowhere_and_gives_its_connections_back(
    database: str, connection: psycopg.Connection
) -> None:
    async def attempt() -> None:
        async with opened(database) as postgres:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await asyncio.gather(*(read(postgres, "SELECT pg_sleep(60)") for _ in range(6)))
            assert await asyncio.gather(*(read(postgres, "SELECT 1") for _ in range(6))) == [[(1,)]] * 6

    def are_ended() -> bool:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60%'")
        return row.fetchone() == (0,)

    asyncio.run(attempt())
    # A server that does not answer a cancellation within a second ends the statement at its time limit.
    until(are_ended, "no statement runs on")


def test_closing_closes_every_connection(database: str, connection: psycopg.Connection) -> None:
    async def crowd() -> None:
        async with opened(database) as postgres:
            await asyncio.gather(*(read(postgres, "SELECT pg_sleep(0.01)::text") for _ in range(3)))
            assert names_of(connection) == {"hivesync-analytics"}

    asyncio.run(crowd())
    until(lambda: not names_of(connection), "no connection is left")
