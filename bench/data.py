"""HiveSync's tables filled with made-up rows, fast: `INSERT ... SELECT` from `generate_series`, indexes afterwards.

Row number i of a table is the same in every run with the same seed; its creation time is i steps after the beginning of
the thirty days. The rows before that beginning have negative numbers, at the same rate; the rows of live traffic
(`traffic.py`) have the numbers after the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread

import psycopg

from demo.database import EXPORTER_ROLE, READING, SCHEMA, create_role
from servers.postgres import PostgresServer

DAYS = 30
PER_AI_EVENT = {"ai_usage_events": 1.0, "sessions": 0.25, "preview_jobs": 0.25}
"""Rows of each table of events per row of AI usage: about HiveSync's proportions."""

HISTORY = 10
"""Length of the longer history, in multiples of thirty days."""

BYTES_PER_AI_EVENT = 450
"""Bytes on disk per AI event, with its share of the other tables and all indexes; for the check of free space."""

HEAVY_TAIL = 3
"""Exponent of the distribution of events over users: of users 0 to n-1, user n * uniform^3 acts. A hundredth of the
users makes a fifth of the requests, the last ones hardly any."""

_PROCEDURES = """
CREATE SCHEMA bench;
CREATE FUNCTION bench.uniform(i bigint, salt bigint) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS 'SELECT (hashint8extended(i, salt + 100000 * {seed}) & 9007199254740991) / 9007199254740992::float8';
CREATE FUNCTION bench.exponential(i bigint, salt bigint) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS 'SELECT -ln(1 - bench.uniform(i, salt))';
CREATE FUNCTION bench.id(kind text, i bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS 'SELECT md5(kind || i::text)::uuid';
"""

_USERS = """
INSERT INTO users (id, email, username, created_at, last_login_at)
SELECT bench.id('user', i), 'user' || i || '@example.org', 'user' || i,
       %(end)s::timestamptz - bench.uniform(i, 10) * interval '600 days', %(end)s
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS i
"""

_PROJECTS = """
INSERT INTO projects (id, owner_id, name)
SELECT bench.id('project', i), bench.id('user', i), 'project ' || i
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS i
"""

# Four users in ten have a subscription: pro, past due, a running trial, an expired trial, cancelled, free.
_SUBSCRIPTIONS = """
INSERT INTO subscriptions (id, user_id, plan, status, started_at, trial_ends_at, ended_at)
SELECT bench.id('subscription', i), bench.id('user', i),
       CASE WHEN kind < 20 THEN 'pro' WHEN kind < 32 THEN 'trial' WHEN kind < 36 THEN 'pro' ELSE 'free' END,
       CASE WHEN kind < 18 THEN 'active' WHEN kind < 20 THEN 'past_due' WHEN kind < 25 THEN 'active'
            WHEN kind < 32 THEN 'expired' WHEN kind < 36 THEN 'canceled' ELSE 'active' END,
       at - interval '40 days',
       CASE WHEN kind BETWEEN 20 AND 24 THEN at + bench.uniform(i, 12) * interval '14 days'
            WHEN kind BETWEEN 25 AND 31 THEN at - bench.uniform(i, 12) * interval '30 days' END,
       CASE WHEN kind BETWEEN 32 AND 35 THEN at - bench.uniform(i, 12) * interval '30 days' END
FROM (SELECT i, (bench.uniform(i, 11) * 100)::int AS kind, %(end)s::timestamptz AS at
      FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS i) AS users
WHERE kind < 40
"""

_WHEN = """
FROM (SELECT i, %(start)s::timestamptz + (i + bench.uniform(i, {salt})) * %(step)s * interval '1 second' AS at
      FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS i) AS moments
"""

# A few rows have no user, as after the deletion of an account. With `even`, each user acts in turn.
_WHO = """
CASE WHEN bench.uniform(i, {salt} + 1) < 0.01 THEN NULL ELSE bench.id('user',
     CASE WHEN %(even)s THEN i %% %(users)s + CASE WHEN i < 0 THEN %(users)s ELSE 0 END
          ELSE floor(%(users)s * bench.uniform(i, {salt} + 2) ^ %(tail)s)::bigint END) END
"""

