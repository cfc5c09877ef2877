"""Deployments other than the demo's: ids of other types, tables behind views, a read-only role, other clocks and time
zones, and tables of the wrong shape."""

from __future__ import annotations

import asyncio
import datetime as datetime_module
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import redis
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from exporter.collector import Collector, Dependent
from exporter.errors import CollectionFailed
from servers.valkey import ValkeyServer
from tests.exporter.deployments import (
    EXPECTED,
    ID_TYPES,
    NOW,
    Build,
    Url,
    create_tables,
    from_scratch,
    hide_behind_views,
    metrics,
    seed,
)
from tests.rows import sources
from tests.running import FOR_THE_PAGE


@pytest.mark.parametrize("behind_views", [False, True], ids=["tables", "views"])
@pytest.mark.parametrize("id_type", list(ID_TYPES))
def test_ids_may_be_of_any_type_and_tables_may_be_views(
    id_type: str,
    behind_views: bool,
    connection: psycopg.Connection,
    valkey: redis.Redis,
    valkey_server: ValkeyServer,
    url_for_reader: Url,
    collectors: dict[str, Collector],
) -> None:
    create_tables(connection, id_type)
    if behind_views:
        hide_behind_views(connection)
    seed(connection, valkey, NOW)
    url = url_for_reader("analytics" if behind_views else "public")
    assert metrics(collectors, url, valkey_server.url, NOW) == pytest.approx(EXPECTED, rel=1e-12)
    told = from_scratch(collectors.values(), url, valkey_server.url)
    assert len(told) > 40
    assert told == pytest.approx({name: EXPECTED[name] for name in told}, rel=1e-12)


@pytest.mark.parametrize("timezone", ["Pacific/Kiritimati", "America/St_Johns"])
def test_how_the_database_sees_times_is_of_no_matter(
    timezone: str,
    database: str,
    reader: str,
    connection: psycopg.Connection,
    valkey: redis.Redis,
    valkey_server: ValkeyServer,
    url_for_reader: Url,
    collectors: dict[str, Collector],
) -> None:
    for where in (f'DATABASE "{conninfo_to_dict(database)["dbname"]}"', f"ROLE {reader}"):
        for name, value in (("timezone", timezone), ("datestyle", "German"), ("intervalstyle", "sql_standard")):
            connection.execute(f"ALTER {where} SET {name} = '{value}'".encode())
    seed(connection, valkey, NOW)
    assert metrics(collectors, url_for_reader("public"), valkey_server.url, NOW) == pytest.approx(EXPECTED, rel=1e-12)


# ---- clocks ----


@contextmanager
def own_clock_off(by: timedelta) -> Iterator[None]:
    """Shift the clock of this process, as seen by Python."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + by

    real = time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + by.total_seconds())
        patch.setattr(time, "time_ns", lambda: int((real() + by.total_seconds()) * 1e9))
        patch.setattr(datetime_module, "datetime", Shifted)
        for name, module in list(sys.modules.items()):
            if name.startswith("exporter") and getattr(module, "datetime", None) is datetime:
                patch.setattr(module, "datetime", Shifted)
        yield


@pytest.mark.parametrize("hours", [-40, 7])
def test_the_clocks_that_matter_are_the_servers(
    hours: int,
    database: str,
    connection: psycopg.Connection,
    valkey: redis.Redis,
    valkey_server: ValkeyServer,
    build: Build,
) -> None:
    """With the servers' real clocks, another date in this process changes nothing."""
    row = connection.execute("SELECT now()").fetchone()
    assert row is not None
    seed(connection, valkey, row[0])
    told = metrics(build(), database, valkey_server.url, None)
    with own_clock_off(timedelta(hours=hours)):
        told_otherwise = metrics(build(), database, valkey_server.url, None)
    projected = {name for name in told if "projected" in name}  # changes every second
    assert {name: told_otherwise[name] for name in told if name not in projected} == {
        name: told[name] for name in told if name not in projected
    }
    for name in ("hivesync_worker_healthy{gpu-1,gpu}", "hivesync_online_users", "hivesync_ai_requests_in_window{1h}"):
        assert told[name] == EXPECTED[name]


# ---- tables of the wrong shape ----

