"""Live traffic of the database and of Redis, each in a thread of its own, which a fault may stop without the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from threading import Event, Lock, Thread
from typing import Any, Self, cast

import psycopg
import redis

TICK_SECONDS = 0.2
QUEUES = ("ai_queue:default", "ai_queue:priority", "preview_queue:default")
WORKERS = ("gpu-1", "cpu-1")
STATEMENT_LIMITS = "-c lock_timeout=200 -c statement_timeout=2000"

_EVENTS = """
INSERT INTO ai_usage_events (user_id, model, status, prompt_tokens, completion_tokens, created_at, completed_at)
SELECT id, 'gpt-4.1', 'succeeded', 100, 50, now() - interval '2 seconds', now() FROM users ORDER BY random() LIMIT 2
"""
_BEAT = "UPDATE sessions SET last_heartbeat_at = now() WHERE id = (SELECT id FROM sessions ORDER BY random() LIMIT 1)"
_PEOPLE = "INSERT INTO users (email, username) SELECT text, text FROM (SELECT gen_random_uuid()::text AS text) AS new"
_PREVIEW = """
INSERT INTO preview_jobs (user_id, status, created_at, completed_at)
SELECT id, 'succeeded', now() - interval '3 seconds', now() FROM users ORDER BY random() LIMIT 1
"""


class LiveTraffic:
    """LiveTraffic within a `with` block; a server that does not answer is tried again at the next tick."""

    def __init__(self, database_url: str, redis_url: str, seed: int, *, new_users: bool = True) -> None:
        self._statements = (_EVENTS, _EVENTS, _BEAT, _PREVIEW, *((_PEOPLE,) if new_users else ()))
        self._database_url, self._redis_url = database_url, redis_url
        self._random = Random(seed)
        self._over = Event()
        self._redis_writing = Lock()
        self._threads = [
            Thread(target=work, name="traffic", daemon=True) for work in (self._keep_database, self._keep_redis)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=5)

    @contextmanager
    def redis_paused(self) -> Iterator[None]:
        """Write nothing to Redis within the block."""
        with self._redis_writing:
            yield

    def _keep_database(self) -> None:
        keep_executing(self._database_url, self._over, lambda: self._random.choice(self._statements))

    def _keep_redis(self) -> None:
        with redis.Redis.from_url(self._redis_url, socket_timeout=1) as client:
            while not self._over.wait(TICK_SECONDS):
                try:
                    with self._redis_writing:
                        self._write(client)
                except redis.RedisError:
                    continue

    def _write(self, client: redis.Redis) -> None:
        queue = self._random.choice(QUEUES)
        if client.llen(queue) > 5:
            client.lpop(queue)
        else:
            client.rpush(queue, "a job")
        client.hincrby("ai_queue:stats", "processed", 1)
        client.hincrby("ai_queue:stats", "processing_ms", 1500)
        for worker in WORKERS:
            fields = {"kind": worker[:3], "state": "active", "instance_type": "g5.xlarge", "lifecycle": "spot"}
            _store(client, f"worker:heartbeat:{worker}", fields | {"last_heartbeat": f"{time.time():.3f}"}, 3600)
        socket = self._random.randrange(20)
        _store(client, f"ws_sessions:{socket}", {"user_id": f"guest-{socket}", "device_type": "phone"}, 5)


def keep_executing(
    url: str, over: Event, choose: Callable[[], str], done: Callable[[int], None] = lambda _: None
) -> None:
    """Execute a statement at each tick until it is over; after a failure, the next one at the next tick. `done` gets
    the number of rows of each statement that was executed."""
    connection: psycopg.Connection | None = None
    while not over.wait(TICK_SECONDS):
        try:
            if connection is None:
                connection = psycopg.connect(url, autocommit=True, connect_timeout=2, options=STATEMENT_LIMITS)
            done(connection.execute(choose().encode()).rowcount)
        except psycopg.Error:
            if connection is not None and (connection.broken or connection.closed):
                connection = None
    if connection is not None:
        connection.close()


def _store(client: redis.Redis, key: str, fields: Mapping[str, str], seconds: int) -> None:
    client.hset(key, mapping=cast("dict[Any, Any]", fields))
    client.expire(key, seconds)