_AI = f"""
INSERT INTO ai_usage_events (id, user_id, project_id, provider, model, status, error_kind, prompt_tokens,
                             completion_tokens, created_at, completed_at)
SELECT bench.id('ai', i), who, bench.id('project', (bench.uniform(i, 24) * (%(projects)s - 1))::bigint),
       CASE WHEN kind < 70 THEN 'openai' ELSE 'local' END,
       CASE WHEN kind < 40 THEN 'gpt-4.1' WHEN kind < 70 THEN 'gpt-4.1-mini' ELSE 'llama-3-70b' END,
       CASE WHEN done IS NULL THEN 'running' WHEN outcome < 92 THEN 'succeeded' WHEN outcome < 98 THEN 'failed'
            ELSE 'cancelled' END,
       CASE WHEN done IS NOT NULL AND outcome BETWEEN 92 AND 97
            THEN (ARRAY['provider_error', 'timeout', 'safety_rejection'])[1 + kind %% 3] END,
       CASE WHEN done IS NOT NULL THEN 200 + kind * 31 END,
       CASE WHEN done IS NOT NULL THEN 100 + kind * 17 END, at, done
FROM (SELECT i, at, {_WHO.format(salt=20)} AS who, floor(bench.uniform(i, 25) * 100)::int AS kind,
             floor(bench.uniform(i, 26) * 100)::int AS outcome,
             CASE WHEN ends <= %(end)s THEN ends END AS done
      FROM (SELECT i, at, at + (2 + 8 * bench.exponential(i, 27)) * interval '1 second' AS ends
            {_WHEN.format(salt=1000)}) AS jobs) AS requests
"""

_PREVIEWS = f"""
INSERT INTO preview_jobs (id, user_id, project_id, status, error_kind, created_at, completed_at)
SELECT bench.id('preview', i), who, bench.id('project', (bench.uniform(i, 34) * (%(projects)s - 1))::bigint),
       CASE WHEN done IS NULL THEN 'running' WHEN outcome < 94 THEN 'succeeded' ELSE 'failed' END,
       CASE WHEN done IS NOT NULL AND outcome >= 94 THEN 'build_error' END, at, done
FROM (SELECT i, at, {_WHO.format(salt=30)} AS who, floor(bench.uniform(i, 36) * 100)::int AS outcome,
             CASE WHEN ends <= %(end)s THEN ends END AS done
      FROM (SELECT i, at, at + (5 + 20 * bench.exponential(i, 37)) * interval '1 second' AS ends
            {_WHEN.format(salt=2000)}) AS jobs) AS requests
"""

_SESSIONS = f"""
INSERT INTO sessions (id, user_id, kind, device_type, created_at, last_heartbeat_at, ended_at)
SELECT bench.id('session', i), who, CASE WHEN draw < 20 THEN 'live_view' ELSE 'app' END,
       (ARRAY['desktop', 'desktop', 'desktop', 'phone', 'ipad', NULL])[1 + draw %% 6], at,
       greatest(at, least(ends, %(end)s) - bench.uniform(i, 46) * interval '20 seconds'),
       CASE WHEN ends <= %(end)s AND draw >= 8 THEN ends END
FROM (SELECT i, at, {_WHO.format(salt=40)} AS who, floor(bench.uniform(i, 45) * 100)::int AS draw,
             at + bench.exponential(i, 47) * interval '40 minutes' AS ends {_WHEN.format(salt=3000)}) AS visits
"""

