"""The exporter on a hot standby: a read-only copy of PostgreSQL that follows its primary.

The standby is made by `demo/replica.sh`, as in docker-compose.scale.yml.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from demo.database import DATABASE, EXPORTER_ROLE, create_database, fill_database
from demo.exporting import PROJECT
from servers.postgres import PostgresServer
from servers.postgres_files import place_for_nobody
from servers.private import private_file
from servers.valkey import ValkeyServer
from tests.rows import insert
from tests.running import RunningExporter, is_up, run_exporter, seed_valkey
from tests.waiting import until

SCRIPT = PROJECT / "demo" / "replica.sh"
AI_REQUESTS = 'hivesync_ai_requests_in_window{window="1h"}'


class StandbyServer(PostgresServer):
    """A hot standby of another server."""

    def __init__(self, directory: Path, primary: PostgresServer) -> None:
        super().__init__(directory)
        self.password = primary.password
        self._place = place_for_nobody(self.user) if self.user else self.directory
        self._script = Path(shutil.copy(SCRIPT, self._place))
        url = self._place / "primary-url"
        private_file(url, f"{primary.url}\n")
        if self.user:
            shutil.chown(url, self.user)
        self._script.chmod(0o755)
        self.data = self._data = self._place / "standby"
        self.environment = {
            **self.environment,
            "PATH": f"{self._binaries()}{os.pathsep}{os.environ['PATH']}",
            "PGDATA": str(self._data),
            "PRIMARY_URL_FILE": str(url),
        }

    def prepare(self) -> None:
        """Leave the preparation to the script."""

    def command(self) -> Sequence[str]:
        _, _, _, *options = super().command()
        return ["/bin/sh", str(self._script), *options]


@dataclass
class Replicated:
    """A primary, its standby, and an exporter on the standby alone."""

    primary: PostgresServer
    standby: StandbyServer
    exporter: RunningExporter


@pytest.fixture(scope="module")
def replicated(valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    folder = tmp_path_factory.mktemp("standby")
    with PostgresServer(folder / "primary") as primary:
        fill_database(create_database(primary), users=60, days=10, seed=1)
        with psycopg.connect(primary.url_of(DATABASE), autocommit=True) as connection:
            connection.execute("INSERT INTO usage_analytics_daily VALUES (current_date, 1, 1, 1, 1, 1, 1)")
        seed_valkey(valkey_server.url)
        with StandbyServer(folder / "standby", primary) as standby:
            exporter = RunningExporter(
                folder / "exporter",
                database_url=standby.url_of(DATABASE, EXPORTER_ROLE),
                redis_url=valkey_server.url,
            )
            exporter.ai_log.touch()
            exporter.preview_log.touch()
            with exporter:
                yield Replicated(primary, standby, exporter)


def test_the_standby_is_one(replicated: Replicated) -> None:
    with psycopg.connect(replicated.standby.url_of(DATABASE)) as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM users")


def test_every_collector_works_on_a_standby(replicated: Replicated) -> None:
    samples = replicated.exporter.refreshed()
    up = {name: value for name, value in samples.items() if name.startswith("hivesync_collector_up")}
    assert len(up) > 10
    assert set(up.values()) == {1}
    assert samples['hivesync_users{plan="free"}'] > 0
    assert replicated.exporter.changes() == []


def test_every_number_is_right_on_a_standby(replicated: Replicated) -> None:
    """For the running exporter, and for windows filled by `verify` without one."""
    verified = replicated.exporter.command_line("verify")
    assert verified.returncode == 0, verified.stdout
    assert "is running" in verified.stdout
    alone = {**replicated.exporter.environment, "HIVESYNC_STATE_DIR": str(replicated.exporter.directory / "other")}
    verified = run_exporter(alone, replicated.exporter.directory, ["verify"])
    assert verified.returncode == 0, verified.stdout
    assert "No exporter is running" in verified.stdout


def test_what_happens_on_the_server_is_seen_by_its_standby(replicated: Replicated) -> None:
    before = replicated.exporter.samples()[AI_REQUESTS]
    with psycopg.connect(replicated.primary.url_of(DATABASE), autocommit=True) as connection:
        insert(connection, "ai_usage_events", status="queued")
    replicated.exporter.wait_for(lambda samples: samples[AI_REQUESTS] >= before + 1)
    verified = replicated.exporter.command_line("verify")
    assert verified.returncode == 0, verified.stdout


def test_a_server_that_is_away_takes_nothing_from_who_reads_the_standby(replicated: Replicated) -> None:
    replicated.primary.stop()
    try:
        samples = replicated.exporter.refreshed()
        assert is_up(samples, "postgres") is True
        assert AI_REQUESTS in samples
        assert replicated.exporter.changes() == []
    finally:
        replicated.primary.start()
    with psycopg.connect(replicated.primary.url_of(DATABASE), autocommit=True) as connection:
        streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        until(lambda: connection.execute(streaming).fetchone() == (1,), "the standby follows again")


def test_a_standby_that_starts_again_is_not_copied_again(replicated: Replicated) -> None:
    with psycopg.connect(replicated.primary.url_of(DATABASE), autocommit=True) as connection:
        before = connection.execute("SELECT count(*) FROM projects").fetchone()
    replicated.standby.stop()
    (replicated.standby.data / "in-the-first-copy").touch()
    replicated.standby.start()
    assert (replicated.standby.data / "in-the-first-copy").exists()
    with psycopg.connect(replicated.standby.url_of(DATABASE)) as connection:
        assert connection.execute("SELECT count(*) FROM projects").fetchone() == before
    replicated.exporter.wait_for(lambda samples: is_up(samples, "postgres"))
