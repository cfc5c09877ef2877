"""The rows of `usage_analytics_daily`, read from PostgreSQL in a single pass (docs/definitions.md#daily-roll-up).

    date        dau  mau  ai_requests  preview_requests  avg_latency_ms
    2026-03-16   87  212          641               118          4211.7

Users active in the 30 days that end with a day are not counted day by day. Every row of activity is read once, and sets
a bit: of its user, for its day. So a user's days are the bits of one integer, at any number of activities, and nothing
has to be sorted. A day's users are those with the day's bit, and its 30-day users those with any of 30 bits. A bigint's
63 bits hold 34 days: the first of them needs the 29 before it too.

Requests are counted a day at a time from the index on their time alone, and latencies in one pass of their own, since
they go by `completed_at` (docs/definitions.md#job-latency).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from psycopg import AsyncConnection

from exporter.columns import is_word
from rollup.connection import transaction
from rollup.days import DAY, PIECE_DAYS, WINDOW_DAYS, Piece, start_of

TABLES = ("sessions", "ai_usage_events", "preview_jobs")
"""The tables with activity (docs/definitions.md#activity)."""

JOB_TABLES = ("ai_usage_events", "preview_jobs")
"""The tables with jobs (docs/definitions.md#job-latency)."""

LEAD_DAYS = WINDOW_DAYS - 1
"""Days before a day that its 30-day users need."""

# A job that ended before it began has no latency, as in the exporter.
SUCCEEDED = f"{is_word('status', 'succeeded')} AND completed_at >= created_at AND isfinite(created_at)"
"""SQL for whether a job has a latency, once `completed_at` is in a finite range."""

# The number of a day, from 0 for the first day with rows to read. A double separates microseconds until the year 2255,
# and is several times cheaper than a date or a numeric; it does not depend on the session's time zone.
_NUMBER = "floor((date_part('epoch', {0}) - %(lead_epoch)s) / 86400)::integer"

_ACTIVITY = " UNION ALL ".join(
    f"""
  SELECT user_id, {_NUMBER.format("created_at")} AS number FROM {table}
  WHERE created_at >= %(lead)s AND created_at < %(end)s AND user_id IS NOT NULL"""
    for table in TABLES
)


def _users(first_bit: Callable[[int], int], bits: int) -> str:
    """Return SQL for an array: for each possible day of one pass, the number of users with any of these bits set."""
    of_days = ((2**bits - 1) << first_bit(number) for number in range(LEAD_DAYS, LEAD_DAYS + PIECE_DAYS))
    return f"ARRAY[{', '.join(f'count(*) FILTER (WHERE mask & {mask} <> 0)' for mask in of_days)}]"


_USERS = f"""
of_each AS (
  SELECT bit_or(1::bigint << number) AS mask FROM ({_ACTIVITY}) AS activity GROUP BY user_id
), counts AS (
  SELECT {_users(lambda number: number, 1)} AS dau, {_users(lambda number: number - LEAD_DAYS, WINDOW_DAYS)} AS mau
  FROM of_each
), active AS (
  SELECT users.dau, users.mau, users.place + {LEAD_DAYS - 1} AS number
  FROM counts, unnest(counts.dau, counts.mau) WITH ORDINALITY AS users(dau, mau, place)
)
"""

# Sums of whole microseconds are exact, and cost a
# tenth of sums of intervals. Both tables are in one sum, and not only for brevity: PostgreSQL then expects few days and
# adds up in parallel, whereas for a single table it expects as many days as rows.
_JOBS = " UNION ALL ".join(
    f"""
  SELECT {_NUMBER.format("completed_at")} AS number,
         ((date_part('epoch', completed_at) - date_part('epoch', created_at)) * 1000000)::bigint AS microseconds
  FROM {table}
  WHERE completed_at >= %(start)s AND completed_at < %(end)s AND {SUCCEEDED}"""
    for table in JOB_TABLES
)

_LATENCY = f"""
latency AS (
  SELECT number, sum(microseconds)::float8 / (1000 * count(*)) AS average FROM ({_JOBS}) AS jobs GROUP BY 1
)
"""

_REQUESTS = "(SELECT count(*) FROM {0} WHERE created_at >= days.begins AND created_at < days.ends)"

_DAYS = f"""
WITH {_USERS}, {_LATENCY}
SELECT number, dau, mau, {_REQUESTS.format("ai_usage_events")}, {_REQUESTS.format("preview_jobs")}, average
FROM unnest(%(numbers)s::integer[], %(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS days(number, begins, ends)
JOIN active USING (number) LEFT JOIN latency USING (number) ORDER BY number
"""

_FIRST_ACTIVITY = """
SELECT (min(first) AT TIME ZONE 'UTC')::date FROM (
  SELECT min(created_at) AS first FROM sessions WHERE created_at >= %(epoch)s AND created_at < 'infinity'
  UNION ALL SELECT min(created_at) FROM ai_usage_events WHERE created_at >= %(epoch)s AND created_at < 'infinity'
  UNION ALL SELECT min(created_at) FROM preview_jobs WHERE created_at >= %(epoch)s AND created_at < 'infinity'
) AS firsts
"""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Lower limit of activity: rows with an earlier time are left out."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of `usage_analytics_daily`; `avg_latency_ms` in milliseconds; None without a value."""

    date: date
    dau: int
    mau: int
    ai_requests: int
    preview_requests: int
    avg_latency_ms: float | None
    max_queue_depth: int | None = None


async def read_first_activity(connection: AsyncConnection[Any]) -> date | None:
    """Return the day of the first login, Live View join, AI request or preview request; None without any."""
    async with transaction(connection, read_only=True):
        cursor = await connection.execute(_FIRST_ACTIVITY, {"epoch": EPOCH})
        row = await cursor.fetchone()
    first: date | None = row[0] if row else None
    return first


async def read_days(connection: AsyncConnection[Any], piece: Piece) -> list[Row]:
    """Return the rows of a piece's days, as of one snapshot, without the queue's depth; at the cost of reading the rows
    of activity once."""
    lead = piece.first - LEAD_DAYS * DAY
    values = {
        "lead": start_of(lead),
        "start": start_of(piece.first),
        "end": start_of(piece.last + DAY),
        "lead_epoch": start_of(lead).timestamp(),
        "numbers": [(day - lead) // DAY for day in piece.days],
        "begins": [start_of(day) for day in piece.days],
        "ends": [start_of(day + DAY) for day in piece.days],
    }
    async with transaction(connection, read_only=True):
        cursor = await connection.execute(_DAYS, values)
        return [Row(lead + number * DAY, *row) for number, *row in await cursor.fetchall()]
