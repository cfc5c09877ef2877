"""Deployments that are not ours: ids of other types, tables seen through views, a role that may only read, other
clocks and time zones; and tables that are not what they should be (contract §1, §2).

One scenario, its metrics written out once: they must come out the same everywhere.
"""

from __future__ import annotations

import asyncio
import datetime as datetime_module
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from demo.database import tables
from demo.servers import PostgresServer, ValkeyServer
from exporter.collector import Collector, Counting
from exporter.collectors import NEEDS, build_collectors
from exporter.collectors.online import read_web_sockets
from exporter.errors import CollectionFailed
from exporter.oracle import QUERIES, read_from_scratch
from exporter.prices import Prices
from exporter.settings import Settings
from exporter.state import StateFile
from tests.rows import INSTANT, by_name, insert, keep, sources, users

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOW = datetime(2026, 3, 1, 5, 30, tzinfo=UTC)
"""A new month and day in UTC; still, or long since, another one elsewhere."""

PRICES = """
[models."gpt-4.1"]
prompt = 2
completion = 8
[instances."g5.xlarge"]
spot = 3.6
"""


# ---- the scenario ----


def seed(connection: psycopg.Connection, valkey: redis.Redis, now: datetime) -> None:
    """Six users with something of everything, as of `now`."""
    payer, tester, tired, free, idle, _ = users(connection, 6)
    insert(connection, "subscriptions", user_id=payer, plan="pro", status="past_due")
    insert(connection, "subscriptions", user_id=payer, plan="trial", trial_ends_at=now - DAY)
    insert(connection, "subscriptions", user_id=tester, plan="trial", trial_ends_at=now + HOUR)
    insert(connection, "subscriptions", user_id=tired, plan="trial", trial_ends_at=now - HOUR)
    insert(connection, "subscriptions", user_id=free, plan="pro", ended_at=now - HOUR)
    for owner in (payer, None):
        insert(connection, "projects", name="a project", owner_id=owner)

    beating = insert(connection, "sessions", user_id=payer, device_type="desktop", **at(now - DAY / 2, now - MINUTE))
    silent = insert(
        connection, "sessions", user_id=tester, device_type="ipad", kind="live_view", **at(now - 2 * DAY, now - HOUR)
    )
    insert(connection, "sessions", user_id=None, kind="live_view", **at(now - DAY / 2, now - MINUTE))
    keep(valkey, "ws_sessions:1", user_id=payer, session_id=beating, device_type="phone")
    keep(valkey, "ws_sessions:2", user_id=tester, session_id=silent)
    keep(valkey, "ws_sessions:3", user_id=idle, device_type="phone")
    keep(valkey, "ws_sessions:4", session_id="neither uuid nor number")

    for asker, requests in ((payer, 3), (tired, 1), (None, 1)):
        for _ in range(requests):
            insert(connection, "ai_usage_events", user_id=asker, created_at=now - HOUR / 2)
    insert(connection, "ai_usage_events", user_id=free, created_at=now - 10 * DAY)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for completed_at, tokens in ((month - INSTANT, 10**9), (month, 10**6), (now - 10 * MINUTE, 10**6)):
        done = {"status": "succeeded", "created_at": completed_at - 40 * DAY, "completed_at": completed_at}
        insert(
            connection, "ai_usage_events", model="gpt-4.1", prompt_tokens=tokens, completion_tokens=tokens // 2, **done
        )
    insert(
        connection,
        "ai_usage_events",
        status="failed",
        error_kind="timeout",
        created_at=now - 40 * DAY,
        completed_at=now - HOUR,
    )
    insert(connection, "preview_jobs", user_id=tester, created_at=now - 3 * DAY)
    insert(
        connection,
        "preview_jobs",
        status="succeeded",
        created_at=now - 10 * MINUTE - 4 * SECOND,
        completed_at=now - 10 * MINUTE,
    )
    connection.execute(
        "INSERT INTO usage_analytics_daily (date, dau, mau, ai_requests, preview_requests) VALUES (%s, 1, 1, 1, 1)",
        [now.date()],
    )

    valkey.rpush("ai_queue:default", "a", "b")
    keep(valkey, "ai_queue:stats", processed=4, processing_ms=5000)
    for worker, kind, age in (("gpu-1", "gpu", 60), ("cpu-1", "cpu", 200)):
        keep(
            valkey,
            f"worker:heartbeat:{worker}",
            kind=kind,
            state="idle",
            last_heartbeat=(now - age * SECOND).timestamp(),
            instance_type="g5.xlarge",
            lifecycle="spot",
        )


