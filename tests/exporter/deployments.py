"""One scenario with rows and keys of every kind, its metrics written out, and HiveSync's tables in other shapes: the
metrics must be the same in all of them."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import redis

from demo.database import tables
from exporter.collector import Collector, Counting
from exporter.collectors.online import read_web_sockets
from exporter.definitions import Terms, read_definitions
from exporter.prices import Prices
from exporter.verify import is_defined
from tests.rows import INSTANT, by_name, insert, keep, sources, users

Url = Callable[[str], str]
Build = Callable[[], dict[str, Collector]]

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOW = datetime(2026, 3, 1, 5, 30, tzinfo=UTC)
"""A time in a new month and on a new day in UTC, which has begun elsewhere earlier or later."""

PRICES = """
[models."gpt-4.1"]
prompt = 2
completion = 8
[instances."g5.xlarge"]
spot = 3.6
"""


def seed(connection: psycopg.Connection, valkey: redis.Redis, now: datetime) -> None:
    """Insert six users with rows and keys of every kind, as of `now`."""
    payer, tester, tired, free, idle, _ = users(connection, 6)
    connection.execute("UPDATE users SET created_at = %s", [now - 3 * DAY])
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
    insert(connection, "sessions", user_id=idle, **at(now - 40 * DAY, now - 40 * DAY))
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
    for age in (40, 50):
        insert(connection, "ai_usage_events", status="running", created_at=now - age * DAY)
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
    "hivesync_previously_active_users{30d,returning}": 0,
    "hivesync_previously_active_users{30d,lost}": 1,
    "hivesync_active_users_month_to_date": 2,
    "hivesync_new_users_in_window{24h}": 0,
    "hivesync_new_users_in_window{7d}": 6,
    "hivesync_new_users_in_window{30d}": 6,
    "hivesync_trials_ended_in_window{30d,paid}": 1,
    "hivesync_trials_ended_in_window{30d,trial}": 0,
    "hivesync_trials_ended_in_window{30d,trial_expired}": 1,
    "hivesync_trials_ended_in_window{30d,free}": 0,
    "hivesync_paid_plans_ended_in_window{30d,paid}": 0,
    "hivesync_paid_plans_ended_in_window{30d,trial}": 0,
    "hivesync_paid_plans_ended_in_window{30d,trial_expired}": 0,
    "hivesync_paid_plans_ended_in_window{30d,free}": 1,
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
    "hivesync_ai_requests_ended_month_to_date": 3,
    "hivesync_ai_cost_month_to_date_dollars{tokens}": 2 * 2 + 8,
    "hivesync_ai_cost_month_projected_dollars{tokens}": 12 * 31 * 24 / 5.5,
    "hivesync_ai_cost_month_to_date_dollars{gpu}": 0,
    "hivesync_ai_cost_month_projected_dollars{gpu}": 0,
    "hivesync_queue_depth{ai,default}": 2,
    "hivesync_jobs{ai,waiting}": 6,
    "hivesync_jobs{ai,running}": 2,
    "hivesync_jobs{preview,waiting}": 1,
    "hivesync_jobs{preview,running}": 0,
    "hivesync_oldest_waiting_job_timestamp_seconds{ai}": NOW.timestamp() - 10 * 86_400,
    "hivesync_oldest_waiting_job_timestamp_seconds{preview}": NOW.timestamp() - 3 * 86_400,
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


ID_TYPES = {
    "uuid": "uuid DEFAULT gen_random_uuid() PRIMARY KEY",
    "bigint": "bigint GENERATED BY DEFAULT AS IDENTITY (START WITH 9000000000000000000) PRIMARY KEY",
    "integer": "integer GENERATED BY DEFAULT AS IDENTITY (START WITH 2000000000) PRIMARY KEY",
    "text": "text DEFAULT 'Größe, {\"' || gen_random_uuid() PRIMARY KEY",
    "character varying": "character varying(60) DEFAULT 'id-' || gen_random_uuid() PRIMARY KEY",
    "smallint": "smallint GENERATED BY DEFAULT AS IDENTITY (START WITH 30000) PRIMARY KEY",
    "character(50)": "character(50) DEFAULT 'id-' || gen_random_uuid() PRIMARY KEY",
    "citext": "citext DEFAULT 'Id-' || gen_random_uuid() PRIMARY KEY",
    "user_id": "user_id DEFAULT gen_random_uuid() PRIMARY KEY",
    "user_name": "user_name DEFAULT 'Name-' || gen_random_uuid() PRIMARY KEY",
    "numeric": "numeric DEFAULT nextval('public.numbers') PRIMARY KEY",
}


def create_tables(connection: psycopg.Connection, id_type: str) -> None:
    """Replace HiveSync's tables by tables with ids of this type."""
    connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE SEQUENCE numbers")
    connection.execute("CREATE EXTENSION citext; CREATE DOMAIN user_id AS uuid; CREATE DOMAIN user_name AS citext")
    schema = tables().replace("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "{key}")
    connection.execute(schema.replace(" uuid ", f" {id_type} ").replace("{key}", ID_TYPES[id_type]).encode())


def hide_behind_views(connection: psycopg.Connection) -> None:
    """Rename all tables and columns into another schema, with views of the documented names in `analytics`
    (docs/definitions.md#postgresql)."""
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


def metrics(
    collectors: Mapping[str, Collector], database: str, redis_url: str, now: datetime | None
) -> dict[str, float]:
    """All values of the collectors, except skipped values and resyncs; the summary is checked by its mean."""

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


def from_scratch(collectors: Iterable[Collector], database: str, redis_url: str) -> dict[str, float]:
    """The values of the definitions, as `verify` reads them for the collectors of PostgreSQL."""

    async def read() -> dict[str, Any]:
        samples = []
        terms = Terms(Prices.model_validate(tomllib.loads(PRICES)))
        async with sources(database, redis_url, NOW) as opened, opened.postgres.transaction() as transaction:
            web_sockets, _ = await read_web_sockets(opened.redis, ["ws_sessions:*"])
            for collector in filter(is_defined, collectors):
                samples += await read_definitions(collector.specs, transaction, terms, web_sockets)
        return by_name(samples)

    return asyncio.run(read())
