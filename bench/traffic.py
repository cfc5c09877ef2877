"""Live traffic during a measurement: each table grows at its own rate, jobs end, users sign up and change plans.

One thread, one connection per database; its cost is booked on its own role, the superuser.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from threading import Event, Lock, Thread

import psycopg

from bench.data import Database

TICK_SECONDS = 1.0
HEARTBEAT_TICKS = 15
PEOPLE_TICKS = 15
"""Ticks between new users with a project, and between changes of plan: four of each per minute."""

_FINISH_AI = """
UPDATE ai_usage_events SET completed_at = now(), prompt_tokens = 200 + draw * 31, completion_tokens = 100 + draw * 17,
       status = CASE WHEN draw < 92 THEN 'succeeded' WHEN draw < 98 THEN 'failed' ELSE 'cancelled' END,
       error_kind = CASE WHEN draw BETWEEN 92 AND 97 THEN 'timeout' END
FROM (SELECT id AS job, abs(hashtext(id::text)) % 100 AS draw FROM ai_usage_events
      WHERE created_at > now() - interval '10 minutes' AND completed_at IS NULL
        AND created_at < now() - (2 + abs(hashtext(id::text)) % 16) * interval '1 second') AS due
WHERE id = job
"""
_FINISH_PREVIEWS = """
UPDATE preview_jobs SET completed_at = now(), status = 'succeeded'
WHERE created_at > now() - interval '10 minutes' AND completed_at IS NULL
  AND created_at < now() - (5 + abs(hashtext(id::text)) % 40) * interval '1 second'
"""
_BEAT = """
UPDATE sessions SET last_heartbeat_at = now()
WHERE last_heartbeat_at > now() - interval '1 minute' AND ended_at IS NULL AND abs(hashtext(id::text)) % 100 >= 8
"""
_LEAVE = """
UPDATE sessions SET ended_at = now() WHERE id IN (
  SELECT id FROM sessions WHERE last_heartbeat_at > now() - interval '1 minute' AND ended_at IS NULL
    AND created_at < now() - (5 + abs(hashtext(id::text)) % 120) * interval '1 minute')
"""
_PROJECT = "INSERT INTO projects (owner_id, name) VALUES (bench.id('user', %(user)s), 'new')"
_UPGRADE = "INSERT INTO subscriptions (user_id, plan) VALUES (bench.id('user', %(user)s), 'pro')"
_CANCEL = """
UPDATE subscriptions SET status = 'canceled', ended_at = now()
WHERE user_id = bench.id('user', %(user)s) AND ended_at IS NULL
"""


class Traffic:
    """Live traffic in some databases within a `with` block, suspended while paused."""

    def __init__(self, databases: Sequence[Database], seed: int) -> None:
        self._databases = databases
        self._random = random.Random(seed)
        self._stop = Event()
        self._running = Lock()  # held to keep the rows unchanged
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Traffic:
        """Insert the rows due since the creation of the databases, then start the live traffic."""
        with psycopg.connect(self._databases[0].server.url) as connection:
            (now,) = connection.execute("SELECT now()").fetchone() or ()
        for database in self._databases:
            with _connect(database) as connection:
                database.catch_up(connection, now)
                connection.execute(_FINISH_AI.encode())
                connection.execute(_FINISH_PREVIEWS.encode())
            with _connect(database) as connection:
                connection.autocommit = True
                connection.execute("VACUUM ANALYZE")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    @property
    def paused(self) -> Lock:
        """A context manager in which no row changes."""
        return self._running

    def _run(self) -> None:
        connections = [_connect(database) for database in self._databases]
        try:
            ticks = 0
            while not self._stop.wait(TICK_SECONDS):
                with self._running:
                    for database, connection in zip(self._databases, connections, strict=True):
                        with connection.transaction():
                            self._tick(database, connection, ticks)
                ticks += 1
        except psycopg.Error as error:
            self._failure = error
        finally:
            for connection in connections:
                connection.close()

    def _tick(self, database: Database, connection: psycopg.Connection, ticks: int) -> None:
        (now,) = connection.execute("SELECT now()").fetchone() or ()
        assert isinstance(now, datetime)  # noqa: S101  # for mypy: rows have no types
        database.catch_up(connection, now)
        connection.execute(_FINISH_AI.encode())
        connection.execute(_FINISH_PREVIEWS.encode())
        if ticks % HEARTBEAT_TICKS == 0:
            connection.execute(_LEAVE.encode())
            connection.execute(_BEAT.encode())
        if ticks % PEOPLE_TICKS == 0:
            new, other = database.users, self._random.randrange(database.shape.users)
            database.people(connection, new, new, now)
            database.users += 1
            connection.execute(_PROJECT, {"user": new})
            connection.execute((_UPGRADE, _CANCEL)[ticks // PEOPLE_TICKS % 2].encode(), {"user": other})


def _connect(database: Database) -> psycopg.Connection:
    connection = psycopg.connect(database.url)
    connection.execute("SET session_replication_role = replica")  # references hold by construction
    connection.execute("SET timezone = 'UTC'")
    connection.commit()
    return connection
