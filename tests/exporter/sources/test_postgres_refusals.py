"""A server that refuses connections: each waiting task gets the reason of its own attempt, by kind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from demo.database import create_role
from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import connections
from exporter.sources.postgres import Postgres
from exporter.sources.refusals import failure
from servers.postgres import PostgresServer
from tests.exporter.sources.postgres_asking import names_of, opened, read, why_unavailable
from tests.waiting import until

WAITERS, ROUNDS = 20, 8


async def crowd(postgres: Postgres, query: str = "SELECT pg_sleep(0.05)::text", step: int = 0) -> list[str]:
    """The results of twenty concurrent tasks: a kind of failure, or an answer. Each starts `step` turns of the event
    loop after the one before, so that some start during the refusal of others."""

    async def one(number: int) -> str:
        for _ in range(number * step):
            await asyncio.sleep(0)
        try:
            await read(postgres, query)
        except SourceUnavailable as error:
            return error.kind
        return "answered"

    return await asyncio.gather(*(one(number) for number in range(WAITERS)))


@pytest.fixture
def role(connection: psycopg.Connection) -> Iterator[str]:
    """A role that may log in once at a time."""
    name = f"role_{uuid4().hex}"
    create_role(connection, name, "LOGIN CONNECTION LIMIT 1")
    yield name
    connection.execute(f"DROP ROLE {name}".encode())


# ---- many waiting tasks ----


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://somebody@127.0.0.1:1/hivesync", "refused"),
        ("postgresql://nobody_of_that_name@{server}/postgres", "authentication"),
        ("postgresql://postgres:{password}@{server}/no_such_database", "unknown_database"),
        ("postgresql://postgres:{password}@{server}/postgres?options=-Z", "refused_by_server"),
    ],
)
def test_twenty_that_wait_for_a_server_that_refuses_all_hear_why(
    url: str, kind: str, postgres_server: PostgresServer
) -> None:
    async def attempts() -> list[str]:
        server, password = f"127.0.0.1:{postgres_server.port}", postgres_server.password
        async with opened(url.format(server=server, password=password)) as postgres:
            return [outcome for step in range(ROUNDS) for outcome in await crowd(postgres, step=step)]

    assert asyncio.run(attempts()) == [kind] * ROUNDS * WAITERS


def test_twenty_that_wait_for_a_server_that_refuses_some_hear_why_or_get_an_answer(
    postgres_server: PostgresServer, database: str, role: str
) -> None:
    url = postgres_server.url_of(str(conninfo_to_dict(database)["dbname"]), role)

    async def attempts() -> list[str]:
        async with opened(url) as postgres:
            return [outcome for step in range(ROUNDS) for outcome in await crowd(postgres, step=step)]

    outcomes = asyncio.run(attempts())
    assert len(outcomes) == ROUNDS * WAITERS
    assert set(outcomes) == {"answered", "too_many_connections"}


def test_those_that_wait_get_connections_once_there_are_some(
    postgres_server: PostgresServer, database: str, role: str, connection: psycopg.Connection
) -> None:
    url = postgres_server.url_of(str(conninfo_to_dict(database)["dbname"]), role)

    async def attempts() -> list[list[str]]:
        async with opened(url) as postgres:
            before = await crowd(postgres)
            connection.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1".encode())
            return [before, await crowd(postgres)]

    before, after = asyncio.run(attempts())
    assert "too_many_connections" in before
    assert after == ["answered"] * WAITERS


def test_a_task_cancelled_while_it_connects_leaves_no_connection(database: str, connection: psycopg.Connection) -> None:
    async def attempt() -> None:
        async with opened(database) as postgres:
            for moment in range(20):
                asking = asyncio.ensure_future(crowd(postgres, "SELECT 1"))
                await asyncio.sleep(moment / 1000)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            assert await crowd(postgres) == ["answered"] * WAITERS

    asyncio.run(attempt())
    until(lambda: not names_of(connection), "no connection is left")


def test_a_task_cancelled_once_it_is_connected_leaves_no_connection(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled(*_: object) -> None:
        raise asyncio.CancelledError

    async def attempt() -> None:
        async with opened(database) as postgres:
            with monkeypatch.context() as patch:
                patch.setattr(connections.Connection, "set_isolation_level", cancelled)
                with pytest.raises(asyncio.CancelledError):
                    await read(postgres, "SELECT 1")
            until(lambda: not names_of(connection), "no connection is left")
            assert await read(postgres, "SELECT 1") == [(1,)]

    asyncio.run(attempt())


# ---- idle connections ----


def pids(database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, **limits: float) -> list[int]:
    """The process ids of the server for two questions, with the connection idle in between."""
    for name, seconds in limits.items():
        monkeypatch.setattr(connections, name, seconds)

    async def attempt() -> list[int]:
        async with opened(database) as postgres:
            found = [(await read(postgres, "SELECT pg_backend_pid()"))[0][0] for _ in range(2)]
            assert len(names_of(connection)) == 1
            return found

    return asyncio.run(attempt())


def test_a_connection_is_used_again(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(set(pids(database, connection, monkeypatch))) == 1


def test_a_connection_that_is_old_is_replaced(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def attempt() -> list[int]:
        async with opened(database) as postgres:
            return [(await read(postgres, "SELECT pg_backend_pid()"))[0][0] for _ in range(2)]

    monkeypatch.setattr(connections, "LIFETIME_SECONDS", 0.0)
    assert len(set(asyncio.run(attempt()))) == 2


def test_connections_that_no_task_uses_any_more_are_closed(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count() -> int:
        rows = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int((rows.fetchone() or (0,))[0])

    async def attempt() -> None:
        async with opened(database) as postgres:
            await crowd(postgres)
            assert count() == 3
            monkeypatch.setattr(connections, "IDLE_SECONDS", 0.0)
            await read(postgres, "SELECT 1")
            until(lambda: count() == 1, "only the one that was used last is kept")

    asyncio.run(attempt())


# ---- kinds of refusals ----


@pytest.mark.parametrize(
    "parameters",
    [
        "options=-cno_such_parameter%3D1",
        "options=-cstatement_timeout%3Dsoon",
        "options=-Z",
        "client_encoding=no_such_encoding",
        "replication=no_such_thing",
        "options=-cdefault_transaction_isolation%3Dtimeout",
        "options=-cTimeZone%3Drefused",
    ],
)
def test_a_parameter_that_the_server_does_not_take_is_refused_by_it(parameters: str, database: str) -> None:
    assert why_unavailable(f"{database}?{parameters}") == ["refused_by_server"]


def test_names_are_not_taken_for_reasons(postgres_server: PostgresServer, connection: psycopg.Connection) -> None:
    closed = "connection refused"
    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(closed)))
    connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(closed)))
    try:
        of = postgres_server.url_of
        urls = (of("timeout"), of("SSL%20certificate"), of("postgres", "too%20many"), of("connection%20refused"))
        expected = ["unknown_database", "unknown_database", "authentication", "refused_by_server"]
        assert why_unavailable(*urls) == expected
    finally:
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(closed)))


def test_of_several_hosts_the_answer_of_the_one_that_answered_counts(postgres_server: PostgresServer) -> None:
    server = f"127.0.0.1:{postgres_server.port}"
    for hosts in (f"{server},127.0.0.1:1", f"127.0.0.1:1,{server}"):
        url = f"postgresql://postgres:{postgres_server.password}@{hosts}/no_such_database"
        assert why_unavailable(url) == ["unknown_database"]
    assert why_unavailable("postgresql://postgres@127.0.0.1:1,127.0.0.1:2/postgres") == ["refused"]


FAILED = 'connection failed: connection to server at "db.example", port 5432 failed: '


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (f"{FAILED}FATAL:  unsupported startup parameter: options", "refused_by_server"),
        (f"{FAILED}FATAL:  no such database: timeout", "refused_by_server"),
        (f"{FAILED}FATAL:  query_wait_timeout", "refused_by_server"),
        (f"{FAILED}FATAL:  server login has been failing, try again later", "refused_by_server"),
        (f"{FAILED}FATAL:  no more connections allowed (max_client_conn)", "too_many_connections"),
        (f"{FAILED}FATAL:  remaining connection slots are reserved for roles with ...", "too_many_connections"),
        (f"{FAILED}FATAL:  sorry, too many clients already", "too_many_connections"),
        (
            f"{FAILED}FATAL:  the database system is not yet accepting connections\nDETAIL:  Consistent ...",
            "starting_up",
        ),
        (f"{FAILED}FATAL:  the database system is in recovery mode", "starting_up"),
        (f"{FAILED}FATAL:  canceling authentication due to timeout", "timeout"),
        (f"{FAILED}FATAL:  connection requires a valid client certificate", "tls"),
        (f"{FAILED}FATAL:  Passwort-Authentifizierung für Benutzer »x« fehlgeschlagen", "refused_by_server"),
        (f"{FAILED}ВАЖНО:  система баз данных запускается", "refused_by_server"),
        (f"{FAILED}致命的エラー:  データベースシステムは起動しています", "refused_by_server"),
        (f"{FAILED}FATALE:  sistema in fase di avvio", "refused_by_server"),
        ("consuming input failed: FATAL:  terminating connection due to administrator command", "admin_shutdown"),
        ("consuming input failed: FATAL:  terminating connection due to idle-session timeout", "refused_by_server"),
        ("FATAL:  something that no version has said before", "refused_by_server"),
        (f"{FAILED}server closed the connection unexpectedly\n\tThis probably means the server ...", "connection_lost"),
        (f"{FAILED}Connection timed out", "timeout"),
        (f"{FAILED}fe_sendauth: no password supplied", "authentication"),
        (f"{FAILED}SSL error: certificate verify failed", "tls"),
    ],
)
def test_what_a_server_says_is_never_a_lost_connection(message: str, kind: str) -> None:
    failed = failure(psycopg.OperationalError(message))
    assert isinstance(failed, SourceUnavailable)
    assert failed.kind == kind


def test_what_a_pooler_says_in_a_session_is_refused_by_the_server() -> None:
    failed = failure(psycopg.errors.ProtocolViolation("query_wait_timeout"))
    assert isinstance(failed, SourceUnavailable)
    assert failed.kind == "refused_by_server"
    assert isinstance(failure(psycopg.errors.SyntaxError()), CollectionFailed)
