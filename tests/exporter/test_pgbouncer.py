"""The exporter and `verify` behind a real PgBouncer in transaction mode: the same numbers, and reasons of refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from demo.database import fill_database
from exporter.sources.postgres import Row
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.exporter.sources.postgres_asking import ask, opened, read, why_unavailable
from tests.exporter.sources.test_postgres_refusals import WAITERS, crowd
from tests.pooling import PgBouncer
from tests.roles import reading_role, run
from tests.rows import TABLES, insert
from tests.running import RunningExporter

pytestmark = pytest.mark.pgbouncer

SETTINGS = ("statement_timeout", "lock_timeout", "row_security", "TimeZone", "work_mem", "jit", "search_path")
REQUESTS = 'hivesync_ai_requests_in_window{window="24h"}'
PROJECTS = "hivesync_projects"


@pytest.fixture
def reader(connection: psycopg.Connection) -> Iterator[str]:
    """A role with SELECT on views of the tables in another schema, which its own `search_path` names."""
    with reading_role(connection) as name:
        run(connection, "CREATE SCHEMA views; GRANT USAGE ON SCHEMA views TO {role}", role=name)
        for table in TABLES:
            run(
                connection,
                "CREATE VIEW views.{table} AS SELECT * FROM public.{table};"
                "REVOKE ALL ON public.{table} FROM {role}; GRANT SELECT ON views.{table} TO {role}",
                table=table,
                role=name,
            )
        run(connection, "ALTER ROLE {role} SET search_path = views", role=name)
        yield name


@pytest.fixture
def database_name(database: str) -> str:
    return str(conninfo_to_dict(database)["dbname"])


@pytest.fixture
def pooler(postgres_server: PostgresServer, database_name: str, reader: str, tmp_path: Path) -> Iterator[PgBouncer]:
    """A PgBouncer with fewer connections to the server than the exporter has to PgBouncer."""
    settings = {"default_pool_size": 2}
    with PgBouncer(tmp_path / "pooler", postgres_server, database_name, [reader], settings) as pooler:
        yield pooler


def test_numbers_are_the_same_behind_it_and_verify_finds_no_difference(
    database: str,
    pooler: PgBouncer,
    valkey: redis.Redis,
    valkey_server: ValkeyServer,
    connection: psycopg.Connection,
    tmp_path: Path,
) -> None:
    fill_database(database, users=60, days=3, seed=5)
    exporter = RunningExporter(tmp_path, database_url=pooler.url, redis_url=valkey_server.url, refresh_seconds=0.2)
    with exporter:
        before = exporter.wait_for(lambda samples: samples.get(REQUESTS))
        for _ in range(5):
            insert(connection, "ai_usage_events", status="queued")
        exporter.wait_for(lambda samples: samples.get(REQUESTS) == before[REQUESTS] + 5)
        of_the_running_one = exporter.command_line("verify")
        assert {who for _, who in exporter.changes()} <= {"ai_events_log", "preview_log"}  # the logs do not exist
    of_its_own = exporter.command_line("verify")
    for verified in (of_the_running_one, of_its_own):
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert "samples, difference: nil" in verified.stdout
        assert "could not be read" not in verified.stdout


def test_many_readers_share_fewer_connections_than_they_have(pooler: PgBouncer) -> None:
    async def attempt() -> list[str]:
        async with opened(pooler.url) as postgres:
            return await crowd(postgres)

    assert asyncio.run(attempt()) == ["answered"] * WAITERS


def test_limits_hold_within_a_transaction_and_stay_on_no_connection(pooler: PgBouncer) -> None:
    async def within() -> list[str]:
        async with opened(pooler.url) as postgres:
            return [(await read(postgres, f"SHOW {name}", fill=True))[0][0] for name in SETTINGS]

    def outside() -> list[str]:
        with psycopg.connect(pooler.url, autocommit=True, prepare_threshold=None) as client:
            return [str((client.execute(f"SHOW {name}".encode()).fetchone() or ("",))[0]) for name in SETTINGS]

    before = outside()
    assert asyncio.run(within()) == ["8s", "250ms", "off", "UTC", "32MB", "off", "views"]
    assert outside() == before


def test_no_statement_is_prepared_behind_it(pooler: PgBouncer) -> None:
    """The next transaction may run on another backend, that does not know the statement."""

    async def attempt() -> list[Row]:
        async with opened(pooler.url) as postgres:
            for _ in range(3):
                async with postgres.transaction() as transaction:
                    assert await transaction.rows("SELECT 1", plan_once=True) == [(1,)]
            return await read(postgres, "SELECT statement FROM pg_prepared_statements")

    assert asyncio.run(attempt()) == []


def test_row_security_is_refused_behind_it_too(pooler: PgBouncer, connection: psycopg.Connection, reader: str) -> None:
    run(
        connection,
        "ALTER TABLE projects ENABLE ROW LEVEL SECURITY; ALTER VIEW views.projects SET (security_invoker);"
        "GRANT SELECT ON projects TO {role}",
        role=reader,
    )
    with pytest.raises(Exception, match='row-level security policy for table "projects"'):
        ask(pooler.url, lambda transaction: transaction.rows("SELECT count(*) FROM projects"))


def test_what_it_does_not_take_is_refused_by_the_server(pooler: PgBouncer, reader: str) -> None:
    urls = (f"{pooler.url}?options=-csearch_path%3Dviews", pooler.url_of(reader, "elsewhere"))
    assert why_unavailable(*urls) == ["refused_by_server"] * 2
    assert why_unavailable(pooler.url_of("nobody_of_that_name")) == ["authentication"]


def test_a_connection_that_it_has_not_for_us_in_time_is_refused_by_the_server(
    postgres_server: PostgresServer, database_name: str, reader: str, tmp_path: Path
) -> None:
    settings = {"default_pool_size": 1, "query_wait_timeout": 1}

    async def attempt(url: str) -> list[str]:
        async with opened(url) as postgres:
            assert await read(postgres, "SELECT 1") == [(1,)]
            with psycopg.connect(url) as other:
                other.execute("SELECT 1")  # and keeps the only connection, in its transaction
                return await crowd(postgres)

    with PgBouncer(tmp_path / "pooler", postgres_server, database_name, [reader], settings) as pooler:
        assert set(asyncio.run(attempt(pooler.url))) == {"refused_by_server"}


def test_a_server_that_restarts_behind_it_is_down_and_then_up_again(tmp_path: Path) -> None:
    settings = {"server_login_retry": 1}

    async def attempt(server: PostgresServer, pooler: PgBouncer) -> list[str]:
        async with opened(pooler.url) as postgres:
            outcomes = await crowd(postgres)
            await asyncio.to_thread(server.stop)
            outcomes += set(await crowd(postgres))
            await asyncio.to_thread(server.start)
            while (last := await crowd(postgres)) != ["answered"] * WAITERS:
                outcomes += last
            return outcomes

    with (
        PostgresServer(tmp_path / "postgres") as server,
        PgBouncer(tmp_path / "pooler", server, "postgres", ["postgres"], settings) as pooler,
    ):
        outcomes = asyncio.run(asyncio.wait_for(attempt(server, pooler), 60))
    assert "connection_lost" not in outcomes
