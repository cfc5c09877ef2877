"""Columns of every type that ORMs use for text, numbers and words: all values are the same as from text
(docs/definitions.md#types-and-words)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis

from exporter.collectors import build_collectors
from exporter.collectors.charts import Charts
from exporter.collectors.incidents import Incidents
from exporter.collectors.top_users import TopUsers
from exporter.settings import Settings
from exporter.state import StateFile
from rollup.connection import connected
from rollup.daily import read_days
from rollup.days import pieces, span
from rollup.history import read_history
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.exporter.deployments import EXPECTED, NOW, PRICES, from_scratch, metrics, seed
from tests.rows import insert, user

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

WORDS = {
    "subscriptions": ("plan", "status"),
    "sessions": ("kind", "device_type"),
    "ai_usage_events": ("status", "error_kind"),
    "preview_jobs": ("status", "error_kind"),
}
"""The columns with words of a closed set."""

TEXTS = {"ai_usage_events": ("provider", "model"), "users": ("username", "email")}
"""The columns with any text."""

TYPES = {
    "enum": "labels",
    "domain over enum": "labels_domain",
    "domain over text": "short_text",
    "varchar": "varchar(60)",
    "padded char": "char(60)",
    "citext": "citext",
    "name": "name",
}


@dataclass(frozen=True)
class Deployment:
    """A database with rows of every kind, and a Valkey beside it."""

    url: str
    redis_url: str
    folder: Path
    connection: psycopg.Connection

    def read(self) -> Mapping[str, Any]:
        """All values read from the database: metrics by collectors and definitions, content of the page, rows of the
        daily table, the past."""
        (self.folder / "prices.toml").write_text(PRICES)
        settings = Settings.model_construct(prices_file=self.folder / "prices.toml")
        every = build_collectors(settings, lambda name: StateFile(self.folder, f"{name}-{uuid4().hex}"))
        collectors = {each.name: each for each in every if set(each.sources) <= {"postgres", "redis"}}
        shown = metrics(collectors, self.url, self.redis_url, NOW)
        charts, incidents, top = (collectors[name] for name in ("charts", "incidents", "top_users"))
        assert isinstance(charts, Charts)
        assert isinstance(incidents, Incidents)
        assert isinstance(top, TopUsers)
        assert charts.content is not None
        return {
            "metrics": shown,
            "definitions": from_scratch(collectors.values(), self.url, self.redis_url),
            "incidents": incidents.content,
            "top users": top.content,
            "requests": charts.content.requests_per_hour(60, 24),
            "latencies": charts.content.latency_seconds(60, 24),
            **asyncio.run(self._rolled_up()),
        }

    async def _rolled_up(self) -> Mapping[str, Any]:
        async with connected(self.url) as connection:
            (piece,) = pieces(span((NOW - 12 * DAY).date(), NOW.date()))
            hour = NOW.replace(minute=0)
            return {
                "days": await read_days(connection, piece),
                "history": [
                    (series.spec.name, series.labels, series.points)
                    for series in await read_history(connection, hour - DAY, hour)
                ],
            }

    @contextmanager
    def altered(self, table: str, column: str, to: str) -> Iterator[None]:
        """Change the type of the column for the duration of the context."""
        run = self.connection.execute
        run(f"ALTER TABLE {table} ALTER {column} DROP DEFAULT".encode())
        run(f"DROP INDEX IF EXISTS {table}_waiting_idx".encode())  # for text: no index has the text of an enum
        if to.startswith("labels"):  # the values in use, and no others
            found = run(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL".encode()).fetchall()
            labels = ", ".join(f"'{label}'" for (label,) in found)
            run(f"CREATE TYPE labels AS ENUM ({labels}); CREATE DOMAIN labels_domain AS labels".encode())
        try:
            run(f"ALTER TABLE {table} ALTER {column} TYPE {to} USING {column}::text::{to}".encode())
            yield
        finally:
            run(f"ALTER TABLE {table} ALTER {column} TYPE text USING {column}::text".encode())
            run(b"DROP TYPE IF EXISTS labels CASCADE")


@pytest.fixture(scope="module")
def deployment(
    postgres_server: PostgresServer, valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """One deployment for all tests of this file, which restore each changed column."""
    name = f"columns_{uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE hivesync".encode())
    url = postgres_server.url_of(name)
    with (
        psycopg.connect(url, autocommit=True) as connection,
        redis.Redis.from_url(valkey_server.url) as valkey,
    ):
        connection.execute("CREATE EXTENSION citext; CREATE DOMAIN short_text AS text CHECK (length(VALUE) < 100)")
        valkey.flushall()
        seed(connection, valkey, NOW)
        unlucky = user(connection, "unlucky")
        for table, kind, job in (
            ("ai_usage_events", "safety_rejection", {"provider": "openai", "model": "gpt-4.1"}),
            ("preview_jobs", "worker_lost", {}),
        ):
            times = {"created_at": NOW - 40 * DAY, "completed_at": NOW - 2 * HOUR}
            insert(connection, table, user_id=unlucky, status="failed", error_kind=kind, **job, **times)
        yield Deployment(url, valkey_server.url, tmp_path_factory.mktemp("columns"), connection)
        valkey.flushall()
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def as_text(deployment: Deployment) -> Mapping[str, Any]:
    """All values read while the columns are text; the metrics must be the expected ones."""
    read = deployment.read()
    more = {
        "hivesync_users{free}": 4,
        "hivesync_ai_errors_in_window{24h,safety_rejection}": 1,
        "hivesync_previously_active_users{30d,lost}": 2,
        "hivesync_ai_requests_ended_month_to_date": 4,
    }
    assert read["metrics"] == pytest.approx({**EXPECTED, **more}, rel=1e-12)
    assert [(i.kind, i.provider, i.model, i.error_kind) for i in read["incidents"]] == [
        ("ai_error", None, None, "timeout"),
        ("ai_error", "openai", "gpt-4.1", "safety_rejection"),
        ("preview_failure", None, None, "worker_lost"),
    ]
    assert [(row.user, row.ai_requests) for row in read["top users"]] == [("user-0", 3), ("user-2", 1)]
    assert len(read["history"]) > 20
    return read


@pytest.mark.parametrize("to", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize(
    ("table", "column"), [(table, column) for of in (WORDS, TEXTS) for table, names in of.items() for column in names]
)
def test_a_column_of_text_may_be_of_any_type_that_casts_to_text(
    table: str, column: str, to: str, deployment: Deployment, as_text: Mapping[str, Any]
) -> None:
    with deployment.altered(table, column, to):
        assert deployment.read() == as_text


@pytest.mark.parametrize("column", ["prompt_tokens", "completion_tokens"])
@pytest.mark.parametrize("to", ["bigint", "numeric", "numeric(20,2)", "double precision"])
def test_tokens_may_be_of_any_type_of_number(
    to: str, column: str, deployment: Deployment, as_text: Mapping[str, Any]
) -> None:
    run = deployment.connection.execute
    run(f"ALTER TABLE ai_usage_events ALTER {column} TYPE {to}".encode())
    try:
        assert deployment.read() == as_text
    finally:
        run(f"ALTER TABLE ai_usage_events ALTER {column} TYPE integer".encode())


WRITTEN = {
    "capitals": "upper({0})",
    "a capital": "initcap({0})",
    "blanks around": "'  ' || {0} || E' \\t'",
    "a line break": "{0} || E'\\r\\n'",
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize(("table", "column"), [(table, column) for table, names in WORDS.items() for column in names])
def test_words_are_told_without_case_and_blanks(
    table: str, column: str, written: str, deployment: Deployment, as_text: Mapping[str, Any]
) -> None:
    run = deployment.connection.execute
    run(f"CREATE TEMPORARY TABLE kept AS SELECT id, {column} AS was FROM {table}".encode())
    run(f"UPDATE {table} SET {column} = {written.format(column)}".encode())
    try:
        assert deployment.read() == as_text
    finally:
        run(f"UPDATE {table} SET {column} = kept.was FROM kept WHERE kept.id = {table}.id".encode())
        run(b"DROP TABLE kept")