def at(created: datetime, heartbeat: datetime) -> dict[str, datetime]:
    return {"created_at": created, "last_heartbeat_at": heartbeat}


EXPECTED: Mapping[str, float] = {
    "hivesync_users{paid}": 1,
    "hivesync_users{trial}": 1,
    "hivesync_users{trial_expired}": 1,
    "hivesync_users{free}": 3,
    "hivesync_projects": 2,
    "hivesync_online_users": 3,
    "hivesync_online_devices{desktop}": 1,
    "hivesync_online_devices{ipad}": 1,
    "hivesync_online_devices{phone}": 1,
    "hivesync_online_devices{unknown}": 2,
    "hivesync_live_view_sessions": 2,
    "hivesync_active_users{24h,paid}": 1,
    "hivesync_active_users{24h,trial}": 0,
    "hivesync_active_users{24h,trial_expired}": 1,
    "hivesync_active_users{24h,free}": 0,
    "hivesync_active_users{30d,paid}": 1,
    "hivesync_active_users{30d,trial}": 1,
    "hivesync_active_users{30d,trial_expired}": 1,
    "hivesync_active_users{30d,free}": 1,
    "hivesync_ai_requests_in_window{1m}": 0,
    "hivesync_ai_requests_in_window{1h}": 5,
    "hivesync_ai_requests_in_window{24h}": 5,
    "hivesync_ai_requests_per_user{24h,median}": 2,
    "hivesync_ai_requests_per_user{24h,p90}": 2.8,
    "hivesync_ai_requests_per_user{24h,max}": 3,
    "hivesync_ai_errors_in_window{24h,provider_error}": 0,
    "hivesync_ai_errors_in_window{24h,timeout}": 1,
    "hivesync_ai_errors_in_window{24h,safety_rejection}": 0,
    "hivesync_ai_errors_in_window{24h,other}": 0,
    "hivesync_preview_requests_in_window{1m}": 0,
    "hivesync_preview_requests_in_window{1h}": 1,
    "hivesync_preview_requests_in_window{24h}": 1,
    "hivesync_job_latency_average_seconds{ai,15m}": 40 * 86_400,
    "hivesync_job_latency_average_seconds{ai,1h}": 40 * 86_400,
    "hivesync_job_latency_average_seconds{preview,15m}": 4,
    "hivesync_job_latency_average_seconds{preview,1h}": 4,
    "hivesync_ai_tokens_month_to_date{gpt-4.1,prompt}": 2 * 10**6,
    "hivesync_ai_tokens_month_to_date{gpt-4.1,completion}": 10**6,
    "hivesync_ai_tokens_month_to_date{other,prompt}": 0,
    "hivesync_ai_tokens_month_to_date{other,completion}": 0,
    "hivesync_ai_cost_month_to_date_dollars{tokens}": 2 * 2 + 8,
    "hivesync_ai_cost_month_projected_dollars{tokens}": 12 * 31 * 24 / 5.5,
    "hivesync_ai_cost_month_to_date_dollars{gpu}": 0,
    "hivesync_ai_cost_month_projected_dollars{gpu}": 0,
    "hivesync_queue_depth{ai,default}": 2,
    "hivesync_queue_depth{preview,default}": 0,
    "hivesync_worker_healthy{gpu-1,gpu}": 1,
    "hivesync_worker_healthy{cpu-1,cpu}": 0,
    "hivesync_worker_last_heartbeat_timestamp_seconds{gpu-1,gpu}": NOW.timestamp() - 60,
    "hivesync_worker_last_heartbeat_timestamp_seconds{cpu-1,cpu}": NOW.timestamp() - 200,
    "hivesync_gpu_worker_state{gpu-1,active}": 0,
    "hivesync_gpu_worker_state{gpu-1,idle}": 1,
    "hivesync_gpu_worker_state{gpu-1,offline}": 0,
    "hivesync_gpu_worker_info{gpu-1,g5.xlarge,spot}": 1,
    "hivesync_gpu_instance_seconds_total{g5.xlarge,spot}": 0,
    "hivesync_rollup_latest_day_timestamp_seconds": NOW.timestamp() - 5.5 * 3600,
}
"""Every metric of the scenario at NOW, by `metric{label values}`."""


