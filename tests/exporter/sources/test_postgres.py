"""Requests to PostgreSQL: read only, few connections, short statements, no waiting for locks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import postgres as source
from exporter.sources.postgres import Postgres, Row, Transaction, microseconds, moment
from exporter.sources.refusals import failure
from servers.postgres import PostgresServer
from tests.rows import NOON, insert, user, users
from tests.waiting import bounded, patience, until

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


# ---- one transaction ----


def test_now_is_the_databases_clock_and_the_same_for_the_whole_transaction(database: str) -> None:
    async def compare(transaction: Transaction) -> None:
        ((told,),) = await transaction.rows("SELECT now()")
        assert transaction.now == told
        assert transaction.now.tzinfo == UTC
        assert moment(transaction.now_us) == told
        await transaction.rows("SELECT pg_sleep(0.01)")
        assert await transaction.rows("SELECT %(now)s = now()") == [(True,)]

    ask(database, compare)


def test_a_clock_that_a_test_has_fixed_is_the_transactions(database: str) -> None:
    async def told(transaction: Transaction) -> Any:
        return transaction.now, await transaction.rows("SELECT %(now)s::timestamptz")

    assert ask(database, told, NOON) == (NOON, [(NOON,)])


def test_a_transaction_sees_one_snapshot(database: str, connection: psycopg.Connection) -> None:
    async def twice(transaction: Transaction) -> list[Row]:
        before = await transaction.rows("SELECT count(*) FROM users")
        user(connection, "newcomer")
        return before + await transaction.rows("SELECT count(*) FROM users")

    assert ask(database, twice) == [(0,), (0,)]


@pytest.mark.parametrize("timezone", ["Pacific/Auckland", "America/St_Johns"])
def test_days_and_times_are_utc_whatever_the_databases_time_zone(
    timezone: str, database: str, connection: psycopg.Connection
) -> None:
    name = conninfo_to_dict(database)["dbname"]
    connection.execute(sql.SQL("ALTER DATABASE {} SET timezone = {}").format(sql.Identifier(str(name)), timezone))
    query = "SELECT date_trunc('day', timestamptz '2026-03-17 23:30:00 UTC'), '2026-03-17 23:30'::timestamptz"
    midnight = datetime(2026, 3, 17, tzinfo=UTC)
    assert ask(database, lambda t: t.rows(query)) == [(midnight, midnight + timedelta(hours=23, minutes=30))]


def test_many_integers_come_as_one_array(database: str) -> None:
    async def arrays(transaction: Transaction) -> list[list[list[int]]]:
        queries = {
            "SELECT n, -n FROM generate_series(1::bigint, 3) AS n ORDER BY n": 2,
            "SELECT 9223372036854775807, -9223372036854775807 - 1, 0::bigint": 3,
            "SELECT 1::bigint WHERE false": 1,
            "SELECT 1::bigint, 2::bigint WHERE %(now)s IS NULL": 2,
        }
        return [(await transaction.integers(query, columns)).tolist() for query, columns in queries.items()]

    assert ask(database, arrays) == [[[1, -1], [2, -2], [3, -3]], [[2**63 - 1, -(2**63), 0]], [], []]


def test_many_integers_come_in_blocks_that_ascend(database: str) -> None:
    query = "SELECT hashint8extended(n, 0), n FROM generate_series(1::bigint, %(many)s) AS n"

    async def blocks(transaction: Transaction) -> list[Any]:
        taken: list[Any] = []
        await transaction.integers_in_blocks(query, 2, {"many": 10_000}, taken.append)
        assert await transaction.rows("SELECT 1") == [(1,)]
        return [taken, await transaction.integers(query, 2, {"many": 10_000})]

    taken, whole = ask(database, blocks)
    assert len(taken) == source.BLOCKS
    assert max(map(len, taken)) < 300
    assert all(before[:, 0].max() < after[:, 0].min() for before, after in pairwise(taken))
    assert sorted(map(tuple, np.concatenate(taken).tolist())) == sorted(map(tuple, whole.tolist()))


def test_no_integers_are_no_blocks(database: str) -> None:
    async def blocks(transaction: Transaction) -> list[Any]:
        taken: list[Any] = []
        await transaction.integers_in_blocks("SELECT 1::bigint WHERE %(no)s", 1, {"no": False}, taken.append)
        return taken

    assert ask(database, blocks) == []


@pytest.mark.parametrize("when", ["before the first block", "between two"])
def test_blocks_that_nobody_waits_for_any_more_give_their_connection_back(when: str, database: str) -> None:
    pause = "pg_sleep(60)" if when == "before the first block" else "pg_sleep(0)"
    query = f"SELECT n << 50, n FROM generate_series(-8000::bigint, 8000) AS n, {pause}"

    async def attempt() -> list[Row]:
        async with opened(database) as postgres:

            async def cut_short() -> None:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_later(0.1, task.cancel)

                def cut(_: object) -> None:
                    task.cancel()

                async with postgres.transaction() as transaction:
                    await transaction.integers_in_blocks(query, 2, {}, cut)

            for _ in range(5):
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.create_task(cut_short())
            return await read(postgres, "SELECT 1")

    assert asyncio.run(attempt()) == [(1,)]


def test_what_fails_in_a_savepoint_leaves_the_rest(database: str) -> None:
    async def attempt(transaction: Transaction) -> list[Row]:
        with pytest.raises(CollectionFailed, match="division_by_zero"):
            async with transaction.savepoint():
                await transaction.rows("SELECT 1 / 0")
        return await transaction.rows("SELECT 2")

    assert ask(database, attempt) == [(2,)]


@pytest.mark.parametrize(
    "time", [NOON, NOON + timedelta(microseconds=1), datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]
)
def test_microseconds_and_moments_are_exact_inverses(time: datetime) -> None:
    assert moment(microseconds(time)) == time
    assert microseconds(time) == round(time.timestamp()) * 1_000_000 + (time.microsecond if time >= NOON else -1)


# ---- limits of the load on the server ----


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
    monkeypatch.setattr(source, "FILL_SECONDS" if fill else "STATEMENT_SECONDS", 0.1)

    async def attempt() -> tuple[str, bool | None]:
        async with opened(database) as postgres:
            with pytest.raises(CollectionFailed) as raised:
                await read(postgres, "SELECT pg_sleep(60)", fill=fill)
            assert await read(postgres, "SELECT 1") == [(1,)]
            return raised.value.kind, postgres.reachability.up

    assert asyncio.run(attempt()) == ("statement_timeout", True)


def test_a_fill_has_more_time_than_anything_else(database: str) -> None:
    async def limits() -> list[Any]:
        async with opened(database) as postgres:
            return [(await read(postgres, "SHOW statement_timeout", fill=fill))[0][0] for fill in (False, True)]

    assert asyncio.run(limits()) == ["8s", "5min"]


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


# ---- failures ----


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


@pytest.fixture
def access(postgres_server: PostgresServer) -> Iterator[dict[str, str]]:
    """Roles that cannot connect, by the reason."""
    roles = {
        "password": "LOGIN PASSWORD 'right'",
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
            connection.execute(f"CREATE ROLE {name} {roles[reason]}".encode())
        rules.write_text(
            f"host all {names['password']} 127.0.0.1/32 scram-sha-256\n"
            f"host all {names['rejected']} 127.0.0.1/32 reject\n{before}"
        )
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
        url_of("postgres", f"{access['password']}:wrong"): "authentication",
        url_of("postgres", access["password"]): "authentication",
        url_of("postgres", access["rejected"]): "authentication",
        url_of("postgres", access["no login"]): "authentication",
        url_of("postgres", "nobody_of_that_name"): "authentication",
        url_of(name, access["not here"]): "authentication",
        url_of("postgres", access["full"]): "too_many_connections",
        url_of("no_such_database"): "unknown_database",
        f"{database}?sslmode=require": "tls",
    }
    assert dict(zip(expected, why_unavailable(*expected), strict=True)) == expected
    assert ask(url_of("postgres", f"{access['password']}:right"), lambda t: t.rows("SELECT 1")) == [(1,)]


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
    monkeypatch.setattr(
        source, "CONNECT_SECONDS", patience(1.5)
    )  # the check of psycopg_pool waits longer between two dead connections

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
