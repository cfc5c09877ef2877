"""The adapter for the published HiveSync, end to end: numbers, secrets, roles, indexes
(docs/definitions.md#postgresql)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from dotenv import dotenv_values
from psycopg import sql
from pydantic import SecretStr

from exporter.collector import Collector
from exporter.collectors import build_collectors
from exporter.collectors.incidents import Incidents
from exporter.settings import Settings
from exporter.sources.postgres import Transaction
from exporter.state import StateFile
from rollup.adapter import FOLDER
from servers.valkey import ValkeyServer
from tests.adapters.hivesync import NUMBERS, SECRET, SECRET_COLUMNS, fill, numbers
from tests.rollup.rolling import Command, stored
from tests.rows import NO_DATABASE, by_name, collect, sources
from tests.running import RunningExporter

Urls = Mapping[str, str]
Install = tuple[str, ...]

SETTINGS = dotenv_values(FOLDER / "hivesync" / "settings.env")
MARK = "-- not provided"

EVENT_TABLES = ("ai_jobs", "preview_sessions", "refresh_tokens", "session_tokens")
VIEWS = ("users", "subscriptions", "projects", "sessions", "ai_usage_events", "preview_jobs")


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def installed(rollup: Command, install: Install, hivesync: psycopg.Connection, now: datetime) -> psycopg.Connection:
    """HiveSync's database with rows of every kind and the adapter."""
    fill(hivesync, now)
    ran = rollup(*install)
    assert (ran.status, ran.message) == (0, "")
    return hivesync


@pytest.fixture
def collectors(tmp_path: Path) -> Mapping[str, Collector]:
    """The collectors as the adapter's settings make them, by name."""
    lines = (FOLDER / "hivesync" / "settings.env").read_text().splitlines()
    file = tmp_path / "settings.env"
    file.write_text("\n".join(line for line in lines if "_FILE=" not in line))
    settings = Settings(_env_file=file, database_url=SecretStr(NO_DATABASE))  # type: ignore[call-arg]
    made = build_collectors(settings, lambda name: StateFile(tmp_path, name))
    return {collector.name: collector for collector in made}


def test_the_exporters_role_counts_as_hivesyncs_own_tables_do(
    installed: psycopg.Connection, urls: Urls, now: datetime, collectors: Mapping[str, Collector]
) -> None:
    values: dict[str, float] = {}
    for name in ("users", "activity", "ai", "previews", "latency"):
        values |= collect(collectors[name], urls["exporter"], now=now)
    expected = numbers(installed, now)
    assert len(expected) > len(NUMBERS) - 3
    assert min(expected.values()) > 0
    assert {name: values[name] for name in expected} == pytest.approx(expected)
    other = {name: value for name, value in values.items() if name not in expected and value != 0}
    assert {name for name in other if "latency" not in name} == set()


def test_a_job_that_could_not_be_enqueued_is_an_error_when_it_was_created(
    rollup: Command,
    install: Install,
    hivesync: psycopg.Connection,
    urls: Urls,
    now: datetime,
    collectors: Mapping[str, Collector],
) -> None:
    assert rollup(*install).status == 0
    for status, created, completed in (
        ("failed", now - timedelta(hours=23), None),
        ("failed", now - timedelta(hours=25), None),
        ("failed", now - timedelta(hours=25), now - timedelta(hours=23)),
        ("cancelled", now - timedelta(hours=23), None),
        ("succeeded", now - timedelta(hours=23), None),
    ):
        hivesync.execute(
            "INSERT INTO ai_jobs (status, created_at, completed_at) VALUES (%s, %s, %s)", [status, created, completed]
        )
    values = collect(collectors["ai"], urls["exporter"], now=now)
    assert values["hivesync_ai_errors_in_window{24h,other}"] == 2


def test_of_preview_failures_the_kind_is_shown_that_hivesync_names_and_no_text(
    installed: psycopg.Connection, urls: Urls, collectors: Mapping[str, Collector]
) -> None:
    del installed
    incidents = collectors["incidents"]
    assert isinstance(incidents, Incidents)
    collect(incidents, urls["exporter"])
    kinds = {(incident.kind, incident.error_kind) for incident in incidents.content or ()}
    assert kinds == {("ai_error", None), ("preview_failure", "other"), ("preview_failure", "timeout")}
    assert SECRET not in repr(incidents.content)


