"""A HiveSync of the test's own, on both kinds of PostgreSQL, and the roll-up's command on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from servers.postgres import PostgresServer
from tests.adapters.hivesync import TABLES
from tests.exporter.test_service_freshness import InstalledPostgres
from tests.rollup.rolling import Command, Ran

KINDS = ("exporter", "rollup", "grafana")


@pytest.fixture(scope="module", params=[PostgresServer, pytest.param(InstalledPostgres, marks=pytest.mark.postgresql)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The PostgreSQL of the test run, and the version that Debian has."""
    if request.param is PostgresServer:
        yield request.getfixturevalue("postgres_server")
        return
    directory = tmp_path_factory.mktemp("installed")
    with request.param(directory, {"shared_preload_libraries": ""}, in_memory=True) as server:
        yield server


@contextmanager
def new_database(server: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty database."""
    name = f"adapted_{uuid4().hex}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        try:
            yield server.url_of(name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def empty(server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    with new_database(server) as url:
        yield url


@pytest.fixture
def hivesync(empty: str) -> Iterator[psycopg.Connection]:
    """A superuser's connection to a database with HiveSync's tables, all empty; every statement its own transaction."""
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(TABLES.encode())
        yield connection


@pytest.fixture
def roles(server: PostgresServer) -> Iterator[Mapping[str, str]]:
    """Names of roles that do not exist, by kind; removed after the test."""
    names = {kind: f"{kind}_{uuid4().hex}" for kind in KINDS}
    yield names
    with psycopg.connect(server.url, autocommit=True) as connection:
        for name in names.values():
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


@pytest.fixture
def urls(empty: str, roles: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The database's URL for each kind of role."""
    yield {kind: make_conninfo(empty, user=name) for kind, name in roles.items()}
    with psycopg.connect(empty, autocommit=True) as connection:
        for name in roles.values():
            if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).rowcount:
                connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))


class Installation(Command):
    """`python -m rollup`, after which the new roles have the server's password, as the README asks for."""

    url: str
    passwords: Mapping[str, str]
    """By the name of a role."""

    def __call__(self, *arguments: str, **settings: str) -> Ran:
        ran = super().__call__(*arguments, **settings)
        set_passwords(self.url, self.passwords)
        return ran


def set_passwords(url: str, passwords: Mapping[str, str]) -> None:
    """Set the passwords of those roles that exist."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name, password in passwords.items():
            if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).rowcount:
                connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), password))


@pytest.fixture
def rollup(
    server: PostgresServer,
    roles: Mapping[str, str],
    empty: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Command:
    """`python -m rollup` on the test's database, as its superuser."""
    command = Installation(empty, tmp_path, monkeypatch, capfd)
    command.url = empty
    command.passwords = dict.fromkeys(roles.values(), server.password)
    return command


@pytest.fixture
def install(rollup: Command, roles: Mapping[str, str], urls: Mapping[str, str]) -> tuple[str, ...]:
    """The arguments that install the adapter for these roles."""
    del rollup, urls
    return ("--migrate", "--adapter", "hivesync", "--grant", *(f"{kind}={name}" for kind, name in roles.items()))