# ---- the deployments ----

ID_TYPES = {
    "uuid": "uuid DEFAULT gen_random_uuid() PRIMARY KEY",
    "bigint": "bigint GENERATED BY DEFAULT AS IDENTITY (START WITH 9000000000000000000) PRIMARY KEY",
    "integer": "integer GENERATED BY DEFAULT AS IDENTITY (START WITH 2000000000) PRIMARY KEY",
    "text": "text DEFAULT 'Größe, {\"' || gen_random_uuid() PRIMARY KEY",
    "character varying": "character varying(60) DEFAULT 'id-' || gen_random_uuid() PRIMARY KEY",
    "numeric": "numeric DEFAULT nextval('public.numbers') PRIMARY KEY",
}


def create_tables(connection: psycopg.Connection, id_type: str) -> None:
    """HiveSync's tables with ids of this type, in place of those that are there."""
    connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE SEQUENCE numbers")
    schema = tables().replace("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "{key}")
    connection.execute(schema.replace(" uuid ", f" {id_type} ").replace("{key}", ID_TYPES[id_type]).encode())


def hide_behind_views(connection: psycopg.Connection) -> None:
    """Other names for all tables and columns, in another schema; views of the contract's names in `analytics`."""
    connection.execute("CREATE SCHEMA core; CREATE SCHEMA analytics")
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    ):
        columns.setdefault(table, []).append(column)
    assert len(columns) == 7
    for table, names in columns.items():
        connection.execute(f"ALTER TABLE {table} SET SCHEMA core".encode())
        for name in names:
            connection.execute(f"ALTER TABLE core.{table} RENAME COLUMN {name} TO the_{name}".encode())
        connection.execute(f"ALTER TABLE core.{table} RENAME TO hs_{table}".encode())
        renamed = ", ".join(f"the_{name} AS {name}" for name in names)
        connection.execute(f"CREATE VIEW analytics.{table} AS SELECT {renamed} FROM core.hs_{table}".encode())
    connection.execute("SET search_path = analytics")


@pytest.fixture
def reader(postgres_server: PostgresServer, database: str, connection: psycopg.Connection) -> Iterator[str]:
    """The name of a role that may connect to the test's database and nothing else."""
    name = f"reader_{uuid4().hex}"
    connection.execute(f"CREATE ROLE {name} LOGIN".encode())
    yield name
    connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


Url = Callable[[str], str]


@pytest.fixture
def url_for_reader(postgres_server: PostgresServer, database: str, reader: str, connection: psycopg.Connection) -> Url:
    """The exporter's URL for tables in a schema, on which its role gets SELECT and nothing else."""

    def url(schema: str) -> str:
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {reader}".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}".encode())
        plain = postgres_server.url_of(str(conninfo_to_dict(database)["dbname"]), reader)
        return plain if schema == "public" else f"{plain}?options=-csearch_path%3D{schema}"

    return url


