"""Row level security: where policies would hide rows from the roll-up's role, no day is written, and the table is named
(docs/definitions.md#row-level-security)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.roles import GRANT_WRITING_DAYS, reading_role, run
from tests.rollup.rolling import Command, Ran, end, stored
from tests.rows import insert, users
from tests.waiting import until

ENABLE = "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"
READ = ("sessions", "ai_usage_events", "preview_jobs", "usage_analytics_daily")
COMMANDS: Sequence[list[str]] = ([], ["--dry-run"], ["--from", "2026-01-01"], ["--every", "5m"], ["--history", "-"])


@pytest.fixture
def role(connection: psycopg.Connection, database: str, rollup: Command) -> Iterator[str]:
    """A role with all rights for a run, used by the command; four requests of today, rolled up."""
    (who,) = users(connection, 1)
    for _ in range(4):
        insert(connection, "ai_usage_events", user_id=who)
    insert(connection, "preview_jobs", user_id=who)
    insert(connection, "sessions", user_id=who)
    with reading_role(connection) as name:
        run(connection, GRANT_WRITING_DAYS, role=name)
        rollup.settings = {"HIVESYNC_ROLLUP_DATABASE_URL": make_conninfo(database, user=name)}
        assert rollup().status == 0
        assert [row.ai_requests for row in stored(connection)] == [4]
        yield name


def refusal(ran: Ran, role: str, *tables: str) -> None:
    """Assert a refusal in one line, with these tables and the remedy."""
    named = "; ".join(f'query would be affected by row-level security policy for table "{table}"' for table in tables)
    remedy = f'ALTER ROLE {role} BYPASSRLS, or see "Row level security" in docs/operating.md'
    assert (ran.status, ran.out) == (2, "")
    assert ran.message == f"hivesync-analytics: row level security would hide rows from {role} ({named}): {remedy}"


def degraded(rollup: Command) -> list[dict[str, Any]]:
    """The events about PostgreSQL; another one is about the missing Prometheus."""
    return [event for event in rollup.said("system.analytics.degraded") if event["source"] == "postgres"]


@pytest.mark.parametrize("table", READ)
def test_a_table_with_row_security_is_refused_and_nothing_is_written(
    table: str, rollup: Command, connection: psycopg.Connection, role: str
) -> None:
    before = stored(connection)
    run(connection, ENABLE, table=table)
    for arguments in COMMANDS:
        if table == "usage_analytics_daily" and "--history" in arguments:
            continue  # --history does not read the days
        refusal(rollup(*arguments), role, table)
        assert stored(connection) == before
    run(connection, "ALTER ROLE {role} BYPASSRLS", role=role)
    assert rollup().status == 0
    assert stored(connection)[: len(before)] == before  # a new day may have begun since


def test_all_tables_are_named_at_once(rollup: Command, connection: psycopg.Connection, role: str) -> None:
    for table in (*READ, "users", "subscriptions"):
        run(connection, ENABLE, table=table)
    refusal(rollup(), role, *READ)
    refusal(rollup("--history", "-"), role, "sessions", "ai_usage_events", "preview_jobs", "users", "subscriptions")


def test_a_policy_for_the_role_is_refused_too(rollup: Command, connection: psycopg.Connection, role: str) -> None:
    run(connection, ENABLE + "CREATE POLICY every ON {table} TO {role} USING (true)", table="sessions", role=role)
    refusal(rollup(), role, "sessions")


def test_of_a_view_the_table_behind_it_is_named(rollup: Command, connection: psycopg.Connection, role: str) -> None:
    run(
        connection,
        "ALTER TABLE sessions RENAME TO logins; ALTER TABLE logins ENABLE ROW LEVEL SECURITY;"
        "CREATE VIEW sessions WITH (security_invoker) AS SELECT * FROM logins; GRANT SELECT ON sessions TO {role}",
        role=role,
    )
    refusal(rollup(), role, "logins")
    run(connection, "ALTER VIEW sessions SET (security_invoker = false)")
    assert rollup().status == 0


def test_an_owner_is_refused_only_where_row_security_is_forced(
    rollup: Command, connection: psycopg.Connection, role: str
) -> None:
    run(connection, ENABLE + "ALTER TABLE {table} OWNER TO {role}", table="usage_analytics_daily", role=role)
    assert rollup().status == 0
    run(connection, "ALTER TABLE usage_analytics_daily FORCE ROW LEVEL SECURITY")
    refusal(rollup(), role, "usage_analytics_daily")


def test_row_security_that_comes_while_it_goes_on_is_said_and_writes_nothing(
    rollup: Command, connection: psycopg.Connection, role: str
) -> None:
    process = rollup.start("--every", "10s")
    try:
        until(lambda: rollup.said("rollup.finished"), "a first run")
        connection.execute("INSERT INTO ai_usage_events DEFAULT VALUES")
        run(connection, ENABLE, table="ai_usage_events")
        before = stored(connection)
        (event,) = until(lambda: degraded(rollup), "the refusal")
        assert 'policy for table "ai_usage_events"' in event["detail"]
        assert f"ALTER ROLE {role} BYPASSRLS" in event["detail"]
        assert stored(connection) == before
    finally:
        end([process])


def test_rows_hidden_between_the_check_and_the_reading_are_refused(
    rollup: Command, connection: psycopg.Connection, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unchecked(*_: object) -> None:
        run(connection, ENABLE, table="ai_usage_events")

    monkeypatch.setattr("rollup.rights.check", unchecked)
    before = stored(connection)
    ran = rollup()
    assert (ran.status, stored(connection)) == (2, before)
    assert ran.message == (
        "hivesync-analytics: PostgreSQL: query would be affected by row-level security policy for table"
        ' "ai_usage_events"; see "Row level security" in docs/operating.md'
    )
