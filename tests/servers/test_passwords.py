"""The embedded servers have passwords that other users of the machine cannot see, at any umask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg.conninfo import make_conninfo

from demo.exporting import environment_file, exporter_variables
from demo.processes import Processes
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.exporter.test_service_freshness import InstalledPostgres

EVERYONE = 0o077


def open_to_others(directory: Path, *secrets: str) -> list[Path]:
    """The files with a secret that other users can read, themselves and by their directories."""
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file() and any(secret in path.read_bytes().decode(errors="replace") for secret in secrets):
            inside = [path, *(parent for parent in path.parents if parent.is_relative_to(directory))]
            if all(each.stat().st_mode & EVERYONE for each in inside):
                found.append(path)
    return found


@pytest.mark.parametrize("kind", [PostgresServer, pytest.param(InstalledPostgres, marks=pytest.mark.postgresql)])
def test_postgresql_refuses_clients_without_the_password(
    kind: type[PostgresServer], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with kind(tmp_path / "server", {"shared_preload_libraries": ""}, in_memory=True) as server:
        assert server.password != postgres_server.password
        for password in ("", postgres_server.password):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(make_conninfo(server.url, password=password))
        with psycopg.connect(make_conninfo(server.url, password="", passfile=str(server.passwords))) as connection:
            rules = "SELECT DISTINCT auth_method FROM pg_hba_file_rules"
            assert connection.execute(rules).fetchall() == [("scram-sha-256",)]
            assert connection.execute("SHOW unix_socket_directories").fetchone() == ("",)


def test_valkey_refuses_clients_without_the_password(valkey_server: ValkeyServer) -> None:
    with (
        redis.Redis(port=valkey_server.port) as other,
        pytest.raises(redis.AuthenticationError),
    ):
        other.ping()


class Recorded(PostgresServer):
    """PostgreSQL, with all commands that were run for it."""

    def __init__(self, directory: Path, primary: PostgresServer | None = None) -> None:
        super().__init__(directory, in_memory=True, primary=primary)
        self.commands: list[str] = []

    def run(self, command: Sequence[str]) -> None:
        self.commands.append(" ".join(command))
        super().run(command)

    def command(self) -> Sequence[str]:
        command = super().command()
        self.commands.append(" ".join(command))
        return command


def test_no_password_is_an_argument_of_a_process(tmp_path: Path, valkey_server: ValkeyServer) -> None:
    """All users see the arguments of all processes."""
    with Recorded(tmp_path / "primary") as primary, Recorded(tmp_path / "standby", primary) as standby:
        commands = [*primary.commands, *standby.commands]
    assert len(commands) == 4
    assert [command for command in commands if primary.password in command] == []
    assert valkey_server.password not in " ".join(valkey_server.command())


@pytest.mark.usefixtures("umask")
def test_the_files_of_servers_and_demo_are_closed_to_other_users(tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    Processes(demo, None)  # type: ignore[arg-type]  # starts nothing
    assert demo.stat().st_mode & EVERYONE == 0
    tmp_path.chmod(0o777)
    demo.chmod(0o777)  # as a directory that was there before
    with PostgresServer(demo / "p", in_memory=True) as postgres, ValkeyServer(demo / "v") as valkey:
        variables = exporter_variables(
            demo, database_url=postgres.url, redis_url=valkey.url, log_directory=demo / "logs"
        )
        secrets = (postgres.password, valkey.password, variables["HIVESYNC_ADMIN_API_KEY"])
        assert open_to_others(demo, *secrets) == []
    assert environment_file(demo).stat().st_mode & 0o777 == 0o600
