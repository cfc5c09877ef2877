"""Tables that are rewritten or replaced between the snapshot of a reading and the reading, which then finds them empty:
never a number, and the next refresh reads everything again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from exporter.errors import CollectionFailed
from exporter.sources.postgres import Postgres, Transaction
from tests.exporter.deployments import Build
from tests.rows import by_name, insert, sources, users

CHANGES = {
    "retyped": "ALTER TABLE projects ALTER name TYPE varchar(50)",
    "truncated": "TRUNCATE projects CASCADE",
    "replaced": "CREATE TABLE new (LIKE projects INCLUDING ALL); INSERT INTO new TABLE projects;"
    " DROP TABLE projects CASCADE; ALTER TABLE new RENAME TO projects",
}
COUNT = "SELECT count(*) FROM projects"
REWRITE = "ALTER TABLE {0} ALTER id TYPE text USING id::text; ALTER TABLE {0} ALTER id TYPE uuid USING id::uuid"


async def read(url: str, query: str, meanwhile: Callable[[], object]) -> list[Any]:
    """The rows of a query, before which something happens."""
    postgres = Postgres(url)
    try:
        async with postgres.transaction() as transaction:
            await asyncio.to_thread(meanwhile)
            return await transaction.rows(query)
    finally:
        await postgres.close()


@pytest.fixture
def projects(connection: psycopg.Connection) -> psycopg.Connection:
    """A connection to a database with two projects, and a view of them."""
    (who,) = users(connection, 1)
    for name in ("one", "two"):
        insert(connection, "projects", owner_id=who, name=name)
    connection.execute("CREATE TABLE others AS TABLE projects")
    return connection


@pytest.mark.parametrize("change", CHANGES)
def test_a_table_that_looks_empty_after_a_rewrite_is_refused(
    projects: psycopg.Connection, database: str, change: str
) -> None:
    with pytest.raises(CollectionFailed) as failed:
        asyncio.run(read(database, COUNT, lambda: projects.execute(CHANGES[change].encode())))
    assert (failed.value.kind, failed.value.altered) == ("table_rewritten", True)
    assert failed.value.detail == 'relation "projects" was rewritten meanwhile'


def test_a_table_below_a_view_is_found_too(projects: psycopg.Connection, database: str) -> None:
    projects.execute("CREATE VIEW shown AS SELECT id FROM projects")
    with pytest.raises(CollectionFailed, match="projects"):
        asyncio.run(read(database, "SELECT count(*) FROM shown", lambda: projects.execute("TRUNCATE projects CASCADE")))


@pytest.mark.parametrize(
    "harmless",
    [
        "TRUNCATE others",
        "ALTER TABLE projects ADD COLUMN more text",
        "INSERT INTO projects (name) VALUES ('three')",
        "CREATE INDEX ON projects (name)",
        "ANALYZE projects",
    ],
)
def test_other_changes_meanwhile_are_no_failure(projects: psycopg.Connection, database: str, harmless: str) -> None:
    assert asyncio.run(read(database, COUNT, lambda: projects.execute(harmless.encode()))) == [(2,)]


@pytest.mark.parametrize(
    ("collector", "table"),
    [
        ("users", "subscriptions"),
        ("users", "users"),
        ("jobs", "ai_usage_events"),
        ("cost", "ai_usage_events"),
        ("ai", "ai_usage_events"),
        ("activity", "sessions"),
        ("latency", "preview_jobs"),
    ],
)
def test_a_collector_shows_the_whole_table_after_a_rewrite(
    connection: psycopg.Connection,
    database: str,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    collector: str,
    table: str,
) -> None:
    """The rewrite comes right after the snapshot of a refresh."""
    for (name,) in connection.execute(
        "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint"
        " WHERE contype = 'f' AND connamespace = 'public'::regnamespace"
    ).fetchall():
        connection.execute(name.encode())
    connection.execute(
        "INSERT INTO users (email) VALUES ('ada@example.org');"
        "INSERT INTO subscriptions (user_id, plan) SELECT id, 'pro' FROM users;"
        "INSERT INTO sessions (user_id, created_at) SELECT id, now() - interval '3 hours' FROM users;"
        "INSERT INTO ai_usage_events (user_id, status, prompt_tokens, created_at, completed_at)"
        " SELECT id, status, 10, now() - interval '40 minutes', now() - interval '30 minutes'"
        " FROM users, (VALUES ('queued'), ('succeeded')) AS jobs (status);"
        "INSERT INTO preview_jobs (user_id, status, created_at, completed_at)"
        " SELECT user_id, status, created_at, completed_at FROM ai_usage_events"
    )
    begin = Transaction.begin
    rewrites = [REWRITE.format(table)]

    async def begin_and_rewrite(transaction: Transaction, *arguments: Any) -> None:
        await begin(transaction, *arguments)
        while rewrites:
            await asyncio.to_thread(connection.execute, rewrites.pop().encode())

    async def refresh() -> None:
        async with sources(database) as opened:
            chosen = build()
            following = chosen[collector]
            if collector == "activity":
                await chosen["users"].refresh(opened)
            monkeypatch.setattr(Transaction, "begin", begin_and_rewrite)
            for _ in range(3):  # a fill has a transaction per hour of the past
                try:
                    values = by_name(await following.refresh(opened))
                except CollectionFailed as error:
                    failures.append(error.kind)
                else:
                    break
            others = build()
            if collector == "activity":
                await others["users"].refresh(opened)
            expected = by_name(await others[collector].refresh(opened))
        assert values == pytest.approx(expected, abs=5)
        assert any(values.values())

    failures: list[str] = []
    asyncio.run(refresh())
    assert failures == ["table_rewritten"]
