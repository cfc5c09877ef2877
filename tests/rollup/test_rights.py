"""A role without a right, or a missing table: the message is the statement that cures it, and nothing is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from demo.database import create_role
from tests.rollup.rolling import Command, Ran, stored
from tests.rows import insert

READ_COLUMNS = {
    "sessions": "user_id, created_at",
    "ai_usage_events": "user_id, status, created_at, completed_at",
    "preview_jobs": "user_id, status, created_at, completed_at",
    "usage_analytics_daily": "date, max_queue_depth",
}


@pytest.fixture
def role(connection: psycopg.Connection, database: str, rollup: Command) -> Iterator[str]:
    """A role that may log in, with no rights but its own; the roll-up runs as this role."""
    name = f"role_{uuid4().hex}"
    create_role(connection, name)
    connection.execute("INSERT INTO usage_analytics_daily VALUES ('2026-01-01', 1, 2, 3, 4, 5, 6)")
    insert(connection, "sessions", created_at="2026-01-01 12:00Z")
    rollup.settings = {"HIVESYNC_ROLLUP_DATABASE_URL": make_conninfo(database, user=name)}
    yield name
    connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def grants(ran: Ran) -> list[str]:
    """The GRANT statements in the message."""
    return re.findall(r"^  (GRANT .*?);?$", ran.message, re.MULTILINE)


def run(rollup: Command, *arguments: str) -> Ran:
    return rollup(*(arguments or ("--from", "2026-01-01", "--to", "2026-01-01")))


def grant_all_but(connection: psycopg.Connection, role: str, table: str, kind: str) -> None:
    for name in READ_COLUMNS:
        for right in ("SELECT", "INSERT", "UPDATE") if name == "usage_analytics_daily" else ("SELECT",):
            if (name, right) != (table, kind):
                connection.execute(f"GRANT {right} ON {name} TO {role}".encode())


def test_a_role_without_any_rights_is_told_them_all_and_can_run_once_they_are_given(
    rollup: Command, connection: psycopg.Connection, role: str
) -> None:
    ran = run(rollup)
    assert (ran.status, ran.out) == (2, "")
    assert grants(ran) == [
        f"GRANT SELECT ON sessions TO {role}",
        f"GRANT SELECT ON ai_usage_events TO {role}",
        f"GRANT SELECT ON preview_jobs TO {role}",
        f"GRANT SELECT, INSERT, UPDATE ON usage_analytics_daily TO {role}",
    ]
    connection.execute(";".join(grants(ran)).encode())
    assert run(rollup).status == 0
    assert [(row.dau, row.mau, row.max_queue_depth) for row in stored(connection)] == [(0, 0, 6)]


def test_the_one_right_that_is_missing_is_named_and_nothing_is_written(
    rollup: Command, connection: psycopg.Connection, role: str
) -> None:
    grant_all_but(connection, role, "", "")
    before = stored(connection)
    needed = [(table, "SELECT") for table in READ_COLUMNS]
    for table, kind in [*needed, ("usage_analytics_daily", "INSERT"), ("usage_analytics_daily", "UPDATE")]:
        connection.execute(f"REVOKE {kind} ON {table} FROM {role}".encode())
        ran = run(rollup)
        assert (ran.status, grants(ran)) == (2, [f"GRANT {kind} ON {table} TO {role}"])
        assert stored(connection) == before
        connection.execute(grants(ran)[0].encode())
    assert run(rollup).status == 0


def test_a_right_on_one_column_is_not_taken_for_one_on_the_table(
    rollup: Command, connection: psycopg.Connection, role: str
) -> None:
    grant_all_but(connection, role, "preview_jobs", "SELECT")
    connection.execute(f"GRANT SELECT (id, user_id, created_at, completed_at) ON preview_jobs TO {role}".encode())
    assert grants(run(rollup)) == [f"GRANT SELECT ON preview_jobs TO {role}"]
    connection.execute(f"GRANT SELECT (status) ON preview_jobs TO {role}".encode())
    assert run(rollup).status == 0


def test_rights_on_the_columns_that_are_used_are_enough(
    rollup: Command, connection: psycopg.Connection, role: str
) -> None:
    for table, columns in READ_COLUMNS.items():
        connection.execute(f"GRANT SELECT ({columns}) ON {table} TO {role}".encode())
    assert run(rollup, "--dry-run", "--from", "2026-01-01", "--to", "2026-01-01").status == 0
    every = "dau, mau, ai_requests, preview_requests, avg_latency_ms, max_queue_depth"
    connection.execute(
        f"GRANT SELECT ({every}), INSERT (date, {every}), UPDATE ({every}) ON usage_analytics_daily TO {role}".encode()
    )
    assert grants(run(rollup)) == [f"GRANT UPDATE ON usage_analytics_daily TO {role}"]  # for the lock
    connection.execute(grants(run(rollup))[0].encode())
    assert run(rollup).status == 0


def test_rights_may_come_by_way_of_another_role(rollup: Command, connection: psycopg.Connection, role: str) -> None:
    group = f"group_{uuid4().hex}"
    connection.execute(f"CREATE ROLE {group}; GRANT {group} TO {role}".encode())
    grant_all_but(connection, group, "", "")
    assert run(rollup).status == 0
    connection.execute(f"DROP OWNED BY {group}; DROP ROLE {group}".encode())


def test_to_look_needs_no_right_to_write(rollup: Command, connection: psycopg.Connection, role: str) -> None:
    for table in READ_COLUMNS:
        connection.execute(f"GRANT SELECT ON {table} TO {role}".encode())
    ran = run(rollup, "--dry-run", "--from", "2026-01-01", "--to", "2026-01-01")
    assert (ran.status, ran.out.split()[-7:]) == (0, ["2026-01-01", "0", "0", "0", "0", "-", "-"])
    assert grants(run(rollup)) == [f"GRANT INSERT, UPDATE ON usage_analytics_daily TO {role}"]


def test_a_schema_that_may_not_be_used_is_named_before_its_tables(
    rollup: Command, connection: psycopg.Connection, role: str
) -> None:
    connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    assert grants(run(rollup)) == [f"GRANT USAGE ON SCHEMA public TO {role}"]
    for _ in range(2):
        connection.execute(";".join(grants(run(rollup))).encode())
    assert run(rollup).status == 0


def test_without_the_table_it_says_how_to_make_it(rollup: Command, connection: psycopg.Connection) -> None:
    connection.execute("DROP TABLE usage_analytics_daily")
    for arguments in ([], ["--dry-run"], ["--from", "2026-01-01"], ["--every", "5m"]):
        ran = rollup(*arguments)
        assert (ran.status, ran.out) == (2, "")
        assert ran.message == (
            "hivesync-analytics: there is no table usage_analytics_daily: make it with python -m rollup --migrate"
        )


def test_without_hivesyncs_tables_it_names_them(rollup: Command, connection: psycopg.Connection) -> None:
    connection.execute("ALTER TABLE sessions RENAME TO logins; DROP TABLE preview_jobs")
    for arguments in ([], ["--dry-run"], ["--history", "-"]):
        ran = rollup(*arguments)
        assert (ran.status, ran.out) == (2, "")
        assert ran.message == (
            "hivesync-analytics: there is no table (or view) sessions, preview_jobs on the search_path: name the"
            " schema of HiveSync's tables in the URL of the database (?options=-csearch_path%3DSCHEMA), or make views"
            " of these names (docs/adapting.md)"
        )


def test_a_column_that_is_not_there_is_named(rollup: Command, connection: psycopg.Connection) -> None:
    connection.execute("ALTER TABLE ai_usage_events RENAME COLUMN completed_at TO ended_at")
    ran = rollup()
    assert (ran.status, ran.message) == (
        2,
        'hivesync-analytics: PostgreSQL: column "completed_at" of relation "ai_usage_events" does not exist',
    )


def test_a_column_of_another_type_is_said_to_be_one(rollup: Command, connection: psycopg.Connection) -> None:
    connection.execute("ALTER TABLE sessions ALTER COLUMN created_at DROP DEFAULT")
    connection.execute("ALTER TABLE sessions ALTER COLUMN created_at TYPE text")
    ran = rollup()
    assert ran.status == 2
    assert ran.message.startswith("hivesync-analytics: PostgreSQL: operator does not exist: text >= timestamp")


def test_a_server_that_is_read_only_is_said_to_be_so(rollup: Command, connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO sessions DEFAULT VALUES")
    database = connection.info.dbname
    connection.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on'.encode())
    ran = rollup()
    assert (ran.status, stored(connection)) == (2, [])
    assert "it is read only (a standby?)" in ran.message
