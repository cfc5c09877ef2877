"""The embedded servers: they start, stop, restart at the same address, and never outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

import psycopg
import pytest
import redis

from demo.monitoring import fit
from servers.alertmanager import AlertmanagerServer
from servers.child import Child, ChildError
from servers.fetch import fetch
from servers.ports import free_port
from servers.postgres import PostgresServer
from servers.prometheus import PrometheusServer
from servers.valkey import ValkeyServer
from tests.servers.processes import alive
from tests.waiting import patience, until

PROJECT = Path(__file__).parents[2]

SERVERS: dict[str, Callable[[Path], Child]] = {
    "postgres": PostgresServer,
    "valkey": ValkeyServer,
    "prometheus": lambda directory: PrometheusServer(directory, ["127.0.0.1:1"]),
    "alertmanager": lambda directory: AlertmanagerServer(
        directory, fit(directory / "shipped", exporters=[], webhook="http://127.0.0.1:1/") / "alertmanager.yml"
    ),
}
MARKED = ("prometheus", "alertmanager")

# A program that uses the servers; it prints their process ids, and ends with its standard input.
PROGRAM = """
import sys
from pathlib import Path
import psycopg
from servers import child
from demo.monitoring import fit
from servers.alertmanager import AlertmanagerServer
from servers.postgres import PostgresServer
from servers.prometheus import PrometheusServer
from servers.valkey import ValkeyServer
directory, *leash = map(Path, sys.argv[1:])
child.LEASH = leash[0] if leash else child.LEASH
servers = [PostgresServer(directory / "p"), ValkeyServer(directory / "v"), PrometheusServer(directory / "m", ["a:1"])]
alerts = fit(directory / "shipped", exporters=[], webhook="http://127.0.0.1:1/") / "alertmanager.yml"
servers.append(AlertmanagerServer(directory / "a", alerts))
for server in servers:
    server.start()
with psycopg.connect(servers[0].url) as connection:
    connection.execute("CREATE TABLE kept AS SELECT 1")
servers[0].kill()
servers[0].start()
with psycopg.connect(servers[0].url) as connection:
    connection.execute("SELECT FROM kept")
