"""Real servers for the tests: started once, with a database of its own for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings

from demo.database import tables
from exporter.sources import postgres as source_postgres
from exporter.sources import redis as source_redis
from servers.alertmanager import AlertmanagerServer
from servers.postgres import PostgresServer
from servers.prometheus import PrometheusServer
from servers.valkey import ValkeyServer
from tests.accounts import masked
from tests.pooling import PgBouncer
from tests.reverse_proxy import Nginx
from tests.waiting import patience

LOGROTATE = {"logrotate": "logrotate", "faketime": "faketime", "bzip2": "bzip2", "xz": "xz-utils", "zstd": "zstd"}
"""The programs that rotate logs, and their packages."""

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
settings.load_profile("default")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The PostgreSQL of the test run, with a template database that holds HiveSync's tables."""
    settings = {"max_wal_size": "128MB"}
    with PostgresServer(tmp_path_factory.mktemp("postgres"), settings, in_memory=True) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE hivesync")
        with psycopg.connect(server.url_of("hivesync"), autocommit=True) as connection:
            connection.execute(tables().encode())
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """The Valkey of the test run."""
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(autouse=True)
def limits_for_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer time-outs for answers of servers, which are late on a busy machine. A test of a hanging server sets its
    own."""
    for module, name in ((source_redis, "COMMAND_SECONDS"), (source_postgres, "CONNECT_SECONDS")):
        monkeypatch.setattr(module, name, patience(getattr(module, name)))


@pytest.fixture(params=[0o000, 0o022, 0o077], ids="{:03o}".format)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The umask of the test's process: open, the usual one, closed."""
    with masked(request.param) as mask:
        yield mask


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new database with HiveSync's tables, all empty."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE hivesync STRATEGY file_copy'.encode())
        yield postgres_server.url_of(name)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    """A superuser's connection to the test's database, every statement its own transaction."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> Iterator[redis.Redis]:
    """A client of an empty Valkey."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
        yield client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of programs that are not installed, with a reason that names the package.

    The longest files come first: workers that take one file at a time then end at about the same time.
    """
    items.sort(key=lambda item: item.path.parent.name != "scale")
    installed = {
        "prometheus": PrometheusServer.is_installed() and shutil.which("promtool"),
        "alertmanager": AlertmanagerServer.is_installed() and shutil.which("amtool"),
        "chromium": shutil.which("chromium"),
        "nginx": Nginx.binary(),
        "pgbouncer": PgBouncer.binary(),
        "postgresql": list(Path("/usr/lib/postgresql").glob("*/bin/postgres")),
        "victoriametrics": shutil.which("victoria-metrics") and shutil.which("vmagent"),
        "redis": shutil.which("redis-server"),
        "strace": shutil.which("strace"),
        "logrotate": all(map(_is_installed, LOGROTATE)),
    }
    packages = {
        "prometheus": "prometheus",
        "alertmanager": "prometheus-alertmanager",
        "chromium": "chromium",
        "nginx": "nginx-light",
        "pgbouncer": "pgbouncer",
        "postgresql": "postgresql",
        "victoriametrics": "victoria-metrics",
        "redis": "redis-server",
        "strace": "strace",
        "logrotate": " ".join(LOGROTATE.values()),
    }
    for marker, package in packages.items():
        reason = f"{marker.capitalize()} is not installed (on Debian: apt-get install {package})"
        for item in items:
            if item.get_closest_marker(marker) and not installed[marker]:
                item.add_marker(pytest.mark.skip(reason=reason))


def _is_installed(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") is not None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run under CI for every skipped test."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("CI: a skipped test counts as failed", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