def test_no_role_reads_a_secret(installed: psycopg.Connection, urls: Urls) -> None:
    """Neither from HiveSync's tables, nor anywhere among the rows that the role may read."""
    tables = installed.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert len(tables) > 9
    for table, column in SECRET_COLUMNS:
        query = sql.SQL("SELECT {}::text FROM {}").format(sql.Identifier(column), sql.Identifier("public", table))
        assert any(SECRET in (value or "") for (value,) in installed.execute(query)), (table, column)
    for kind, url in urls.items():
        with psycopg.connect(url, autocommit=True) as theirs:
            for table, column in SECRET_COLUMNS:
                query = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), sql.Identifier("public", table))
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    theirs.execute(query)
            for (table,) in tables:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    theirs.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier("public", table)))
            readable = theirs.execute(
                "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'p', 'f')"
                " AND relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'"
                " AND has_schema_privilege(relnamespace, 'USAGE') AND has_any_column_privilege(oid, 'SELECT')"
            ).fetchall()
            assert len(readable) == {"exporter": 7, "rollup": 4, "grafana": 1}[kind]
            for (name,) in readable:
                rows = theirs.execute(f"SELECT t::text FROM {name} AS t".encode()).fetchall()
                assert not [row for (row,) in rows if SECRET in row], name


