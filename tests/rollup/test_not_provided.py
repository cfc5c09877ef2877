"""The roll-up, its history and its rights, without columns and tables that are not provided."""

from __future__ import annotations

import re
from datetime import timedelta

import psycopg
import pytest

from exporter.inputs import INPUTS
from tests.rollup.rolling import Command, stored
from tests.rollup.test_history import by_hour
from tests.rollup.test_migrate import NewRole, as_role, new_role, rights
from tests.rows import insert, users

__all__ = ["new_role"]

COLUMNS = [each.name for each in INPUTS if each.type]
KINDS = re.compile('plan="trial|kind="(provider_error|timeout|safety_rejection)"')


@pytest.fixture
def with_rows(connection: psycopg.Connection) -> None:
    """A paying user and one on trial, both active, and a failed AI job of each kind."""
    ((now,),) = connection.execute("SELECT now()").fetchall()
    payer, tester = users(connection, 2)
    insert(connection, "subscriptions", user_id=payer, plan="pro", started_at=now - timedelta(days=9))
    trial = {"started_at": now - timedelta(days=2), "trial_ends_at": now + timedelta(days=9)}
    insert(connection, "subscriptions", user_id=tester, plan="trial", **trial)
    times = {"created_at": now - timedelta(hours=5), "completed_at": now - timedelta(hours=4)}
    for who, kind in ((payer, "timeout"), (tester, "provider_error"), (tester, None)):
        insert(connection, "ai_usage_events", user_id=who, status="failed", error_kind=kind, **times)
    insert(connection, "preview_jobs", user_id=payer, status="succeeded", **times)


def drop(connection: psycopg.Connection) -> None:
    for name in COLUMNS:
        table, column = name.split(".")
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}".encode())


@pytest.mark.usefixtures("with_rows")
def test_the_history_leaves_out_what_is_not_provided(rollup: Command, connection: psycopg.Connection) -> None:
    before = by_hour(rollup("--history", "-").out)
    drop(connection)
    assert rollup("--history", "-").status != 0
    ran = rollup("--history", "-", not_provided=",".join(COLUMNS))
    assert ran.status == 0, ran.err
    after = by_hour(ran.out)
    last = max(before)
    assert max(after) == last
    assert [name for values in after.values() for name in values if KINDS.search(name)] == []
    free, other = 'hivesync_active_users{plan="free",window="30d"}', 'hivesync_ai_errors_in_window{kind="other"'
    assert (before[last][free], after[last][free]) == (0, 1)
    changed = {'plan="free"', 'kind="other"'}
    for moment, values in after.items():
        assert {name: value for name, value in values.items() if not any(one in name for one in changed)} == {
            name: value
            for name, value in before[moment].items()
            if not KINDS.search(name) and not any(one in name for one in changed)
        }
    of_kinds = [sum(v for name, v in values[last].items() if "ai_errors" in name) for values in (before, after)]
    assert of_kinds == [3, 3]
    assert [name for name in after[last] if "ai_errors" in name] == [f'{other},window="24h"}}']


@pytest.mark.usefixtures("with_rows")
def test_the_days_need_no_column_that_may_be_missing(rollup: Command, connection: psycopg.Connection) -> None:
    drop(connection)
    ran = rollup(not_provided=",".join(COLUMNS))
    assert ran.status == 0, ran.err
    assert stored(connection)[-1].mau == 2


def test_no_right_is_needed_on_a_table_that_is_not_provided(
    rollup: Command, connection: psycopg.Connection, database: str, new_role: NewRole
) -> None:
    exporter = new_role()
    connection.execute("DROP TABLE projects CASCADE")
    grant = ("--migrate", "--grant", f"exporter={exporter}")
    assert rollup(*grant).status != 0
    ran = rollup(*grant, not_provided="projects")
    assert ran.status == 0, ran.err
    assert "need not" not in ran.out
    with psycopg.connect(as_role(database, exporter)) as reader:
        reader.execute("SELECT FROM users, subscriptions, sessions, ai_usage_events, preview_jobs LIMIT 1")
    assert "projects" not in rollup("--migrate", not_provided="projects").out
    connection.execute("CREATE TABLE projects (id integer)")
    assert rollup(*grant, not_provided="projects").status == 0
    assert ("projects", "SELECT") not in rights(connection, exporter)


def test_the_table_of_workers_is_granted_where_the_heartbeats_are_in_it(
    rollup: Command, connection: psycopg.Connection, new_role: NewRole
) -> None:
    exporter = new_role()
    grant = ("--migrate", "--grant", f"exporter={exporter}")
    connection.execute("CREATE TABLE workers (worker_id text)")
    may_read = "SELECT has_table_privilege(%s, 'workers', 'SELECT')"
    for lacking in ({}, {"workers_from": "postgres", "not_provided": "workers"}):
        assert rollup(*grant, **lacking).status == 0
        assert connection.execute(may_read, [exporter]).fetchone() == (False,)
        assert "workers" not in rollup("--migrate", **lacking).out
    ran = rollup(*grant, workers_from="postgres")
    assert (ran.status, "workers" in ran.out) == (0, False)
    assert connection.execute(may_read, [exporter]).fetchone() == (True,)
    assert f"{exporter} may also SELECT workers, and need not" in rollup(*grant).out
