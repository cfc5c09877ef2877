"""Waiting and running jobs (docs/definitions.md#waiting-job)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from structlog.testing import capture_logs

from demo.database import create_role
from exporter.collectors import jobs
from exporter.collectors.jobs import TABLES, Jobs, index_statement, read_enum
from exporter.columns import EnumType
from exporter.errors import CollectionFailed
from exporter.sources import postgres
from exporter.sources.postgres import Transaction
from servers.postgres import PostgresServer
from tests.rows import INSTANT, NOON, by_name, collect, insert, only, sources

MANUAL = Path(__file__).parents[3] / "docs" / "operating.md"
MINUTE = timedelta(minutes=1)
ENDED = 60_000
"""Rows of ended jobs that make a reading of the whole table expensive."""


def add(connection: psycopg.Connection, table: str, *statuses: str) -> None:
    for status in statuses:
        insert(connection, table, status=status, created_at=NOON - MINUTE)


def fill(connection: psycopg.Connection, table: str, status: str = "succeeded") -> None:
    """Add rows of jobs that ended long ago."""
    connection.execute(
        f"INSERT INTO {table} (status, created_at, completed_at) SELECT %s, now(), now()"
        f" FROM generate_series(1, {ENDED})".encode(),
        [status],
    )
    connection.execute(f"ANALYZE {table}".encode())


def ask(database: str, collector: Jobs | None = None, after: timedelta = timedelta()) -> dict[str, Any]:
    return collect(collector or Jobs(), database, now=NOON + after)


def numbers(values: dict[str, Any]) -> dict[str, int]:
    return only(values, "hivesync_jobs")


def waiting(values: dict[str, Any]) -> int:
    return numbers(values)["ai,waiting"]


def test_jobs_are_counted_by_queue_and_state(database: str, connection: psycopg.Connection) -> None:
    add(connection, "ai_usage_events", *["queued"] * 3, "running", "succeeded", "failed", "cancelled", "retrying")
    add(connection, "preview_jobs", "queued", *["running"] * 2)
    assert numbers(ask(database)) == {"ai,waiting": 3, "ai,running": 1, "preview,waiting": 1, "preview,running": 2}


def test_words_are_told_without_case_and_blanks(database: str, connection: psycopg.Connection) -> None:
    add(connection, "ai_usage_events", "queued", "Queued", " QUEUED\t", "queued\r\n", "Running")
    assert numbers(ask(database)) == {"ai,waiting": 4, "ai,running": 1, "preview,waiting": 0, "preview,running": 0}


def test_without_jobs_each_state_is_0_and_there_is_no_oldest(database: str) -> None:
    values = ask(database)
    assert set(numbers(values).values()) == {0}
    assert only(values, jobs.OLDEST.name) == {}


def test_the_oldest_is_the_first_created_of_those_that_wait(database: str, connection: psycopg.Connection) -> None:
    for age, status in ((3, "running"), (2, "queued"), (1, "queued"), (4, "failed")):
        insert(connection, "ai_usage_events", status=status, created_at=NOON - age * MINUTE + INSTANT)
    add(connection, "preview_jobs", "running")
    assert only(ask(database), jobs.OLDEST.name) == {"ai": (NOON - 2 * MINUTE + INSTANT).timestamp()}


def test_an_infinite_time_is_not_the_oldest(database: str, connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO ai_usage_events (status, created_at) VALUES ('queued', '-infinity')")
    values = ask(database)
    assert (waiting(values), only(values, jobs.OLDEST.name)) == (1, {})
    add(connection, "ai_usage_events", "queued")
    assert only(ask(database), jobs.OLDEST.name) == {"ai": (NOON - MINUTE).timestamp()}


# Indexes ------------------------------------------------------------------------------------------------------------

ENUM = "CREATE TYPE job_status AS ENUM ('queued', 'running', 'succeeded')"
SHOUTED = "CREATE TYPE job_status AS ENUM ('Queued', 'RUNNING', 'Succeeded', 'queued')"
CITEXT = "CREATE EXTENSION citext"
TYPES = {
    "text": ("", "text"),
    "varchar": ("", "varchar(20)"),
    "char": ("", "char(20)"),
    "citext": (CITEXT, "citext"),
    "name": ("", "name"),
    "a domain of text": ("CREATE DOMAIN job_status AS text", "job_status"),
    "an enum": (ENUM, "job_status"),
    "an enum of other labels": (SHOUTED, "job_status"),
    "a domain of an enum": (f"{ENUM}; CREATE DOMAIN a_status AS job_status", "a_status"),
}
"""The statement that creates a type, and the type."""


def enum_of(database: str, table: str = "ai_usage_events") -> EnumType | None:
    async def read() -> EnumType | None:
        async with sources(database) as opened, opened.postgres.transaction() as transaction:
            return await read_enum(transaction, table)

    return asyncio.run(read())


def plan(connection: psycopg.Connection, enum: EnumType | None, table: str = "ai_usage_events") -> str:
    """The plan of the collector's query."""
    rows = connection.execute(f"EXPLAIN {jobs._query(table, enum)}".encode()).fetchall()
    return "\n".join(line for (line,) in rows)


