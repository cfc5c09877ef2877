"""The healthy installation, new for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis

from demo.database import fill_database
from demo.exporting import PRICES
from exporter.doctor.findings import Finding
from servers.ports import free_port
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.admin.access.credentials import SECRET
from tests.admin.grafana.standing_in import served
from tests.exporter.doctor.house import House, command, event, heartbeat
from tests.exporter.doctor.standing_in import Grafana, PrometheusStandIn, grafana_answers, prometheus_answers
from tests.roles import reading_role

KEY = "f7Yk2mQz9XwVb4NpRt6LsHd3"


@pytest.fixture(scope="session")
def filled(postgres_server: PostgresServer) -> str:
    """The name of a database with the demo's history, to be copied."""
    name = "doctors_template"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE hivesync STRATEGY file_copy")
    fill_database(postgres_server.url_of(name), users=60, days=10, seed=3)
    with psycopg.connect(postgres_server.url_of(name)) as connection:
        connection.execute("INSERT INTO usage_analytics_daily VALUES (current_date, 1, 1, 1, 1, 1, 1)")
    return name


@pytest.fixture(scope="session")
def answers() -> Iterator[tuple[Grafana, PrometheusStandIn, str, str]]:
    """The stand-ins, and their URLs; a test gives them their state."""
    grafana, prometheus = Grafana({}), PrometheusStandIn({})
    with served(grafana) as (host, port), served(prometheus) as (_, other):
        yield grafana, prometheus, f"http://{host}:{port}", f"http://{host}:{other}"


@pytest.fixture
def new_house(
    tmp_path: Path,
    postgres_server: PostgresServer,
    filled: str,
    valkey_server: ValkeyServer,
    valkey: redis.Redis,
    answers: tuple[Grafana, PrometheusStandIn, str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[House]:
    """An installation without a fault."""
    for name in [name for name in os.environ if name.startswith("HIVESYNC_")]:
        monkeypatch.delenv(name)
    database = f"doctor_{uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{database}" TEMPLATE {filled} STRATEGY file_copy'.encode())
        try:
            url = postgres_server.url_of(database)
            with psycopg.connect(url, autocommit=True) as connection, reading_role(connection) as role:
                yield _house(
                    tmp_path,
                    postgres_server.url_of(database, role),
                    valkey_server.url,
                    connection,
                    valkey,
                    role,
                    answers,
                )
        finally:
            command(valkey, "ACL", "DELUSER", "reader")
            admin.execute(f'DROP DATABASE "{database}" WITH (FORCE)'.encode())


def _house(
    directory: Path,
    database_url: str,
    redis_url: str,
    connection: psycopg.Connection,
    valkey: redis.Redis,
    role: str,
    answers: tuple[Grafana, PrometheusStandIn, str, str],
) -> House:
    grafana, prometheus, grafana_url, prometheus_url = answers
    port = free_port()
    grafana.state, prometheus.data = grafana_answers(), prometheus_answers(port)
    (directory / "prices.toml").write_text(PRICES)
    for folder in ("logs", "state", "scratch"):
        (directory / folder).mkdir()
    env = {
        "HIVESYNC_DATABASE_URL": database_url,
        "HIVESYNC_REDIS_URL": redis_url,
        "HIVESYNC_PROMETHEUS_URL": prometheus_url,
        "HIVESYNC_GRAFANA_URL": grafana_url,
        "HIVESYNC_AI_EVENTS_LOG": str(directory / "logs" / "ai-events.log"),
        "HIVESYNC_PREVIEW_LOG": str(directory / "logs" / "preview.log"),
        "HIVESYNC_STATE_DIR": str(directory / "state"),
        "HIVESYNC_METRICS_LISTEN": f"127.0.0.1:{port}",
        "HIVESYNC_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
        "HIVESYNC_ADMIN_API_KEY": KEY,
        "HIVESYNC_ADMIN_JWT_SECRET": SECRET,
        "HIVESYNC_PRICES_FILE": str(directory / "prices.toml"),
        "HIVESYNC_AI_QUEUE_KEYS": "ai_queue:default,ai_queue:*",
        "HIVESYNC_PREVIEW_QUEUE_KEYS": "preview_queue:default,preview_queue:*",
    }
    house = House(directory, connection, valkey, role, env, grafana.state, prometheus.data)
    house.write_log(event("ai.requested"), event("ai.completed"))
    house.write_log(event("preview.requested"), name="HIVESYNC_PREVIEW_LOG")
    valkey.rpush("ai_queue:default", "a job", "another")
    heartbeat(valkey, "cpu-1")
    return house


@pytest.fixture(scope="session")
def of_health() -> list[list[Finding]]:
    """The findings of the healthy installation, once they are known."""
    return []


@pytest.fixture
def house(new_house: House, of_health: list[list[Finding]]) -> House:
    """An installation without a fault, whose findings are known."""
    if not of_health:
        of_health.append(new_house.examine())
    new_house.healthy = of_health[0]
    return new_house
