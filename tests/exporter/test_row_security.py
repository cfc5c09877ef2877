"""Row level security: where policies would hide rows from the exporter's role, there is no number, and the table is
named (docs/definitions.md#row-level-security)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg.conninfo import make_conninfo

from exporter.collector import Collector, Sources
from exporter.collectors import build_collectors
from exporter.errors import CollectionFailed
from exporter.settings import Settings
from exporter.sources.postgres import Postgres
from exporter.spec import Sample
from exporter.state import StateFile
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.exporter.sources.postgres_asking import ask, refused
from tests.roles import reading_role, run
from tests.rows import by_name, sources
from tests.running import RunningExporter, seed_database, some_of

READ_BY = {
    "users": {"users", "activity", "growth"},
    "subscriptions": {"users", "activity", "growth"},
    "projects": {"users"},
    "sessions": {"activity", "online"},
    "ai_usage_events": {"activity", "ai", "charts", "cost", "incidents", "jobs", "latency"},
    "preview_jobs": {"activity", "incidents", "jobs", "latency", "previews"},
    "usage_analytics_daily": {"rollup"},
}
"""The collectors that read each table, without `top_users`, which waits for windows of `ai`."""

ENABLE = "ALTER TABLE ai_usage_events ENABLE ROW LEVEL SECURITY;"
RENAME = "ALTER TABLE ai_usage_events RENAME TO jobs;"
GRANT = "GRANT SELECT ON ai_usage_events TO {reader};"
COUNT = "SELECT count(*) FROM ai_usage_events"


@pytest.fixture
def reader(connection: psycopg.Connection) -> Iterator[str]:
    """A role with SELECT on every table."""
    with reading_role(connection) as name:
        yield name


@pytest.fixture
def url(database: str, reader: str, connection: psycopg.Connection) -> str:
    """The database's URL for that role, with rows in every table."""
    seed_database(connection)
    return make_conninfo(database, user=reader)


@pytest.fixture
def group(connection: psycopg.Connection, reader: str) -> Iterator[str]:
    """The name of a second role, created by the test; removed afterwards with all that it owns."""
    name = f"{reader}_group"
    yield name
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).rowcount:
        run(connection, "DROP OWNED BY {group} CASCADE; DROP ROLE {group}", group=name)


def outcomes(url: str, redis_url: str, folder: Path) -> dict[str, Any]:
    """Per collector of PostgreSQL, the samples of a first refresh, or the kind and detail of its failure."""
    settings = Settings.model_construct()
    collectors = [
        collector
        for collector in build_collectors(settings, lambda name: StateFile(folder, name))
        if Postgres.name in collector.sources and collector.name != "top_users"
    ]

    async def outcome(collector: Collector, opened: Sources) -> Any:
        try:
            return without_moments(await collector.refresh(opened))
        except CollectionFailed as error:
            return error.kind, error.detail

    async def every() -> list[Any]:
        async with sources(url, redis_url) as opened:
            return [await outcome(collector, opened) for collector in collectors]

    return dict(zip((collector.name for collector in collectors), asyncio.run(every()), strict=True))


def without_moments(samples: Sequence[Sample]) -> Mapping[str, Any]:
    """Samples without timestamps, which differ between two refreshes."""
    return {name: value for name, value in by_name(samples).items() if "timestamp" not in name}


@pytest.mark.parametrize("table", READ_BY)
def test_a_table_with_row_security_fails_those_that_read_it_and_is_named(
    table: str, url: str, valkey_server: ValkeyServer, connection: psycopg.Connection, tmp_path: Path
) -> None:
    before = outcomes(url, valkey_server.url, tmp_path)
    run(connection, "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY", table=table)
    after = outcomes(url, valkey_server.url, tmp_path)
    why = ("insufficient_privilege", f'query would be affected by row-level security policy for table "{table}"')
    assert after == {name: why if name in READ_BY[table] else value for name, value in before.items()}


@pytest.mark.parametrize(
    "rows",
    [
        ENABLE,
        ENABLE + "CREATE POLICY mine ON ai_usage_events TO {reader} USING (status = 'succeeded')",
        ENABLE + "CREATE POLICY every ON ai_usage_events TO {reader} USING (true)",
        ENABLE + "ALTER TABLE ai_usage_events FORCE ROW LEVEL SECURITY, OWNER TO {reader}",
        ENABLE + RENAME + "CREATE VIEW ai_usage_events WITH (security_invoker) AS SELECT * FROM jobs;" + GRANT,
        RENAME + "CREATE TABLE ai_usage_events (LIKE jobs) PARTITION BY RANGE (created_at);" + ENABLE + GRANT,
        ENABLE + "CREATE ROLE {group} BYPASSRLS; GRANT {group} TO {reader}",
        "CREATE ROLE {group};" + ENABLE + "ALTER TABLE ai_usage_events FORCE ROW LEVEL SECURITY, OWNER TO {group};"
        "CREATE VIEW jobs AS SELECT * FROM ai_usage_events; ALTER VIEW jobs OWNER TO {group};"
        "ALTER TABLE ai_usage_events RENAME TO events; ALTER VIEW jobs RENAME TO ai_usage_events;" + GRANT,
    ],
    ids=[
        "no policy",
        "a part",
        "all",
        "its owner, forced",
        "view of the invoker",
        "partitioned",
        "by way of a role",
        "view of the owner, forced",
    ],
)
def test_postgresql_refuses_whatever_policies_would_let_through(
    rows: str, url: str, reader: str, group: str, connection: psycopg.Connection
) -> None:
    run(connection, rows, reader=reader, group=group)
    error = refused(url, COUNT)
    assert error.kind == "insufficient_privilege"
    assert error.detail.startswith("query would be affected by row-level security policy for table")