@pytest.mark.parametrize(("create", "kind"), TYPES.values(), ids=TYPES)
def test_its_index_is_used_whatever_the_type_of_the_status(
    create: str, kind: str, database: str, connection: psycopg.Connection
) -> None:
    ended, queued = ("Succeeded", "Queued") if create == SHOUTED else ("succeeded", "queued")
    connection.execute("DROP INDEX ai_usage_events_waiting_idx")
    fill(connection, "ai_usage_events", ended)
    add(connection, "ai_usage_events", queued)
    if create:
        connection.execute(create.encode())
    connection.execute("ALTER TABLE ai_usage_events ALTER status DROP DEFAULT")
    connection.execute(f"ALTER TABLE ai_usage_events ALTER status TYPE {kind} USING status::{kind}".encode())
    enum = enum_of(database)
    assert "Seq Scan" in plan(connection, enum)
    connection.execute(index_statement("ai_usage_events", enum).encode())
    connection.execute("ANALYZE ai_usage_events")
    assert "ai_usage_events_waiting_idx" in plan(connection, enum)
    with capture_logs() as events:
        assert waiting(ask(database)) == 1
    assert events == []


@pytest.mark.parametrize("table", TABLES.values())
@pytest.mark.parametrize("kind", ["text", "enum"])
def test_the_statements_in_the_manual_make_the_index_that_is_used(
    kind: str, table: str, database: str, connection: psycopg.Connection
) -> None:
    connection.execute(f"DROP INDEX {table}_waiting_idx".encode())
    fill(connection, table)
    if kind == "enum":
        connection.execute(f"{ENUM}; ALTER TABLE {table} ALTER status DROP DEFAULT".encode())
        connection.execute(f"ALTER TABLE {table} ALTER status TYPE job_status USING status::job_status".encode())
    section = MANUAL.read_text().partition("### Index of waiting jobs")[2]
    written = re.findall(rf"^CREATE INDEX CONCURRENTLY {table}_\w+[^;]+;", section, re.MULTILINE)
    connection.execute(written[["text", "enum"].index(kind)].encode())
    connection.execute(f"ANALYZE {table}".encode())
    assert f"{table}_waiting_idx" in plan(connection, enum_of(database, table), table)


def test_a_view_that_passes_an_enum_on_uses_the_index_of_its_table(
    database: str, connection: psycopg.Connection
) -> None:
    fill(connection, "ai_usage_events")
    add(connection, "ai_usage_events", "queued")
    connection.execute(ENUM.encode())
    connection.execute(
        "DROP INDEX ai_usage_events_waiting_idx; ALTER TABLE ai_usage_events ALTER status DROP DEFAULT;"
        "ALTER TABLE ai_usage_events ALTER status TYPE job_status USING status::job_status;"
        "ALTER TABLE ai_usage_events RENAME TO ai_jobs; CREATE INDEX ON ai_jobs (status); ANALYZE ai_jobs;"
        "CREATE VIEW ai_usage_events AS SELECT id, status, created_at FROM ai_jobs"
    )
    assert "ai_jobs_status_idx" in plan(connection, enum_of(database))
    assert waiting(ask(database)) == 1


