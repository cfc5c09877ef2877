"""One roll-up at a time, by a lock that only a role with write rights can hold; its holder is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from demo.database import tables
from servers.postgres import PostgresServer
from tests.exporter.test_service_freshness import InstalledPostgres
from tests.roles import GRANT_WRITING_DAYS, reading_role, run
from tests.rollup.rolling import Command, end, stored
from tests.rollup.test_run import seed
from tests.waiting import until

LOCK = "LOCK TABLE usage_analytics_daily IN SHARE UPDATE EXCLUSIVE MODE"
FORMER_KEY = int.from_bytes(b"hivesync", "big") >> 1
"""The advisory lock of former versions."""

MODES = (
    *("ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE"),
    *("EXCLUSIVE", "ACCESS EXCLUSIVE"),
)
"""All modes except the one of reading."""


@contextmanager
def other_session(database: str, role: str, *statements: str) -> Iterator[psycopg.Connection]:
    """A session of a role, in a transaction after these statements."""
    with psycopg.connect(make_conninfo(database, user=role, application_name="a reader")) as session:
        for statement in statements:
            session.execute(statement.encode())
        yield session


def test_the_second_of_two_names_the_first_writes_nothing_and_fails(
    rollup: Command, connection: psycopg.Connection, database: str
) -> None:
    seed(connection, 2)
    with other_session(database, "postgres", LOCK) as first:
        ran = rollup()
        assert (ran.status, stored(connection)) == (1, [])
        holder = f"process {first.info.backend_pid} (role postgres, a reader, since 20"
        (event,) = ran.events
        assert (event["event"], len(event["holders"])) == ("rollup.already_running", 1)
        assert event["holders"][0].startswith(holder)
        assert ran.message.startswith(f"hivesync-analytics: usage_analytics_daily is locked by {holder}")
        assert ran.message.endswith("; nothing was written")
        assert rollup("--dry-run").status == 0
    assert rollup().status == 0
    assert len(stored(connection)) == 3


def test_a_lock_that_is_released_in_time_is_waited_for(
    rollup: Command, connection: psycopg.Connection, database: str
) -> None:
    seed(connection, 2)
    with other_session(database, "postgres", LOCK) as first:
        process = rollup.start()
        try:
            waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE usage%'"
            until(lambda: connection.execute(waits.encode()).fetchone() is not None, "the roll-up waits for the lock")
            first.rollback()
            assert process.wait() == 0
        finally:
            end([process])
    assert len(stored(connection)) == 3
    assert rollup.said("rollup.already_running") == []


@pytest.fixture(params=[PostgresServer, pytest.param(InstalledPostgres, marks=pytest.mark.postgresql)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PostgresServer]:
    """A server of the test's own with HiveSync's tables: of the package from PyPI, and of Debian, which is older."""
    settings = {"shared_preload_libraries": "", "max_prepared_transactions": "2"}
    with request.param(tmp_path / "server", settings, in_memory=True) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(tables().encode())
            seed(connection, 2)
        yield server


def test_a_role_that_may_only_read_cannot_stop_it(rollup: Command, server: PostgresServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection, reading_role(connection) as reader:
        for mode in MODES:
            statement = f"LOCK TABLE usage_analytics_daily IN {mode} MODE"
            with pytest.raises(psycopg.errors.InsufficientPrivilege), other_session(server.url, reader, statement):
                pass
        taken = (
            f"SELECT pg_advisory_lock({FORMER_KEY})",
            "LOCK TABLE usage_analytics_daily IN ACCESS SHARE MODE",
            "SELECT * FROM usage_analytics_daily",
        )
        with other_session(server.url, reader, *taken):
            assert rollup(database_url=server.url).status == 0
        assert len(stored(connection)) == 3


def test_a_prepared_transaction_that_holds_the_lock_is_named(rollup: Command, server: PostgresServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute(LOCK.encode())
        connection.execute("PREPARE TRANSACTION 'forgotten'")
        ran = rollup(database_url=server.url)
        connection.execute("ROLLBACK PREPARED 'forgotten'")
    assert ran.status == 1
    assert "is locked by a prepared transaction (see pg_prepared_xacts)" in ran.message


def test_of_another_roles_session_as_much_is_named_as_postgresql_shows(
    rollup: Command, connection: psycopg.Connection, database: str
) -> None:
    seed(connection, 2)
    with reading_role(connection) as first, reading_role(connection) as second:
        for role in (first, second):
            run(connection, GRANT_WRITING_DAYS, role=role)
        with other_session(database, first, LOCK) as session:
            pid = session.info.backend_pid
            ran = rollup(database_url=make_conninfo(database, user=second))
        assert ran.status == 1
        (event,) = ran.events
        assert event["holders"] == [f"process {pid} (role {first}, a reader)"]


def test_the_lock_of_a_view_is_that_of_its_table(
    rollup: Command, connection: psycopg.Connection, database: str
) -> None:
    seed(connection, 2)
    connection.execute("ALTER TABLE usage_analytics_daily RENAME TO days")
    connection.execute("CREATE VIEW usage_analytics_daily AS SELECT * FROM days")
    with reading_role(connection) as writer:
        run(connection, GRANT_WRITING_DAYS, role=writer)
        theirs = make_conninfo(database, user=writer)
        with other_session(database, "postgres", LOCK.replace("usage_analytics_daily", "days")) as holder:
            ran = rollup(database_url=theirs)
            assert ran.status == 1
            assert f"process {holder.info.backend_pid} (role postgres, a reader)" in ran.message
        assert rollup(database_url=theirs).status == 0
    assert len(stored(connection)) == 3


def test_every_warns_once_while_the_lock_lasts_and_then_goes_on(
    rollup: Command, connection: psycopg.Connection, database: str
) -> None:
    seed(connection, 2)
    runner = (
        "import rollup.__main__ as command, rollup.connection as connection\n"
        "command.seconds_until_next = lambda now, every: 0.1\n"
        "connection._SET_LIMITS = connection._SET_LIMITS.replace(\"'lock_timeout', '5s'\", \"'lock_timeout', '1s'\")\n"
        "raise SystemExit(command.main(['--every', '10s']))\n"
    )

    def lasting() -> list[dict[str, Any]]:
        return rollup.said("rollup.lock_lasts")

    with other_session(database, "postgres", LOCK) as holder:
        with rollup.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", runner], env=rollup.environment(), cwd=rollup.log.parent, stderr=log
            )
        try:
            until(lambda: len(rollup.said("rollup.already_running")) > 3, "a few runs in vain")
            (warning,) = lasting()
            assert (warning["level"], warning["runs"]) == ("warning", 2)
            assert f"process {holder.info.backend_pid} (role postgres" in warning["detail"]
            holder.rollback()
            until(lambda: rollup.said("rollup.finished"), "a run after the end of the lock")
            holder.execute(LOCK.encode())
            until(lambda: len(lasting()) > 1, "another warning, for another lock")
        finally:
            end([process])
    assert len(stored(connection)) == 3
    assert rollup.said("system.analytics.degraded")[0]["source"] == "prometheus"
