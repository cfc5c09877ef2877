"""The table `usage_analytics_daily`: its shape, its content, and the writing of a day.

`daily.py` makes the rows. A day is written in one transaction of its own: a run that is killed leaves whole days only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from psycopg import AsyncConnection

from exporter.inputs import DAILY
from rollup.connection import transaction
from rollup.daily import Row
from rollup.errors import Refused

TABLE = DAILY
COLUMNS: Mapping[str, str] = {
    "date": "date",
    "dau": "integer",
    "mau": "integer",
    "ai_requests": "integer",
    "preview_requests": "integer",
    "avg_latency_ms": "double precision",
    "max_queue_depth": "integer",
}

_SHAPE = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = to_regclass(%(table)s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""

_NEVER_NULL = """
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass('usage_analytics_daily') AND attnotnull
  AND attname IN ('avg_latency_ms', 'max_queue_depth')
"""

# For a view the answer is not known here; ON CONFLICT fails if it is not.
_DATE_IS_UNIQUE = """
SELECT relkind NOT IN ('r', 'p') OR EXISTS (
  SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
  WHERE indrelid = pg_class.oid AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL
    AND indnkeyatts = 1 AND attname = 'date'
) FROM pg_class WHERE oid = to_regclass('usage_analytics_daily')
"""

_DEPTHS = """
SELECT date, max_queue_depth FROM usage_analytics_daily WHERE date BETWEEN '0001-01-01' AND '9999-12-31'
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


async def check_shape(connection: AsyncConnection[Any], columns: Mapping[str, str]) -> None:
    """Raise Refused unless the table has exactly these columns (name: type)."""
    wrong = [
        f"{name} should be {COLUMNS[name]}, and is {columns.get(name, 'not there')}"
        for name in COLUMNS
        if columns.get(name) != COLUMNS[name]
    ]
    wrong += [f"{name} should not be there" for name in columns if name not in COLUMNS]
    cursor = await connection.execute(_NEVER_NULL)
    wrong += [f"{name} should be allowed to be null" for (name,) in await cursor.fetchall()]
    cursor = await connection.execute(_DATE_IS_UNIQUE)
    if not (await cursor.fetchone() or (False,))[0]:
        wrong.append("date should be its primary key")
    if wrong:
        raise Refused(
            f"{TABLE} is there, and of another shape; nothing was changed:\n  "
            + "\n  ".join(wrong)
            + "\nGive it these columns, or rename it and make a new one with python -m rollup --migrate"
        )


async def read_columns(connection: AsyncConnection[Any], table: str = TABLE) -> dict[str, str]:
    """Return a table's columns (name: type); none when there is no such table."""
    cursor = await connection.execute(_SHAPE, {"table": table})
    return dict(await cursor.fetchall())


async def read_now(connection: AsyncConnection[Any]) -> datetime:
    """Return the time of the database's clock, the only clock used (UTC)."""
    cursor = await connection.execute("SELECT now()")
    ((now,),) = await cursor.fetchall()
    assert isinstance(now, datetime)  # noqa: S101  # for mypy: rows have no types
    return now.astimezone(UTC)


async def read_start(connection: AsyncConnection[Any]) -> datetime | None:
    """Return the time at which the server was started, which no two servers share."""
    cursor = await connection.execute("SELECT pg_postmaster_start_time()")
    (started,) = await cursor.fetchone() or (None,)
    return started


async def read_depths(connection: AsyncConnection[Any]) -> dict[date, int | None]:
    """Return every day with a row, and its queue's depth."""
    async with transaction(connection):
        cursor = await connection.execute(_DEPTHS)
    return dict(await cursor.fetchall())


async def write(connection: AsyncConnection[Any], row: Row) -> None:
    """Write or rewrite a whole day; its queue's depth is never lowered."""
    values = {name: getattr(row, name) for name in COLUMNS}
    async with transaction(connection):
        await connection.execute(_WRITE, values)


async def write_depth(connection: AsyncConnection[Any], day: date, depth: int) -> None:
    """Set a day's queue depth, if the present one is lower or not known."""
    async with transaction(connection):
        await connection.execute(_WRITE_DEPTH, {"date": day, "depth": depth})