@pytest.mark.parametrize(("labels", "expected"), [("'done'", 0), ("'done', 'queued'", 1)], ids=["neither", "one"])
def test_an_enum_need_not_have_both_words(
    labels: str, expected: int, database: str, connection: psycopg.Connection
) -> None:
    add(connection, "ai_usage_events", *(["queued"] if expected else []), "done")
    connection.execute(f"CREATE TYPE job_status AS ENUM ({labels})".encode())
    connection.execute(
        "DROP INDEX ai_usage_events_waiting_idx; ALTER TABLE ai_usage_events ALTER status DROP DEFAULT;"
        "ALTER TABLE ai_usage_events ALTER status TYPE job_status USING status::job_status"
    )
    assert (waiting(ask(database)), numbers(ask(database))["ai,running"]) == (expected, 0)


# Readings of whole tables -------------------------------------------------------------------------------------------


@pytest.fixture
def without_index(connection: psycopg.Connection) -> psycopg.Connection:
    """A large table without the index, and a small one."""
    connection.execute("DROP INDEX ai_usage_events_waiting_idx, preview_jobs_waiting_idx")
    fill(connection, "ai_usage_events")
    return connection


def slow(seconds: float) -> Jobs:
    """A collector by whose clock every reading takes that long."""
    readings = count(0, seconds)
    return Jobs(clock=lambda: next(readings))


def test_a_large_table_without_an_index_is_read_for_a_hundredth_of_the_time(
    database: str, without_index: psycopg.Connection
) -> None:
    collector = slow(0.5)
    seen = []
    for second in (0, 15, 49, 50, 99, 100):
        add(without_index, "ai_usage_events", "queued")
        seen.append((waiting(ask(database, collector, timedelta(seconds=second))), collector.behind))
    assert seen == [(1, 0), (1, 15), (1, 49), (4, 0), (4, 49), (6, 0)]
    assert collector.promised_age(15) == 2 * 15 + 50


def test_a_reading_is_shown_for_five_minutes(database: str, without_index: psycopg.Connection) -> None:
    collector = slow(4)
    queues = [
        {queue.partition(",")[0] for queue in numbers(ask(database, collector, timedelta(seconds=second)))}
        for second in (0, 300, 301, 399, 400)
    ]
    assert queues == [{"ai", "preview"}, {"ai", "preview"}, {"preview"}, {"preview"}, {"ai", "preview"}]
    assert collector.promised_age(15) == 2 * 15 + 400


def test_a_clock_that_was_set_back_ends_the_pause(database: str, without_index: psycopg.Connection) -> None:
    collector = slow(0.5)
    ask(database, collector)
    add(without_index, "ai_usage_events", "queued")
    assert waiting(ask(database, collector, -MINUTE)) == 1


def test_no_pause_is_longer_than_a_statement_may_require(database: str, without_index: psycopg.Connection) -> None:
    collector = slow(1_000)
    ask(database, collector)
    assert collector.promised_age(15) == 2 * 15 + 100 * postgres.STATEMENT_SECONDS


def test_a_small_table_is_read_always_beside_a_large_one(database: str, without_index: psycopg.Connection) -> None:
    collector = slow(0.5)
    for expected in (1, 2):
        add(without_index, "preview_jobs", "queued")
        assert numbers(ask(database, collector))["preview,waiting"] == expected


def test_a_table_with_its_index_is_read_always_however_long_it_takes(
    database: str, connection: psycopg.Connection
) -> None:
    fill(connection, "ai_usage_events")
    collector = slow(5)
    for expected in (1, 2):
        add(connection, "ai_usage_events", "queued")
        assert waiting(ask(database, collector)) == expected
    assert (collector.behind, collector.promised_age(15)) == (0, 30)


def test_verify_reads_a_large_table_at_once(database: str, without_index: psycopg.Connection) -> None:
    collector = slow(0.5)
    ask(database, collector)
    add(without_index, "ai_usage_events", "queued")
    collector.read_afresh()
    assert waiting(ask(database, collector)) == 1


