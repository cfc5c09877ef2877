"""The roll-up behind a real PgBouncer in transaction mode: the same days, one run at a time, and reasons of
refusals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from demo.database import fill_database
from servers.postgres import PostgresServer
from tests.pooling import PgBouncer
from tests.rollup.rolling import Command, plainly, stored, today

pytestmark = pytest.mark.pgbouncer

USER = "postgres"


@pytest.fixture
def pooler(postgres_server: PostgresServer, database: str, rollup: Command, tmp_path: Path) -> Iterator[PgBouncer]:
    """A PgBouncer between the roll-up and the server."""
    name = str(conninfo_to_dict(database)["dbname"])
    settings = {"default_pool_size": 2}
    with PgBouncer(tmp_path / "pooler", postgres_server, name, [USER], settings) as pooler:
        rollup.settings = {"HIVESYNC_DATABASE_URL": pooler.url}
        yield pooler


@pytest.mark.usefixtures("pooler")
def test_days_and_history_are_the_same_behind_it(
    rollup: Command, database: str, connection: psycopg.Connection
) -> None:
    fill_database(database, users=40, days=5, seed=3)
    assert rollup("--migrate").status == 0
    assert rollup("--dry-run").status == 0
    ran = rollup()
    assert (ran.status, ran.message) == (0, "")
    rows = stored(connection)
    assert len(rows) >= 5
    assert rows == plainly(connection, [row.date for row in rows])
    yesterday = str(today(connection) - timedelta(days=1))
    history = rollup("--history", "-", "--to", yesterday)
    assert history.status == 0
    assert history.out == rollup("--history", "-", "--to", yesterday, database_url=database).out


def test_only_one_runs_at_a_time_behind_it(rollup: Command, pooler: PgBouncer) -> None:
    with psycopg.connect(pooler.url) as other:
        other.execute("LOCK TABLE usage_analytics_daily IN SHARE UPDATE EXCLUSIVE MODE")
        ran = rollup()
    assert ran.status == 1
    assert ran.said("rollup.already_running")
    assert "usage_analytics_daily is locked by another session" in ran.message  # no connection is left to name it
    assert rollup().said("rollup.finished")


def test_what_it_does_not_take_is_said_with_the_remedy(rollup: Command, pooler: PgBouncer) -> None:
    for url in (f"{pooler.url}?options=-csearch_path%3Dviews", pooler.url_of(USER, "elsewhere")):
        ran = rollup(rollup_database_url=url)
        assert (ran.status, ran.out) == (1, "")
        assert ran.message.startswith("hivesync-analytics: PostgreSQL cannot be reached: refused_by_server (")
        assert 'see "Behind PgBouncer" in docs/operating.md' in ran.message