print(*(server.pid for server in servers), flush=True)
sys.stdin.read()
"""

AS_WHOM: dict[str, list[str]] = {"me": []}
if os.geteuid() == 0:
    # An ordinary user, with access to all files, as the home directory of the test run may be closed to others.
    AS_WHOM["an ordinary user"] = [
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
    ]


def answers(server: Child) -> bool:
    """Whether a client gets an answer."""
    try:
        if isinstance(server, PostgresServer):
            psycopg.connect(server.url, connect_timeout=2).close()
        elif isinstance(server, ValkeyServer):
            with redis.Redis.from_url(server.url, retry=None) as client:
                client.ping()
        else:
            return fetch(f"{server.url}/-/healthy")[0] == 200
    except (psycopg.OperationalError, redis.ConnectionError, OSError, HTTPException):
        return False
    return True


@pytest.fixture(
    params=[pytest.param(name, marks=[getattr(pytest.mark, name)] if name in MARKED else []) for name in SERVERS]
)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Child]:
    """Each of the servers, running."""
    with SERVERS[request.param](tmp_path / "server") as server:
        yield server


def test_a_server_answers_until_it_is_stopped_and_again_after_a_start(server: Child) -> None:
    url = server.url
    assert answers(server)
    server.stop()
    assert not answers(server)
    assert not server.is_alive
    server.start()
    assert answers(server)
    assert server.url == url


def test_a_killed_server_comes_back_on_the_same_port(server: Child) -> None:
    url, pid = server.url, server.pid
    server.kill()
    assert not answers(server)
    assert alive([pid]) == []
    server.start()
    assert answers(server)
    assert server.url == url


def test_a_server_that_somebody_else_killed_comes_back(server: Child) -> None:
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not server.is_alive)
    server.start()
    assert answers(server)


def test_stopping_twice_is_as_good_as_once_and_starting_twice_is_a_mistake(server: Child) -> None:
    with pytest.raises(ChildError, match="already running"):
        server.start()
    server.stop()
    server.stop()
    server.kill()


def test_postgres_keeps_its_rows_over_a_kill_and_valkey_forgets(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "p") as postgres, ValkeyServer(tmp_path / "v") as valkey:
        with psycopg.connect(postgres.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        with redis.Redis.from_url(valkey.url) as client:
            client.set("kept", "no")
        for server in (postgres, valkey):
            server.kill()
            server.start()
        with psycopg.connect(postgres.url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchall() == [(42,)]
        with redis.Redis.from_url(valkey.url) as client:
            assert client.get("kept") is None


def test_a_killed_postgres_takes_its_processes_with_it(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as server, psycopg.connect(server.url, autocommit=True) as connection:
        pids = [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity")]
        assert connection.info.backend_pid in pids
        server.kill()
        until(lambda: alive(pids) == [])


class Parent(Child):
    """A process with a child that takes a little longer to end."""

    name = "Parent"

    @property
    def url(self) -> str:
        return ""

    def command(self) -> Sequence[str]:
        return ["/bin/sh", "-c", f"cd {self.directory}; (sleep 0.5; touch child-ended) & touch ready; exec sleep 60"]

    def is_ready(self) -> bool:
        return (self.directory / "ready").exists()

    def child_ended(self) -> bool:
        """Whether the child has ended."""
        return (self.directory / "child-ended").exists()


def test_a_kill_and_a_new_start_wait_for_what_the_process_had_started(tmp_path: Path) -> None:
    parent = Parent(tmp_path / "killed")
    parent.start()
    assert not parent.child_ended()
    parent.kill()
    assert parent.child_ended()

    parent = Parent(tmp_path / "killed-by-somebody-else")
    parent.start()
    os.kill(parent.pid, signal.SIGKILL)
    until(lambda: not parent.is_alive)
    assert not parent.child_ended()
    parent.start()
    assert parent.child_ended()
    parent.kill()


def test_postgres_has_the_settings_it_is_given_and_a_time_zone_that_is_not_utc(tmp_path: Path) -> None:
    with (
        PostgresServer(tmp_path, {"max_connections": "17"}) as server,
        psycopg.connect(server.url_of("postgres")) as connection,
    ):
        shown = {
            name: connection.execute(f"SHOW {name}".encode()).fetchall()[0][0]
            for name in ("max_connections", "server_encoding", "TimeZone", "listen_addresses", "fsync")
        }
        assert shown == {
            "max_connections": "17",
            "server_encoding": "UTF8",
            "TimeZone": "Pacific/Auckland",
            "listen_addresses": "127.0.0.1",
            "fsync": "off",
        }
        connection.execute("CREATE EXTENSION pg_stat_statements")


def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path, {"no_such_setting": "1"})
    with pytest.raises(ChildError, match=r'(?s)PostgreSQL ended while starting.*postgresql\.log.*"no_such_setting"'):
        server.start()
    assert not server.is_alive


@pytest.mark.prometheus
def test_prometheus_is_told_what_to_scrape_and_how_often(tmp_path: Path) -> None:
    with PrometheusServer(tmp_path, ["127.0.0.1:1", "127.0.0.1:2"], scrape_interval="7s", retention="3h") as server:
        loaded = fetch(f"{server.url}/api/v1/status/config")[1]
        assert "127.0.0.1:1" in loaded
        assert "127.0.0.1:2" in loaded
        assert "scrape_interval: 7s" in loaded
        assert '"storageRetention":"3h"' in fetch(f"{server.url}/api/v1/status/runtimeinfo")[1]


def test_a_port_is_given_away_once_even_before_anybody_listens_there() -> None:
    port = free_port()
    asking = f"from servers.ports import free_port; print(free_port({port}))"
    other = subprocess.run([sys.executable, "-c", asking], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert int(other.stdout) != port
    assert free_port(port) != port


def run_program(*arguments: Path, as_whom: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start the program, which runs until its standard input ends."""
    command = [*as_whom, sys.executable, "-B", "-c", PROGRAM, *map(str, arguments)]
    return subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture(params=AS_WHOM)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that uses all servers, as the current user and, under root, as an ordinary user too."""
    directory = tmp_path / "servers"
    directory.mkdir()
    if AS_WHOM[request.param]:
        os.chown(directory, 65534, 65534)
    with run_program(directory, as_whom=AS_WHOM[request.param]) as process:
        yield process
        process.kill()


def pids_of(program: subprocess.Popen[str]) -> list[int]:
    """The process ids of the servers; fails unless all of them run."""
    assert program.stdout is not None
    pids = [int(word) for word in program.stdout.readline().split()]
    assert len(alive(pids)) == len(pids) == len(SERVERS)
    return pids


@pytest.mark.prometheus
@pytest.mark.alertmanager
def test_root_and_ordinary_users_can_run_all_servers_and_nothing_stays(program: subprocess.Popen[str]) -> None:
    pids = pids_of(program)
    assert program.stdin is not None
    program.stdin.close()
    assert program.wait(patience()) == 0
    until(lambda: alive(pids) == [])


@pytest.mark.prometheus
@pytest.mark.alertmanager
def test_where_nobody_tells_of_a_parents_death_an_ordinary_end_ends_the_servers(tmp_path: Path) -> None:
    leash = tmp_path / "leash.py"
    leash.write_text(
        "import runpy, sys\n"
        "sys.platform = 'elsewhere'\n"
        f"runpy.run_path({str(PROJECT / 'servers' / 'leash.py')!r}, run_name='__main__')\n"
    )
    with run_program(tmp_path / "servers", leash) as program:
        pids = pids_of(program)
    until(lambda: alive(pids) == [])


@pytest.mark.prometheus
@pytest.mark.alertmanager
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells processes of their parent's death")
def test_servers_die_when_their_parent_is_killed(program: subprocess.Popen[str]) -> None:
    pids = pids_of(program)
    program.kill()
    until(lambda: alive(pids) == [])
