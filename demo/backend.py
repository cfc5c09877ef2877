"""The outputs of HiveSync's made-up backend: its database, its Redis and its two log files.

Either server may be unreachable for a while, as in a rehearsed failure: the connections recover by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.typing import EncodableT, FieldT

from demo.event_log import EventLog

RedisFields = dict[FieldT, EncodableT]

AWAY = (psycopg.Error, redis.RedisError, OSError)
"""Errors of an operation while one of the systems is unreachable or was tampered with."""


class Backend:
    """The connections and log files of one made-up backend; for a single thread."""

    def __init__(self, database_url: str, redis_url: str, log_directory: Path, rng: Random) -> None:
        self.rng = rng
        self.ai_log = EventLog(log_directory / "ai-events.log", rng)
        self.preview_log = EventLog(log_directory / "preview.log", rng)
        self.redis = redis.Redis.from_url(
            redis_url, decode_responses=True, socket_timeout=2, retry=Retry(NoBackoff(), 0)
        )
        self._database_url = database_url
        self._database: psycopg.Connection[tuple[Any, ...]] | None = None

    def execute(
        self, statement: str, parameters: Sequence[object] | Mapping[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        """Run one statement in a transaction of its own; return its rows, if it has any."""
        if self._database is None or self._database.closed:
            self._database = psycopg.connect(self._database_url, autocommit=True, connect_timeout=2)
        cursor = self._database.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Close all connections and files."""
        for handle in (self.ai_log, self.preview_log, self.redis, self._database):
            if handle is not None:
                handle.close()
