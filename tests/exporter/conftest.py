"""A read-only role, and the collectors of PostgreSQL and Redis as the exporter builds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from demo.database import create_role
from exporter.collector import Collector
from exporter.collectors import build_collectors
from exporter.settings import Settings
from exporter.state import StateFile
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.exporter.deployments import PRICES, Build, Url


@pytest.fixture
def reader(postgres_server: PostgresServer, database: str, connection: psycopg.Connection) -> Iterator[str]:
    """The name of a role that may connect to the test's database and has no other right."""
    name = f"reader_{uuid4().hex}"
    create_role(connection, name)
    yield name
    connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


@pytest.fixture
def url_for_reader(postgres_server: PostgresServer, database: str, reader: str, connection: psycopg.Connection) -> Url:
    """A function of a schema: the exporter's URL for its tables, on which the role gets SELECT and no other right."""

    def url(schema: str) -> str:
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {reader}".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}".encode())
        plain = postgres_server.url_of(str(conninfo_to_dict(database)["dbname"]), reader)
        return plain if schema == "public" else f"{plain}?options=-csearch_path%3D{schema}"

    return url


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A function that builds every collector but those of logs, by name, as the exporter does."""
    (tmp_path / "prices.toml").write_text(PRICES)
    settings = Settings.model_construct(prices_file=tmp_path / "prices.toml")

    def collectors() -> dict[str, Collector]:
        every = build_collectors(settings, lambda name: StateFile(tmp_path, name))
        chosen = {collector.name: collector for collector in every if set(collector.sources) <= {"postgres", "redis"}}
        assert len(chosen) == 17
        return chosen

    return collectors


@pytest.fixture
def collectors(build: Build) -> dict[str, Collector]:
    """Every collector but those of logs, by name."""
    return build()


@pytest.fixture
def url(valkey_server: ValkeyServer, valkey: redis.Redis) -> str:
    """The address of an empty Valkey."""
    return valkey_server.url