@pytest.mark.parametrize(
    "remedy",
    [
        "ALTER ROLE {reader} BYPASSRLS",
        "ALTER TABLE ai_usage_events OWNER TO {reader}",
        "CREATE ROLE {group}; ALTER TABLE ai_usage_events OWNER TO {group}; GRANT {group} TO {reader}",
        RENAME + "CREATE VIEW ai_usage_events AS SELECT * FROM jobs;" + GRANT,
        "ALTER TABLE ai_usage_events DISABLE ROW LEVEL SECURITY",
    ],
    ids=["bypass", "owner", "member of the owner", "view of the owner", "disabled"],
)
def test_the_documented_remedies_let_the_role_see_every_row(
    remedy: str, url: str, reader: str, group: str, connection: psycopg.Connection
) -> None:
    run(connection, ENABLE)
    assert refused(url, COUNT).kind == "insufficient_privilege"
    run(connection, remedy, reader=reader, group=group)
    assert ask(url, lambda transaction: transaction.rows(COUNT)) == [(1,)]


def test_row_security_of_a_partition_hides_nothing_from_who_asks_the_whole(
    url: str, reader: str, connection: psycopg.Connection
) -> None:
    run(
        connection,
        RENAME + "CREATE TABLE ai_usage_events (LIKE jobs) PARTITION BY RANGE (created_at);"
        "CREATE TABLE part PARTITION OF ai_usage_events DEFAULT;"
        "INSERT INTO ai_usage_events SELECT * FROM jobs; ALTER TABLE part ENABLE ROW LEVEL SECURITY;" + GRANT,
        reader=reader,
    )
    assert ask(url, lambda transaction: transaction.rows(COUNT)) == [(1,)]


def test_of_a_foreign_table_the_documented_option_has_the_other_server_refuse(
    url: str, reader: str, connection: psycopg.Connection, postgres_server: PostgresServer
) -> None:
    """The setting of this server does not reach the remote one, which would leave rows out."""
    run(connection, ENABLE)  # a statement of its own, as its lock would block the remote side
    run(
        connection,
        "CREATE EXTENSION postgres_fdw; CREATE SCHEMA far; GRANT USAGE ON SCHEMA far TO {reader};"
        f"CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1',"
        f" port '{postgres_server.port}', dbname '{connection.info.dbname}', options '-c row_security=off');"
        f"CREATE USER MAPPING FOR PUBLIC SERVER other OPTIONS"
        f" (user '{reader}', password '{connection.info.password}', password_required 'false');"
        "IMPORT FOREIGN SCHEMA public LIMIT TO (ai_usage_events) FROM SERVER other INTO far;"
        "GRANT SELECT ON far.ai_usage_events TO {reader}",
        reader=reader,
    )
    count = "SELECT count(*) FROM far.ai_usage_events"
    assert refused(url, count).detail.startswith("query would be affected by row-level security policy for table")
    run(connection, "ALTER SERVER other OPTIONS (DROP options)")
    assert ask(url, lambda transaction: transaction.rows(count)) == [(0,)]


def test_a_setting_of_the_url_or_the_role_does_not_let_a_part_pass(
    url: str, reader: str, connection: psycopg.Connection
) -> None:
    run(connection, ENABLE + "ALTER ROLE {reader} SET row_security = on", reader=reader)
    assert refused(make_conninfo(url, options="-crow_security=on"), COUNT).kind == "insufficient_privilege"


def test_the_service_and_verify_show_no_part_and_say_which_table(
    url: str,
    reader: str,
    valkey: redis.Redis,
    valkey_server: ValkeyServer,
    connection: psycopg.Connection,
    tmp_path: Path,
) -> None:
    shown = {"hivesync_ai_requests_in_window", "hivesync_users", "hivesync_active_users"}
    tables = ("ai_usage_events", "users")
    for table in tables:
        run(connection, "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY", table=table)
    collectors = "users,ai,activity,previews"
    with RunningExporter(tmp_path, database_url=url, redis_url=valkey_server.url, collectors=collectors) as exporter:
        failed = [f'hivesync_collector_up{{collector="{name}"}}' for name in ("users", "ai", "activity")]
        samples = exporter.wait_for(lambda samples: all(samples.get(name) == 0 for name in failed))
        assert not some_of(samples, shown)
        verified = exporter.command_line("verify")
        run(connection, "ALTER ROLE {reader} BYPASSRLS", reader=reader)
        exporter.wait_for(lambda samples: samples.get('hivesync_users{plan="free"}') == 1)
        degraded = [event for event in exporter.events() if event["event"] == "system.analytics.degraded"]
    assert verified.returncode == 1
    for table in tables:
        refusal = f'query would be affected by row-level security policy for table "{table}"'
        assert refusal in verified.stdout
        assert refusal in {event.get("detail") for event in degraded if event["kind"] == "insufficient_privilege"}
    assert "hivesync_ai_requests_in_window" not in verified.stdout
