"""The HiveSync that works: tables with a past on PostgreSQL, queues of Celery on Valkey, and jobs of the present."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import redis

from servers.ports import LOOPBACK
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.adapters.hivesync import TABLES, fill, numbers
from tests.celery_app import application, release
from tests.waiting import until

JOB_TABLES = {"ai_tasks": "ai_jobs", "preview_tasks": "preview_sessions"}

HOLD_SECONDS = 1_800
"""Longer than the test on any machine."""


class HiveSync:
    """The HiveSync that exists: tables with a past, the broker, and the jobs of the present."""

    def __init__(self, server: PostgresServer, broker: ValkeyServer) -> None:
        self.server, self.broker = server, broker
        self.password = secrets.token_hex()
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(f"CREATE ROLE hivesync SUPERUSER LOGIN PASSWORD '{self.password}'".encode())
            admin.execute("CREATE DATABASE hivesync OWNER hivesync")
        url = f"postgresql://hivesync:{self.password}@{LOOPBACK}:{server.port}/hivesync"
        self.database = psycopg.connect(url, autocommit=True)
        self.database.execute(TABLES.encode())
        fill(self.database, datetime.now(UTC))
        self.database.execute("ANALYZE")
        self.queues = redis.Redis.from_url(broker.url, decode_responses=True)
        self.app = application(broker.url)
        for table in JOB_TABLES.values():
            # No job of the past waits: HiveSync gives each up after a while. All are quick.
            self.execute(
                f"UPDATE {table} SET status = 'failed', error = 'stuck_timeout', completed_at = created_at"
                " WHERE status IN ('queued', 'running')"
            )
            self.execute(f"UPDATE {table} SET completed_at = created_at + (completed_at - created_at) / 10")
        self.app.send_task("gone", queue="dlq_tasks")
        self.app.send_task("of maps", queue="map_tasks")

    def close(self) -> None:
        """Let a worker stop, and close the connections."""
        release(self.queues, 20)
        self.app.close()
        self.queues.close()
        self.database.close()

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on HiveSync's own tables."""
        cursor = self.database.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []

    def request(self, queue: str, *priorities: int) -> None:
        """Begin jobs as HiveSync's API does: a row and a message each."""
        for priority in priorities:
            self.execute(f"INSERT INTO {JOB_TABLES[queue]} (user_id, status) SELECT id, 'queued' FROM users LIMIT 1")
            self.app.send_task("hold", args=[HOLD_SECONDS], queue=queue, priority=priority)

    def begin(self, queue: str) -> None:
        """Mark the oldest waiting job as running, as the worker's task does."""
        table = JOB_TABLES[queue]
        oldest = f"SELECT id FROM {table} WHERE status = 'queued' ORDER BY created_at LIMIT 1"
        self.execute(f"UPDATE {table} SET status = 'running' WHERE id = ({oldest})")

    def finish(self) -> None:
        """Let all jobs end."""
        release(self.queues, sum(map(self.waiting_and_running, JOB_TABLES)))
        for table in JOB_TABLES.values():
            self.execute(
                f"UPDATE {table} SET status = 'succeeded', completed_at = created_at + interval '2 s'"
                " WHERE status IN ('queued', 'running')"
            )
        until(
            lambda: not self.queues.exists("test:released", "unacked") and not any(map(self.listed, JOB_TABLES)),
            "every message is acknowledged",
        )

    def numbers(self, paths: Mapping[str, str]) -> dict[str, Any]:
        """The present numbers by HiveSync's own tables, by their paths in the API."""
        found = numbers(self.database, datetime.now(UTC))
        return {path: pytest.approx(found[name]) for path, name in paths.items()}

    def waiting_and_running(self, queue: str) -> int:
        """Jobs that have not ended, by HiveSync's tables."""
        table = JOB_TABLES[queue]
        ((count,),) = self.execute(f"SELECT count(*) FROM {table} WHERE status IN ('queued', 'running')")
        return int(count)

    def listed(self, queue: str) -> int:
        """Messages in a queue's lists of all priorities."""
        return sum(self.queues.llen(key) for key in self.queues.keys(f"{queue}*"))