EVENTS = {"ai_usage_events": _AI, "sessions": _SESSIONS, "preview_jobs": _PREVIEWS}


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a database: its number of users (one in ten with a project), and its number of AI events over a
    number of days.

    `even`: the users act in turn, instead of a few of them very often.
    """

    users: int
    ai_events: int
    days: int = DAYS
    even: bool = False

    def rows(self, table: str) -> int:
        """Return the number of rows of a table of events."""
        return max(1, round(self.ai_events * PER_AI_EVENT[table]))

    def step(self, table: str) -> float:
        """Return the seconds between two successive rows of a table."""
        return self.days * 86_400 / self.rows(table)


class Database:
    """A database of the server, with the number of the next row of each table."""

    def __init__(self, server: PostgresServer, name: str, shape: Shape, start: datetime) -> None:
        self.server, self.name, self.shape = server, name, shape
        self.start = start
        self.users = shape.users
        self.next_row = {table: shape.rows(table) for table in EVENTS}

    @property
    def url(self) -> str:
        """The superuser's connection URL."""
        return self.server.url_of(self.name)

    def url_as(self, role: str) -> str:
        """Return the connection URL of another role."""
        return self.server.url_of(self.name, role)

    def events(self, connection: psycopg.Connection, table: str, first: int, last: int, end: datetime) -> None:
        """Insert the rows `first` to `last` in their state at `end`."""
        values = {
            "first": first,
            "last": last,
            "end": end,
            "start": self.start,
            "step": self.shape.step(table),
            "even": self.shape.even,
            "users": self.shape.users,
            "projects": self.projects,
            "tail": HEAVY_TAIL,
        }
        connection.execute(EVENTS[table].encode(), values)

    @property
    def projects(self) -> int:
        """Initial number of projects."""
        return max(1, self.shape.users // 10)

    def people(self, connection: psycopg.Connection, first: int, last: int, end: datetime) -> None:
        """Insert users `first` to `last` with their subscriptions."""
        values = {"first": first, "last": last, "end": end}
        connection.execute(_USERS.encode(), values)
        connection.execute(_SUBSCRIPTIONS.encode(), values)

    def catch_up(self, connection: psycopg.Connection, until: datetime) -> None:
        """Insert the rows due since the last row and until `until`, in this transaction."""
        for table in EVENTS:
            age = (until - self.start).total_seconds()
            last = int(age / self.shape.step(table)) - 1
            if last >= self.next_row[table]:
                self.events(connection, table, self.next_row[table], last, until)
                self.next_row[table] = last + 1


def create(server: PostgresServer, name: str, shape: Shape, seed: int) -> Database:
    """Create a database of that shape, indexed, vacuumed and analysed; its last row dates from the start of this
    call."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    with psycopg.connect(server.url_of(name), autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.execute(SCHEMA.read_text().encode())
        connection.execute(_PROCEDURES.format(seed=seed).encode())
        (end,) = connection.execute("SELECT now()").fetchone() or ()
        database = Database(server, name, shape, end - timedelta(days=shape.days))
        _grant(connection)
        with _bulk(connection, ("users", "subscriptions", "projects")):
            database.people(connection, 0, shape.users - 1, end)
            connection.execute(_PROJECTS.encode(), {"first": 0, "last": database.projects - 1})
    _fill(database, {table: (0, shape.rows(table) - 1) for table in EVENTS}, end)
    return database


def with_history(database: Database, name: str) -> Database:
    """Copy a database that has received no rows since its creation, and extend the copy to ten times its history."""
    with psycopg.connect(database.server.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{database.name}" STRATEGY file_copy'.encode())
    longer = Database(database.server, name, database.shape, database.start)
    older = {table: (-(HISTORY - 1) * longer.shape.rows(table), -1) for table in EVENTS}
    _fill(longer, older, database.start)
    return longer


def _grant(connection: psycopg.Connection) -> None:
    exists = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (EXPORTER_ROLE,)).fetchone()
    if exists is None:
        create_role(connection, EXPORTER_ROLE)
    connection.execute(READING)


def _fill(database: Database, ranges: dict[str, tuple[int, int]], end: datetime) -> None:
    """Fill each table over a connection of its own, so that two cores are busy."""
    failures: list[BaseException] = []

    def fill(table: str, first: int, last: int) -> None:
        try:
            with psycopg.connect(database.url, autocommit=True) as connection, _bulk(connection, (table,)):
                database.events(connection, table, first, last, end)
        except psycopg.Error as error:
            failures.append(error)

    threads = [Thread(target=fill, args=(table, *ends), daemon=True) for table, ends in ranges.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@contextmanager
def _bulk(connection: psycopg.Connection, tables: tuple[str, ...]) -> Iterator[None]:
    """Run the body without checks of foreign keys and without indexes to maintain row by row; then create the indexes
    and vacuum."""
    connection.execute("SET session_replication_role = replica")
    connection.execute("SET maintenance_work_mem = '512MB'")
    rebuild = [statement for table in tables for statement in _drop_indexes(connection, table)]
    yield
    for statement in rebuild:
        connection.execute(statement.encode())
    for table in tables:
        connection.execute(f"VACUUM (ANALYZE) {table}".encode())


def _drop_indexes(connection: psycopg.Connection, table: str) -> list[str]:
    """Drop a table's indexes, except a primary key that other tables refer to; return the statements that create them
    again."""
    constraints = connection.execute(
        """
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint AS own
        WHERE conrelid = %(table)s::regclass AND contype IN ('p', 'u')
          AND NOT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND conindid = own.conindid)
        """,
        {"table": table},
    ).fetchall()
    indexes = connection.execute(
        """
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
        WHERE indrelid = %(table)s::regclass AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
        """,
        {"table": table},
    ).fetchall()
    for name, _ in constraints:
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}".encode())
    return [f"ALTER TABLE {table} ADD CONSTRAINT {name} {text}" for name, text in constraints] + [
        definition for _, definition in indexes
    ]


def server(directory: Path, memory_bytes: int) -> PostgresServer:
    """Return a PostgreSQL tuned for these queries, as a careful operator would: the peers gain most by it."""
    buffers = min(memory_bytes // 8, 4 * 2**30) // 2**20
    return PostgresServer(
        directory,
        {
            "shared_buffers": f"{buffers}MB",
            "effective_cache_size": f"{memory_bytes // 2**21}MB",
            "work_mem": "64MB",
            "max_wal_size": "8GB",
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "synchronous_commit": "off",
            "random_page_cost": "1.1",
            "jit": "off",
            "max_connections": "60",
            "pg_stat_statements.track_planning": "on",
        },
    )
