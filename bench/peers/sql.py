"""The general SQL exporters, each with the queries of `queries.py`, a role of its own, and one refresh at a time."""

from __future__ import annotations

import json
import re
import time
from abc import abstractmethod
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

import psycopg

from bench.command import debian_version, installed
from bench.data import Database
from bench.environments import version_in
from bench.measure import NotMeasured, until
from bench.peers.queries import QUERIES, Query
from demo.database import create_role as create_login_role
from servers.child import Child
from servers.fetch import fetch
from servers.ports import LOOPBACK, free_port

REFRESH_SECONDS = 300.0


class SqlPeer(Child):
    """An exporter that queries a database of the bench; `role` is the role of its connection."""

    name: ClassVar[str]
    role: ClassVar[str]
    version: str

    def __init__(self, directory: Path, database: Database) -> None:
        """Raises NotMeasured when the exporter is not installed."""
        super().__init__(directory / self.role)
        self.database = database
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/metrics"

    def is_ready(self) -> bool:
        try:
            return fetch(f"http://{LOOPBACK}:{self.port}/")[0] < 500
        except (OSError, HTTPException):
            return False

    @abstractmethod
    def refresh(self) -> tuple[float, str]:
        """Run all queries once; return the seconds and the exposition."""

    def ask(self) -> tuple[float, str]:
        """Scrape once. Raises NotMeasured when the scrape is refused."""
        started = time.perf_counter()
        try:
            status, text = fetch(self.url, timeout=REFRESH_SECONDS)
        except (OSError, HTTPException) as error:
            raise NotMeasured(f"{self.name} did not answer: {type(error).__name__}") from error
        if status != 200:
            raise NotMeasured(f"{self.name} answered with status {status}")
        return time.perf_counter() - started, text


def create_role(database: Database, role: str, parallel_workers: int) -> None:
    """Create a role that may read the tables, as the exporter's, with this number of parallel workers."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        create_login_role(connection, role)
        connection.execute(f"ALTER ROLE {role} SET max_parallel_workers_per_gather = {parallel_workers}".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}".encode())


def missing(exposition: str) -> list[str]:
    """Return the metrics whose required samples are missing, under any of the names that the peers give them."""
    return [
        query.name
        for query in QUERIES
        if query.always and not re.search(rf"^(?:hivesync_|sql_){query.name}(?:_value)?[{{ ]", exposition, re.MULTILINE)
    ]


class PostgresExporter(SqlPeer):
    """prometheus-community/postgres_exporter with custom queries and without its own metrics; queries at each
    scrape."""

    name = "postgres_exporter"
    role = "peer_postgres_exporter"

    def __init__(self, directory: Path, database: Database) -> None:
        self._program = installed("prometheus-postgres-exporter", "prometheus-postgres-exporter")
        super().__init__(directory, database)
        self.version = debian_version("prometheus-postgres-exporter")
        self.environment = {"DATA_SOURCE_NAME": f"{database.url_as(self.role)}?sslmode=disable"}
        queries = {
            query.metric: {
                "query": query.sql,
                "metrics": [
                    *({label: {"usage": "LABEL", "description": label}} for label in query.labels),
                    {"value": {"usage": "GAUGE", "description": query.name}},
                ],
            }
            for query in QUERIES
        }
        (self.directory / "queries.yaml").write_text(json.dumps(queries))

    def command(self) -> Sequence[str]:
        return [
            self._program,
            "--disable-default-metrics",
            "--disable-settings-metrics",
            "--no-collector.database",
            "--no-collector.bgwriter",
            f"--extend.query-path={self.directory / 'queries.yaml'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
        ]

    def refresh(self) -> tuple[float, str]:
        return self.ask()


class QueryExporter(SqlPeer):
    """albertodonato/query-exporter, from PyPI; queries without an interval run at each scrape."""

    name = "query-exporter"
    role = "peer_query_exporter"

    def __init__(self, directory: Path, database: Database, environment: Path) -> None:
        """`environment` is a virtual environment that contains it (`environments.py`)."""
        self._program = str(environment / "bin" / "query-exporter")
        super().__init__(directory, database)
        self.version = version_in(environment, "query-exporter")
        dsn = database.url_as(self.role).replace("postgresql://", "postgresql+psycopg://")
        settings = {
            "databases": {"hivesync": {"dsn": dsn}},
            "metrics": {
                query.metric: {"type": "gauge", "description": query.name}
                | ({"labels": list(query.labels)} if query.labels else {})
                for query in QUERIES
            },
            "queries": {
                query.name: {
                    "databases": ["hivesync"],
                    "metrics": [query.metric],
                    "sql": f"SELECT {_columns(query)} FROM ({query.sql}) AS answer",
                }
                for query in QUERIES
            },
        }
        (self.directory / "config.yaml").write_text(json.dumps(settings))

    def command(self) -> Sequence[str]:
        return [
            self._program,
            f"--config={self.directory / 'config.yaml'}",
            f"--host={LOOPBACK}",
            f"--port={self.port}",
        ]

    def refresh(self) -> tuple[float, str]:
        return self.ask()


def _columns(query: Query) -> str:
    """Return the label columns, and the value column under the name of its metric."""
    return ", ".join((*(f'"{label}"' for label in query.labels), f"value AS {query.metric}"))


class SqlExporter(SqlPeer):
    """justwatchcom/sql_exporter: queries by its own clock, first at its start. So each refresh is a start."""

    name = "sql_exporter"
    role = "peer_sql_exporter"

    def __init__(self, directory: Path, database: Database) -> None:
        self._program = installed("prometheus-sql-exporter", "prometheus-sql-exporter")
        super().__init__(directory, database)
        self.version = debian_version("prometheus-sql-exporter")
        url = database.url_as(self.role).replace("postgresql://", "postgres://")
        job = {
            "name": "hivesync",
            "interval": "1h",
            "connections": [f"{url}?sslmode=disable"],
            "queries": [
                {
                    "name": query.name,
                    "help": query.name,
                    "labels": list(query.labels),
                    "values": ["value"],
                    "query": query.sql,
                }
                for query in QUERIES
            ],
        }
        (self.directory / "config.yml").write_text(json.dumps({"jobs": [job]}))

    def command(self) -> Sequence[str]:
        return [
            self._program,
            f"-config.file={self.directory / 'config.yml'}",
            f"-web.listen-address={LOOPBACK}:{self.port}",
        ]

    def start(self) -> None:
        """Do nothing before a refresh, because a start runs the queries at once."""

    def refresh(self) -> tuple[float, str]:
        started = time.perf_counter()
        super().start()
        try:
            until(lambda: not missing(self.ask()[1]), "all its metrics", REFRESH_SECONDS)
            seconds = time.perf_counter() - started
            return seconds, self.ask()[1]
        finally:
            self.stop()