Build = Callable[[], dict[str, Collector]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Makes every collector but those of logs, as the exporter does; by name."""
    (tmp_path / "prices.toml").write_text(PRICES)
    settings = Settings.model_construct(prices_file=tmp_path / "prices.toml")

    def collectors() -> dict[str, Collector]:
        every = build_collectors(settings, lambda name: StateFile(tmp_path, name))
        chosen = {collector.name: collector for collector in every if set(collector.sources) <= {"postgres", "redis"}}
        assert len(chosen) == 13
        return chosen

    return collectors


@pytest.fixture
def collectors(build: Build) -> dict[str, Collector]:
    """One of each."""
    return build()


def metrics(
    collectors: Mapping[str, Collector], database: str, redis_url: str, now: datetime | None
) -> dict[str, float]:
    """All that they show but what was skipped and how the past was looked at; and a summary as its mean."""

    async def refresh() -> dict[str, Any]:
        samples = []
        async with sources(database, redis_url, now) as opened:
            for collector in collectors.values():
                samples += [*await collector.refresh(opened)]
                samples += [*collector.counters()] if isinstance(collector, Counting) else []
        return by_name(samples)

    values = asyncio.run(refresh())
    processing = values.pop("hivesync_queue_processing_seconds{ai}")
    assert processing.total / processing.count == 1.25
    return {
        name: v for name, v in values.items() if not name.startswith(("hivesync_skipped_values", "hivesync_resync"))
    }


def from_scratch(database: str, redis_url: str) -> dict[str, float]:
    """What `verify` holds the collectors of PostgreSQL against."""

    async def read() -> dict[str, Any]:
        samples = []
        prices = Prices.model_validate(tomllib.loads(PRICES))
        async with sources(database, redis_url, NOW) as opened, opened.postgres.transaction() as transaction:
            web_sockets, _ = await read_web_sockets(opened.redis, ["ws_sessions:*"])
            for name in QUERIES:
                samples += await read_from_scratch(name, transaction, web_sockets, prices)
        return by_name(samples)

    return asyncio.run(read())


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
    told = from_scratch(url, valkey_server.url)
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
    """This process' clock is off: what Python can be asked for the time says something else."""

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
    """With the servers' real clocks: nothing changes when this process believes in another day."""
    row = connection.execute("SELECT now()").fetchone()
    assert row is not None
    seed(connection, valkey, row[0])
    told = metrics(build(), database, valkey_server.url, None)
    with own_clock_off(timedelta(hours=hours)):
        told_otherwise = metrics(build(), database, valkey_server.url, None)
    projected = {name for name in told if "projected" in name}  # goes on with the seconds
    assert {name: told_otherwise[name] for name in told if name not in projected} == {
        name: told[name] for name in told if name not in projected
    }
    for name in ("hivesync_worker_healthy{gpu-1,gpu}", "hivesync_online_users", "hivesync_ai_requests_in_window{1h}"):
        assert told[name] == EXPECTED[name]


# ---- tables that are not what they should be ----

READS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "users": {
        "users": ["id"],
        "subscriptions": ["user_id", "plan", "status", "trial_ends_at", "ended_at"],
        "projects": [],
    },
    "online": {"sessions": ["id", "user_id", "kind", "device_type", "last_heartbeat_at", "ended_at"]},
    "activity": {
        "sessions": ["user_id", "created_at"],
        "ai_usage_events": ["user_id", "created_at"],
        "preview_jobs": ["user_id", "created_at"],
        "users": ["id"],
        "subscriptions": ["user_id", "plan", "status", "trial_ends_at", "ended_at"],
    },
    "ai": {"ai_usage_events": ["user_id", "status", "error_kind", "created_at", "completed_at"]},
    "previews": {"preview_jobs": ["created_at"]},
    "latency": {
        "ai_usage_events": ["status", "created_at", "completed_at"],
        "preview_jobs": ["status", "created_at", "completed_at"],
    },
    "cost": {"ai_usage_events": ["model", "prompt_tokens", "completion_tokens", "completed_at"]},
    "rollup": {"usage_analytics_daily": ["date", "dau"]},
    "charts": {"ai_usage_events": ["status", "created_at", "completed_at"]},
    "incidents": {
        "ai_usage_events": ["id", "status", "provider", "model", "error_kind", "completed_at"],
        "preview_jobs": ["id", "status", "error_kind", "completed_at"],
    },
    "top_users": {"ai_usage_events": ["user_id", "created_at"], "users": ["id", "username", "email"]},
}
"""The tables and columns each collector cannot do without."""

FOR_THE_PAGE = ("charts", "incidents", "top_users")
"""Collectors that make no metrics."""


def failure(collector: Collector, database: str, redis_url: str) -> tuple[str, str]:
    """Kind and detail of a refresh that fails, while the source counts as reached."""

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
    """And once it is there again, all is well."""
    collector, url, redis_url = collectors[name], url_for_reader("public"), valkey_server.url
    seed(connection, valkey, datetime.now(UTC))  # who is nobody's user is not asked after
    for other in NEEDS.get(name, ()):
        asyncio.run(refreshed(collectors[other], url, redis_url))
    for table, columns in READS[name].items():
        if table != "usage_analytics_daily":  # is not HiveSync's, and may not be there yet
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
    """A role that may see these columns alone is enough: no e-mail, no name, no project is asked for, but by what is
    for the page."""
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