def test_on_another_server_a_large_table_is_read_at_once(
    database: str, without_index: psycopg.Connection, postgres_server: PostgresServer
) -> None:
    """The pause, and a failure that is shown during it, are of the former server."""
    collector = slow(4)

    async def replace_it() -> list[dict[str, Any]]:
        seen = []
        async with sources(database, now=NOON) as opened:
            seen.append(by_name(await collector.refresh(opened)))
            name = without_index.info.dbname
            with psycopg.connect(postgres_server.url, autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
                connection.execute(f'CREATE DATABASE "{name}" TEMPLATE hivesync STRATEGY file_copy'.encode())
            with psycopg.connect(database, autocommit=True) as connection:
                add(connection, "ai_usage_events", "queued", "queued")
            seen.append(by_name(await collector.refresh(opened)))
        return seen

    assert [waiting(values) for values in asyncio.run(replace_it())] == [0, 2]


def test_the_role_needs_no_right_to_the_schema_of_an_enum(database: str, connection: psycopg.Connection) -> None:
    """A view of the owner's passes the column on."""
    connection.execute("CREATE SCHEMA hidden; CREATE SCHEMA shown; CREATE TYPE hidden.status AS ENUM ('Queued', 'x')")
    for table in TABLES.values():
        connection.execute(f"DROP INDEX {table}_waiting_idx; ALTER TABLE {table} ALTER status DROP DEFAULT".encode())
        connection.execute(
            f"ALTER TABLE {table} ALTER status TYPE hidden.status USING 'Queued'::hidden.status".encode()
        )
        connection.execute(f"CREATE VIEW shown.{table} AS SELECT status, created_at FROM public.{table}".encode())
        connection.execute(f"INSERT INTO {table} (status, created_at) VALUES ('Queued', now())".encode())
    create_role(connection, "limited")
    try:
        connection.execute(
            "GRANT USAGE ON SCHEMA shown TO limited; GRANT SELECT ON ALL TABLES IN SCHEMA shown TO limited"
        )
        url = make_conninfo(database, user="limited", options="-c search_path=shown")
        assert set(numbers(ask(url)).values()) == {1, 0}
    finally:
        connection.execute("DROP OWNED BY limited; DROP ROLE limited")


def test_a_missing_index_is_logged_once_with_its_statement(database: str, without_index: psycopg.Connection) -> None:
    collector = Jobs()
    with capture_logs() as events:
        for minutes in range(3):
            ask(database, collector, minutes * 10 * MINUTE)
        (event,) = events
        assert (event["event"], event["table"]) == ("jobs.no_index", "ai_usage_events")
        without_index.execute(event["remedy"].encode())
        ask(database, collector, timedelta(hours=1))
        without_index.execute("DROP INDEX ai_usage_events_waiting_idx")
        ask(database, collector, timedelta(hours=2))
    assert [event["table"] for event in events] == ["ai_usage_events"] * 2


def test_a_reading_that_was_cancelled_is_not_repeated_before_its_pause_is_over(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_SECONDS", 0.2)
    connection.execute(
        "ALTER TABLE ai_usage_events RENAME TO kept; CREATE VIEW ai_usage_events AS"
        " SELECT 'queued'::text AS status, now() AS created_at FROM generate_series(1, 10000000000)"
    )
    collector = slow(2)

    with pytest.raises(CollectionFailed, match="statement_timeout"):
        ask(database, collector)
    connection.execute("DROP VIEW ai_usage_events; ALTER TABLE kept RENAME TO ai_usage_events")
    for second in (1, 199):
        with pytest.raises(CollectionFailed, match="statement_timeout"):
            ask(database, collector, timedelta(seconds=second))
    assert waiting(ask(database, collector, timedelta(seconds=200))) == 0


def test_tables_are_the_ones_of_the_definition() -> None:
    assert all(table in str(jobs.JOBS.definition) for table in TABLES.values())


@pytest.mark.parametrize(("seconds", "estimates"), [(0.01, 2), (1, 4)])
def test_the_estimate_of_a_cheap_and_quick_reading_holds_for_a_minute(
    database: str, monkeypatch: pytest.MonkeyPatch, seconds: float, estimates: int
) -> None:
    made: list[str] = []
    estimate = jobs._plan

    async def noted(transaction: Transaction, query: str) -> Mapping[str, Any]:
        made.append(query)
        return await estimate(transaction, query)

    monkeypatch.setattr(jobs, "_plan", noted)
    collector = slow(seconds)
    for second in (0, 15, 59, 60):
        ask(database, collector, timedelta(seconds=second))
    assert len(made) == estimates * len(jobs.TABLES)
