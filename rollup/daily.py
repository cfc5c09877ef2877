"""What a day's row holds, read from PostgreSQL in a single pass (contract §3, `usage_analytics_daily`).

    date        dau  mau  ai_requests  preview_requests  avg_latency_ms
    2026-03-16   87  212          641               118          4211.7

How many users were active in the 30 days that end with a day is not counted day by day. Every row of activity is read
once, and sets a bit: of its user, for its day. So a user's days are the bits of one integer, however often he was
active, and nothing has to be sorted. A day's users are those whose bit is set, and its 30-day users those with any of
30 bits set; users of the same days are counted together. A bigint's 63 bits tell 34 days: the first of them needs the
29 before it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from psycopg import AsyncConnection

from rollup.connection import transaction
from rollup.days import DAY, WINDOW_DAYS, Piece, start_of

TABLES = ("sessions", "ai_usage_events", "preview_jobs")
"""Where activity is."""

LEAD_DAYS = WINDOW_DAYS - 1

# A day's number, from 0 for the first one whose rows are read. A double tells microseconds apart until the year 2255,
# and is several times cheaper than a date or a numeric; no session's time zone matters.
_NUMBER = "floor((date_part('epoch', {0}) - %(lead_epoch)s) / 86400)::integer"

_MICROSECONDS = "(date_part('epoch', {0}) * 1000000)::bigint"

_ACTIVITY = " UNION ALL ".join(
    f"""
  SELECT user_id, {_NUMBER.format("created_at")} AS number FROM {table}
  WHERE created_at >= %(lead)s AND created_at < %(end)s AND user_id IS NOT NULL"""
    for table in TABLES
)

_USERS = f"""
of_each AS (
  SELECT bit_or(1::bigint << number) AS mask FROM ({_ACTIVITY}) AS activity GROUP BY user_id
), masks AS (
  SELECT mask, count(*) AS users FROM of_each GROUP BY 1
), active AS (
  SELECT number, sum(users) FILTER (WHERE (mask >> number) & 1 = 1) AS dau, sum(users) AS mau
  FROM masks, generate_series({LEAD_DAYS}, %(last_number)s::integer) AS number
  WHERE (mask >> (number - {LEAD_DAYS})) & {2**WINDOW_DAYS - 1} <> 0 GROUP BY 1
)
"""

# Grouped by the days asked for, which are few, and not by what is made of a row's time: of that PostgreSQL expects as
# many groups as rows, and does not count in parallel.
_OF_DAYS = f"JOIN unnest(%(numbers)s::integer[]) AS day(number) ON day.number = {_NUMBER}"

_REQUESTS = f"""
{{name}} AS (
  SELECT day.number, count(*) AS requests FROM {{table}} {_OF_DAYS.format("created_at")}
  WHERE created_at >= %(start)s AND created_at < %(end)s GROUP BY 1
)
"""

# A job that ended before it began is no latency (as in the exporter). Sums of whole microseconds are exact, and cost a
# tenth of sums of intervals.
_JOBS = f"""
  SELECT day.number, count(*) AS jobs,
         sum({_MICROSECONDS.format("completed_at")} - {_MICROSECONDS.format("created_at")}) AS microseconds
  FROM {{table}} {_OF_DAYS.format("completed_at")}
  WHERE completed_at >= %(start)s AND completed_at < %(end)s AND status = 'succeeded'
    AND completed_at >= created_at AND isfinite(created_at) GROUP BY 1
"""

_LATENCY = f"""
latency AS (
  SELECT number, (sum(microseconds) * 0.000001 * 1000 / sum(jobs))::float8 AS average
  FROM ({_JOBS.format(table="ai_usage_events")} UNION ALL {_JOBS.format(table="preview_jobs")}) AS of_both GROUP BY 1
)
"""

_DAYS = f"""
WITH {_USERS}, {_REQUESTS.format(name="ai", table="ai_usage_events")},
{_REQUESTS.format(name="previews", table="preview_jobs")}, {_LATENCY}
SELECT number, coalesce(dau, 0)::bigint, coalesce(mau, 0)::bigint, coalesce(ai.requests, 0),
       coalesce(previews.requests, 0), average
FROM unnest(%(numbers)s::integer[]) AS days(number) LEFT JOIN active USING (number) LEFT JOIN ai USING (number)
LEFT JOIN previews USING (number) LEFT JOIN latency USING (number) ORDER BY number
"""

_FIRST_ACTIVITY = """
SELECT (min(first) AT TIME ZONE 'UTC')::date FROM (
  SELECT min(created_at) AS first FROM sessions WHERE created_at >= %(epoch)s AND created_at < 'infinity'
  UNION ALL SELECT min(created_at) FROM ai_usage_events WHERE created_at >= %(epoch)s AND created_at < 'infinity'
  UNION ALL SELECT min(created_at) FROM preview_jobs WHERE created_at >= %(epoch)s AND created_at < 'infinity'
) AS firsts
"""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""No activity is older than that, whatever a row says."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of `usage_analytics_daily`; `avg_latency_ms` in milliseconds; None where there is nothing to say."""

    date: date
    dau: int
    mau: int
    ai_requests: int
    preview_requests: int
    avg_latency_ms: float | None
    max_queue_depth: int | None = None


async def read_first_activity(connection: AsyncConnection[Any]) -> date | None:
    """The day of the first login, Live View join, AI request or preview request there is."""
    async with transaction(connection, read_only=True):
        cursor = await connection.execute(_FIRST_ACTIVITY, {"epoch": EPOCH})
        row = await cursor.fetchone()
    first: date | None = row[0] if row else None
    return first


async def read_days(connection: AsyncConnection[Any], piece: Piece) -> list[Row]:
    """The rows of a piece's days, as of one snapshot, without the queue's depth; costs what reading its rows once
    does."""
    lead = piece.first - LEAD_DAYS * DAY
    values = {
        "lead": start_of(lead),
        "start": start_of(piece.first),
        "end": start_of(piece.last + DAY),
        "lead_epoch": start_of(lead).timestamp(),
        "last_number": (piece.last - lead) // DAY,
        "numbers": [(day - lead) // DAY for day in piece.days],
    }
    async with transaction(connection, read_only=True):
        cursor = await connection.execute(_DAYS, values)
        return [Row(lead + number * DAY, *row) for number, *row in await cursor.fetchall()]
