"""A scenario with every metric and label value, in real servers and logs, with all clocks at NOON.

Used by tests of everything at once: the golden exposition, and the Analytics section.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
import redis

from exporter.collector import Sources
from exporter.settings import Settings
from exporter.sources import Reachability
from exporter.sources.jsonl import JsonlLog
from exporter.sources.postgres import Postgres
from exporter.sources.redis import Redis
from tests.rows import NOON, insert, user, users

PRICES = """
[models."gpt-4.1"]
prompt = 2.0
completion = 8.0

[instances."g5.xlarge"]
spot = 0.45
on-demand = 1.006
"""


def seed_postgres(connection: psycopg.Connection) -> None:
    """Insert rows for every metric and label value."""

    def ago(**time: float) -> Any:
        return NOON - timedelta(**time)

    paid, trial, expired = (user(connection, name) for name in ("paid", "trial", "expired"))
    free = users(connection, 3)
    insert(connection, "subscriptions", user_id=paid, plan="pro")
    insert(connection, "subscriptions", user_id=trial, plan="trial", trial_ends_at=NOON + timedelta(days=3))
    insert(connection, "subscriptions", user_id=expired, plan="trial", trial_ends_at=ago(days=3))
    for name in ("compiler", "parser"):
        insert(connection, "projects", owner_id=paid, name=name)

    for kind, device, who, hours, beat in (
        ("app", "desktop", paid, 3, 30),
        ("app", "ipad", trial, 2, 60),
        ("live_view", "phone", expired, 1, 90),
        ("app", "toaster", free[0], 200, 10),
        ("app", "desktop", free[1], 300, 100_000),
        ("app", "desktop", None, 4, 100_000),
    ):
        columns = {"user_id": who, "kind": kind, "device_type": device}
        insert(connection, "sessions", **columns, created_at=ago(hours=hours), last_heartbeat_at=ago(seconds=beat))

    for who, seconds, took, model in (
        (paid, 50, 20, "gpt-4.1"),
        (paid, 600, 100, "gpt-4.1"),
        (trial, 3_000, 300, "homemade"),
        (trial, 80_000, 60, "gpt-4.1"),
        (paid, 70_000, 60, None),
        (free[2], 20 * 86_400, 60, "gpt-4.1"),
        (None, 40, 10, "gpt-4.1"),
    ):
        insert(
            connection,
            "ai_usage_events",
            user_id=who,
            status="succeeded",
            model=model,
            prompt_tokens=1_000_000,
            completion_tokens=250_000,
            created_at=ago(seconds=seconds),
            completed_at=ago(seconds=seconds - took),
        )
    for error in ("provider_error", "timeout", "safety_rejection", "meteorite", None):
        times = {"created_at": ago(hours=5), "completed_at": ago(hours=4)}
        insert(connection, "ai_usage_events", user_id=paid, status="failed", error_kind=error, **times)
    impossible = {"created_at": ago(seconds=10), "completed_at": ago(seconds=20), "prompt_tokens": -1}
    insert(connection, "ai_usage_events", user_id=paid, status="succeeded", **impossible)

    for seconds, took in ((55, 30), (500, 90), (3_500, 600), (50_000, 10)):
        times = {"created_at": ago(seconds=seconds), "completed_at": ago(seconds=seconds - took)}
        insert(connection, "preview_jobs", user_id=free[0], status="succeeded", **times)

    long_ago = {"user_id": None, "created_at": ago(days=40)}
    for table, status, number in (
        ("ai_usage_events", "queued", 9),
        ("ai_usage_events", "running", 2),
        ("preview_jobs", "queued", 1),
        ("preview_jobs", "running", 3),
    ):
        for _ in range(number):
            insert(connection, table, status=status, **long_ago)

    connection.execute("INSERT INTO usage_analytics_daily VALUES ('2026-03-16', 4, 6, 12, 4, 81250.5, 9)")


def seed_valkey(valkey: redis.Redis) -> None:
    """Create all keys but heartbeats: sessions, queues, and invalid keys."""
    valkey.hset("ws_sessions:1", mapping={"user_id": "42", "device_type": "phone"})
    valkey.set("ws_sessions:2", "not a hash")
    for queue, length in {"ai_queue:default": 3, "ai_queue:priority": 1, "preview_queue:default": 2}.items():
        valkey.rpush(queue, *range(length))
    valkey.hset("ai_queue:stats", mapping={"processed": 40, "processing_ms": 90_500})
    valkey.rpush("dlq_tasks", "a message")
    valkey.rpush("dlq_tasks\x06\x163", "another", "one more")
    for number in range(3):
        valkey.hset("unacked", str(number), "a message")
        valkey.zadd("unacked_index", {str(number): NOON.timestamp() - 90 - number})
    valkey.hset("worker:heartbeat:bad", mapping={"kind": "cpu", "last_heartbeat": "yesterday"})


def beat(valkey: redis.Redis, seconds_ago: float) -> None:
    """Store a heartbeat of every worker; one has been silent for ten minutes."""
    gpu = {"kind": "gpu", "state": "active", "instance_type": "g5.xlarge"}
    for worker, fields, silent in (
        ("cpu-1", {"kind": "cpu", "state": "idle"}, seconds_ago),
        ("gpu-1", gpu | {"lifecycle": "spot"}, seconds_ago),
        ("gpu-2", gpu | {"lifecycle": "on-demand"}, 600),
    ):
        mapping: dict[Any, Any] = fields | {"last_heartbeat": str(NOON.timestamp() - silent)}
        valkey.hset(f"worker:heartbeat:{worker}", mapping=mapping)


def write_logs(folder: Path) -> tuple[Path, Path]:
    """Write the two logs: every event and kind of error, invalid lines, and half a line at the end."""

    def lines(events: Iterable[tuple[str, str | None]], *others: bytes) -> bytes:
        known = [orjson.dumps({"event": event, "error_kind": kind}) for event, kind in events]
        return b"\n".join([*known, *others, b'{"event": "half'])

    ai_log, preview_log = folder / "ai-events.log", folder / "preview.log"
    kinds = ("provider_error", "timeout", "timeout", "safety_rejection", "meteorite")
    ai_events = [("ai.requested", None)] * 9 + [("ai.completed", None)] * 3 + [("ai.error", kind) for kind in kinds]
    ai_log.write_bytes(lines(ai_events, b"\xff garbage", b'{"event": "ai.dreamt"}'))
    failures = [("preview.failed", kind) for kind in ("build_error", "timeout", "worker_lost", "meteorite", None)]
    others = ("preview.requested", "preview.completed", "live_view.joined", "live_view.joined", "live_view.left")
    preview_log.write_bytes(lines([*failures, *((event, None) for event in others)], b"[]"))
    return ai_log, preview_log


class NoonRedis(Redis):
    """A Redis with its clock at NOON."""

    async def time(self) -> float:
        await super().time()
        return NOON.timestamp()


def settings_for(database: str, redis_url: str, folder: Path, **others: Any) -> Settings:
    """Settings for these servers; logs and prices are written into the folder."""
    prices = folder / "prices.toml"
    prices.write_text(PRICES)
    ai_log, preview_log = write_logs(folder)
    values: dict[str, Any] = {
        "database_url": database,
        "redis_url": redis_url,
        "ai_events_log": ai_log,
        "preview_log": preview_log,
        "prices_file": prices,
        "dead_letter_keys": ("celery:dlq_tasks",),
        **others,
    }
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]  # pydantic-settings' own keyword


@asynccontextmanager
async def sources_at_noon(settings: Settings) -> AsyncIterator[Sources]:
    """The sources of these settings, with all clocks at NOON."""
    sources = Sources(
        postgres=Postgres(settings.database_url.get_secret_value(), now=NOON),
        redis=NoonRedis(settings.redis_url.get_secret_value()),
        ai_events_log=JsonlLog("ai_events_log", settings.ai_events_log),
        preview_log=JsonlLog("preview_log", settings.preview_log),
    )
    for source in (sources.postgres, sources.redis, sources.ai_events_log, sources.preview_log):
        has_identity = source.reachability.changes is not None
        source.reachability = Reachability(source.name, clock=NOON.timestamp, has_identity=has_identity)
    try:
        yield sources
    finally:
        await sources.postgres.close()
        await sources.redis.close()
        sources.ai_events_log.close()
        sources.preview_log.close()