READS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "users": {
        "users": ["id", "created_at"],
        "subscriptions": ["user_id", "plan", "status", "trial_ends_at", "ended_at"],
        "projects": [],
    },
    "online": {"sessions": ["id", "user_id", "kind", "device_type", "last_heartbeat_at", "ended_at"]},
    "activity": {
        "sessions": ["user_id", "created_at"],
        "ai_usage_events": ["user_id", "created_at"],
        "preview_jobs": ["user_id", "created_at"],
        "users": ["id", "created_at"],
        "subscriptions": ["user_id", "plan", "status", "trial_ends_at", "ended_at"],
    },
    "growth": {
        "users": ["id", "created_at"],
        "subscriptions": ["user_id", "plan", "status", "trial_ends_at", "ended_at"],
    },
    "ai": {"ai_usage_events": ["user_id", "status", "error_kind", "created_at", "completed_at"]},
    "previews": {"preview_jobs": ["created_at"]},
    "latency": {
        "ai_usage_events": ["status", "created_at", "completed_at"],
        "preview_jobs": ["status", "created_at", "completed_at"],
    },
    "jobs": {"ai_usage_events": ["status", "created_at"], "preview_jobs": ["status", "created_at"]},
    "cost": {"ai_usage_events": ["model", "prompt_tokens", "completion_tokens", "completed_at"]},
    "rollup": {"usage_analytics_daily": ["date", "dau"]},
    "charts": {"ai_usage_events": ["status", "created_at", "completed_at"]},
    "incidents": {
        "ai_usage_events": ["id", "status", "provider", "model", "error_kind", "completed_at"],
        "preview_jobs": ["id", "status", "error_kind", "completed_at"],
    },
    "top_users": {"ai_usage_events": ["user_id", "created_at"], "users": ["id", "username", "email"]},
}
"""The tables and columns that each collector requires."""

"""Collectors without metrics."""


def failure(collector: Collector, database: str, redis_url: str) -> tuple[str, str]:
    """Kind and detail of a failing refresh, during which the source counts as reached."""

    async def refresh() -> tuple[str, str]:
        async with sources(database, redis_url) as opened:
            with pytest.raises(CollectionFailed) as raised:
                await collector.refresh(opened)
            assert opened.postgres.reachability.up is True
            assert raised.value.source == "postgres"
            return raised.value.kind, raised.value.detail

    return asyncio.run(refresh())


def test_every_collector_of_postgresql_is_tried(collectors: dict[str, Collector]) -> None:
    assert set(READS) == {name for name, collector in collectors.items() if "postgres" in collector.sources}


@pytest.mark.parametrize("name", list(READS))
def test_what_is_missing_is_said_with_table_and_column(
    name: str,
    connection: psycopg.Connection,
    valkey: redis.Redis,
    valkey_server: ValkeyServer,
    reader: str,
    url_for_reader: Url,
    collectors: dict[str, Collector],
) -> None:
    """The collector works again once the table or column is back."""
    collector, url, redis_url = collectors[name], url_for_reader("public"), valkey_server.url
    seed(connection, valkey, datetime.now(UTC))  # without requests of users, their names are not read
    for other in collector.needs if isinstance(collector, Dependent) else ():
        asyncio.run(refreshed(collectors[other], url, redis_url))
    for table, columns in READS[name].items():
        if table != "usage_analytics_daily":  # the table of the roll-up may not exist yet
            connection.execute(f"ALTER TABLE {table} RENAME TO elsewhere".encode())
            kind, detail = failure(collector, url, redis_url)
            assert (kind, f'"{table}"' in detail) == ("undefined_table", True), detail
            connection.execute(f"ALTER TABLE elsewhere RENAME TO {table}".encode())
        connection.execute(f"REVOKE SELECT ON {table} FROM {reader}".encode())
        kind, detail = failure(collector, url, redis_url)
        assert (kind, table in detail) == ("insufficient_privilege", True), detail
        connection.execute(f"GRANT SELECT ON {table} TO {reader}".encode())
        for column in columns:
            connection.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO elsewhere".encode())
            kind, detail = failure(collector, url, redis_url)
            assert (kind, f"{table}.{column}" in detail) == ("undefined_column", True), detail
            connection.execute(f"ALTER TABLE {table} RENAME COLUMN elsewhere TO {column}".encode())

    asyncio.run(refreshed(collector, url, redis_url))


async def refreshed(collector: Collector, url: str, redis_url: str) -> None:
    async with sources(url, redis_url) as opened:
        await collector.refresh(opened)


def test_nothing_else_of_the_tables_is_read(
    connection: psycopg.Connection,
    valkey: redis.Redis,
    valkey_server: ValkeyServer,
    reader: str,
    url_for_reader: Url,
    collectors: dict[str, Collector],
) -> None:
    """A role with SELECT on these columns is enough: e-mail addresses and names are read by the collectors of the page
    alone, and projects are only counted."""
    url = url_for_reader("public")
    seed(connection, valkey, NOW)
    reads = [of for name, of in READS.items() if name not in FOR_THE_PAGE]
    collectors = {name: collector for name, collector in collectors.items() if name not in FOR_THE_PAGE}
    for table in sorted({table for of in reads for table in of}):
        columns = {column for of in reads for column in of.get(table, ())} or {"id"}
        connection.execute(
            sql.SQL("REVOKE SELECT ON {table} FROM {reader}; GRANT SELECT ({columns}) ON {table} TO {reader}").format(
                table=sql.Identifier(table),
                reader=sql.Identifier(reader),
                columns=sql.SQL(", ").join(map(sql.Identifier, sorted(columns))),
            )
        )
    assert metrics(collectors, url, valkey_server.url, NOW) == pytest.approx(EXPECTED, rel=1e-12)