def test_the_roll_up_and_grafana_work_as_their_roles_without_options_in_the_url(
    installed: psycopg.Connection, rollup: Command, urls: Urls, now: datetime
) -> None:
    rollup.settings = {"HIVESYNC_ROLLUP_DATABASE_URL": urls["rollup"]}
    for _ in range(2):
        ran = rollup()
        assert (ran.status, ran.message) == (0, "")
    with psycopg.connect(urls["grafana"], autocommit=True) as theirs:
        days = {row.date: row for row in stored(theirs)}
        for view in VIEWS:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                theirs.execute(f"SELECT FROM {view}".encode())
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            theirs.execute("CREATE TEMP TABLE mine ()")
        assert theirs.execute("SHOW statement_timeout").fetchone() == ("5s",)
    yesterday = (now - timedelta(days=1)).date()
    ((requests, users),) = installed.execute(
        "SELECT (SELECT count(*) FROM ai_jobs WHERE (created_at AT TIME ZONE 'UTC')::date = %(day)s),"
        " (SELECT count(DISTINCT user_id) FROM (SELECT user_id, created_at FROM ai_jobs UNION ALL"
        " SELECT user_id, created_at FROM preview_sessions UNION ALL SELECT user_id, created_at FROM refresh_tokens"
        " UNION ALL SELECT user_id, created_at FROM session_tokens) AS activity"
        " WHERE (created_at AT TIME ZONE 'UTC')::date = %(day)s)",
        {"day": yesterday},
    ).fetchall()
    assert (days[yesterday].ai_requests, days[yesterday].dau) == (requests, users)
    assert len(days) > 35
    with psycopg.connect(urls["rollup"], autocommit=True) as theirs:
        for view in ("users", "subscriptions", "projects"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                theirs.execute(f"SELECT FROM {view}".encode())


def test_the_service_runs_as_its_role_and_verify_finds_no_difference(
    installed: psycopg.Connection, urls: Urls, valkey: redis.Redis, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        name.removeprefix("HIVESYNC_").lower(): value
        for name, value in SETTINGS.items()
        if value and not name.endswith(("_FILE", "_URL", "_DIR"))
    }
    del valkey
    exporter = RunningExporter(tmp_path, database_url=urls["exporter"], redis_url=valkey_server.url, **given)
    with exporter:
        paid = numbers(installed, datetime.now(UTC))["hivesync_users{paid}"]
        exporter.wait_for(lambda samples: samples.get('hivesync_users{plan="paid"}') == paid)
        verified = exporter.command_line("verify")
        assert verified.returncode == 0, verified.stdout
        assert "difference: nil" in verified.stdout
        failed = {event.get("source") for event in exporter.events() if event["event"] == "system.analytics.degraded"}
        assert "postgres" not in failed


def test_a_refresh_reads_new_rows_by_an_index(
    rollup: Command,
    install: Install,
    hivesync: psycopg.Connection,
    urls: Urls,
    collectors: Mapping[str, Collector],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many(hivesync)
    assert rollup(*install).status == 0
    plans: dict[str, str] = {}
    read = Transaction.rows

    async def explained(
        self: Transaction, query: str, parameters: Mapping[str, object] | None = None, **options: Any
    ) -> list[tuple[Any, ...]]:
        if "FROM" in query and any(view in query for view in VIEWS[3:]):
            lines = await read(self, f"EXPLAIN {query}", parameters)
            plans[query] = "\n".join(line for (line,) in lines)
        return await read(self, query, parameters, **options)

    async def refresh_twice(collector: Collector) -> None:
        async with sources(urls["exporter"]) as opened:
            await collector.refresh(opened)
            monkeypatch.setattr(Transaction, "rows", explained)
            by_name(await collector.refresh(opened))
            monkeypatch.undo()

    used = indexes_of_waiting_jobs(urls["exporter"])
    for name in ("activity", "ai", "charts", "cost", "incidents", "latency", "previews"):
        plans.clear()
        asyncio.run(refresh_twice(collectors[name]))
        assert plans or name == "cost"
        for query, plan in plans.items():
            assert not [table for table in EVENT_TABLES if f"Seq Scan on {table}" in plan], f"{query}\n{plan}"
            used |= {word for word in plan.split() if word.startswith("analytics_")}
    indexes = hivesync.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'analytics\\_%'").fetchall()
    assert used == {name for (name,) in indexes}


def indexes_of_waiting_jobs(url: str) -> set[str]:
    """The indexes by which waiting jobs are found, where the labels of the enum are compared."""
    used = set()
    with psycopg.connect(url, autocommit=True) as theirs:
        for view in ("ai_usage_events", "preview_jobs"):
            query = f"EXPLAIN SELECT count(*) FROM {view} WHERE status::public.jobstatus IN ('queued', 'running')"
            plan = " ".join(line for (line,) in theirs.execute(query.encode()))
            assert "Seq Scan" not in plan
            used |= {word for word in plan.split() if word.startswith("analytics_")}
    return used


def many(connection: psycopg.Connection) -> None:
    """Insert so many rows that PostgreSQL prefers an index by itself."""
    connection.execute(
        """
INSERT INTO users (email) SELECT number || '@example.org' FROM generate_series(1, 500) AS number;
WITH ids AS (SELECT array_agg(id) AS ids FROM users)
INSERT INTO refresh_tokens (user_id, token_hash, created_at)
SELECT ids[1 + number % 500], number, now() - number * interval '100 s' FROM ids, generate_series(1, 30000) AS number;
WITH ids AS (SELECT array_agg(id) AS ids FROM users)
INSERT INTO session_tokens (user_id, token, created_at)
SELECT ids[1 + number % 500], number, now() - number * interval '200 s' FROM ids, generate_series(1, 15000) AS number;
INSERT INTO ai_jobs (status, created_at, completed_at)
SELECT (enum_range(NULL::jobstatus))[CASE WHEN number > 40 THEN 3 ELSE 1 END + number % 2],
       now() - number * interval '100 s',
       CASE WHEN number % 3 > 0 THEN now() - number * interval '100 s' + interval '20 s' END
FROM generate_series(1, 30000) AS number;
INSERT INTO preview_sessions (status, created_at, completed_at) SELECT status, created_at, completed_at FROM ai_jobs
"""
    )


def test_what_the_views_lack_is_what_the_settings_declare(installed: psycopg.Connection) -> None:
    """A column of the documented tables that is missing, or always NULL, is declared, and no other."""
    declared = set(str(SETTINGS["HIVESYNC_NOT_PROVIDED"]).split(","))
    views = (FOLDER / "hivesync" / "views.sql").read_text()
    marked = {line.split(" AS ")[1].split(",")[0] for line in views.splitlines() if MARK in line and " AS " in line}
    assert marked <= {name.partition(".")[2] for name in declared}
    for name in sorted(each for each in declared if "." in each):
        view, _, column = name.partition(".")
        there = installed.execute(
            "SELECT FROM information_schema.columns WHERE (table_schema, table_name, column_name)"
            " = ('analytics', %s, %s)",
            [view, column],
        ).rowcount
        if there:
            query = sql.SQL("SELECT count({}) FROM {}").format(
                sql.Identifier(column), sql.Identifier("analytics", view)
            )
            assert installed.execute(query).fetchone() == (0,), name
    always_null = set()
    for view in VIEWS:
        columns = installed.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'analytics' AND table_name = %s",
            [view],
        ).fetchall()
        for (column,) in columns:
            query = sql.SQL("SELECT count({}) FROM {}").format(
                sql.Identifier(column), sql.Identifier("analytics", view)
            )
            if installed.execute(query).fetchone() == (0,):
                always_null.add(f"{view}.{column}")
    assert always_null - {"subscriptions.ended_at", "ai_usage_events.project_id", "preview_jobs.project_id"} <= declared
