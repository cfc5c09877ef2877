"""The table `usage_analytics_daily`: whether it is what it should be, what it holds, and writing a day.

Before it on the way: `daily.py`, which makes the rows. A day is written in one transaction of its own: a run that is
killed leaves whole days only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from rollup.daily import Row
from rollup.errors import Refused, failure

TABLE = "usage_analytics_daily"
COLUMNS: Mapping[str, str] = {
    "date": "date",
    "dau": "integer",
    "mau": "integer",
    "ai_requests": "integer",
    "preview_requests": "integer",
    "avg_latency_ms": "double precision",
    "max_queue_depth": "integer",
}

READ_TABLES = ("sessions", "ai_usage_events", "preview_jobs")

LOCK = int.from_bytes(b"hivesync", "big") >> 1
"""The key of the advisory lock that one roll-up holds in a database; ours by its value only."""

_SESSION = {
    "timezone": "UTC",
    "statement_timeout": "1h",  # a fill of years
    "lock_timeout": "5s",
    "work_mem": "64MB",  # what the single pass sorts does not fit into the default
    "jit": "off",
}

_CONNECT = {
    "application_name": "hivesync-analytics-rollup",
    "connect_timeout": 5,
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 30,
}

_SHAPE = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = to_regclass(%(table)s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""

_DATE_IS_UNIQUE = """
SELECT relkind NOT IN ('r', 'p') OR EXISTS (
  SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
  WHERE indrelid = pg_class.oid AND indisunique AND indisvalid AND indpred IS NULL AND indnkeyatts = 1
    AND attname = 'date'
) FROM pg_class WHERE oid = to_regclass(%(table)s)
"""

_MISSING_RIGHTS = """
SELECT format('GRANT %%s ON %%I TO %%I', string_agg(kind, ', ' ORDER BY position), name, current_user)
FROM unnest(%(names)s::text[], %(kinds)s::text[]) WITH ORDINALITY AS needed(name, kind, position)
WHERE to_regclass(name) IS NULL OR NOT has_any_column_privilege(to_regclass(name), kind)
GROUP BY name ORDER BY min(position)
"""

_WRITE = """
INSERT INTO usage_analytics_daily AS day
  (date, dau, mau, ai_requests, preview_requests, avg_latency_ms, max_queue_depth)
VALUES (%(date)s, %(dau)s, %(mau)s, %(ai_requests)s, %(preview_requests)s, %(avg_latency_ms)s, %(max_queue_depth)s)
ON CONFLICT (date) DO UPDATE SET
  dau = excluded.dau, mau = excluded.mau, ai_requests = excluded.ai_requests,
  preview_requests = excluded.preview_requests, avg_latency_ms = excluded.avg_latency_ms,
  max_queue_depth = greatest(day.max_queue_depth, excluded.max_queue_depth)
"""

_WRITE_DEPTH = """
UPDATE usage_analytics_daily SET max_queue_depth = greatest(max_queue_depth, %(depth)s) WHERE date = %(date)s
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection on which every statement is a transaction of its own, with our limits, in UTC.

    Raises Refused or RunFailed, for what happens in its body too.
    """
    given = conninfo_to_dict(url)
    options: dict[str, Any] = {name: value for name, value in _CONNECT.items() if name not in given}
    try:
        async with await AsyncConnection.connect(url, autocommit=True, prepare_threshold=None, **options) as connection:
            for name, value in _SESSION.items():
                await connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            yield connection
    except psycopg.Error as error:
        raise failure(error) from error


async def take_lock(connection: AsyncConnection[Any]) -> bool:
    """Whether this connection is now the only roll-up of the database; the lock goes when the connection does."""
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
    return bool((await cursor.fetchone() or (False,))[0])


async def check(connection: AsyncConnection[Any], *, write: bool) -> None:
    """Raises Refused when the table is not there or not ours, or a right is missing; names every GRANT there should
    be."""
    columns = await read_columns(connection)
    if not columns:
        raise Refused(f"there is no table {TABLE}: make it with python -m rollup --migrate")
    await check_shape(connection, columns)
    needed = [(name, "SELECT") for name in (*READ_TABLES, TABLE)]
    await check_rights(connection, needed + [(TABLE, kind) for kind in ("INSERT", "UPDATE") if write])


async def check_rights(connection: AsyncConnection[Any], needed: Sequence[tuple[str, str]]) -> None:
    """Raises Refused unless this role has all these rights (table, kind)."""
    cursor = await connection.execute(
        _MISSING_RIGHTS, {"names": [name for name, _ in needed], "kinds": [kind for _, kind in needed]}
    )
    missing = [statement for (statement,) in await cursor.fetchall()]
    if missing:
        raise Refused("rights are missing (or the tables are not on the search_path):\n  " + ";\n  ".join(missing))


async def check_shape(connection: AsyncConnection[Any], columns: Mapping[str, str]) -> None:
    """Raises Refused when the table's columns (name: type) are not exactly those of the contract."""
    wrong = [
        f"{name} should be {COLUMNS[name]}, and is {columns.get(name, 'not there')}"
        for name in COLUMNS
        if columns.get(name) != COLUMNS[name]
    ]
    wrong += [f"{name} should not be there" for name in columns if name not in COLUMNS]
    cursor = await connection.execute(_DATE_IS_UNIQUE, {"table": TABLE})
    if not (await cursor.fetchone() or (False,))[0]:
        wrong.append("date should be its primary key")
    if wrong:
        raise Refused(f"{TABLE} is there, and of another shape; nothing was changed:\n  " + "\n  ".join(wrong))


async def read_columns(connection: AsyncConnection[Any]) -> dict[str, str]:
    """The table's columns (name: type); none when there is no such table."""
    cursor = await connection.execute(_SHAPE, {"table": TABLE})
    return dict(await cursor.fetchall())


async def read_now(connection: AsyncConnection[Any]) -> datetime:
    """The database's clock, which is the only one (UTC)."""
    cursor = await connection.execute("SELECT now()")
    ((now,),) = await cursor.fetchall()
    assert isinstance(now, datetime)  # noqa: S101  # for mypy: rows have no types
    return now.astimezone(UTC)


async def read_depths(connection: AsyncConnection[Any]) -> dict[date, int | None]:
    """Every day there is a row for, and its queue's depth."""
    cursor = await connection.execute("SELECT date, max_queue_depth FROM usage_analytics_daily WHERE isfinite(date)")
    return dict(await cursor.fetchall())


async def write(connection: AsyncConnection[Any], row: Row) -> None:
    """Writes a day anew, whole; only its queue's depth is never lowered."""
    values = {name: getattr(row, name) for name in COLUMNS}
    await connection.execute(_WRITE, values)


async def write_depth(connection: AsyncConnection[Any], day: date, depth: int) -> None:
    """Raises a day's queue depth, if it is less or not known."""
    await connection.execute(_WRITE_DEPTH, {"date": day, "depth": depth})
