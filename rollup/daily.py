"""What a day's row holds, read from PostgreSQL in a single pass (contract §3, `usage_analytics_daily`).

    date        dau  mau  ai_requests  preview_requests  avg_latency_ms
    2026-03-16   87  212          641               118          4211.7

How many users were active in the 30 days that end with a day is not counted day by day. Of the distinct (user, day)
pairs, each makes its user one of the 30-day users for the days from it on, until the user's next active day takes over
or 30 days have gone: an interval. One more than the day before for each interval that begins, one less for each that
ends: a cumulative sum over the days, however many of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from psycopg import AsyncConnection

from rollup.days import DAY, Piece, start_of

WINDOW_DAYS = 30

# Sorted by user once; nothing here looks at a row twice for the users' sake. `created_at::date` is the UTC day, because
# the connection's time zone is UTC.
_USERS = """
pairs AS (
  SELECT user_id, created_at::date AS day FROM ai_usage_events
  WHERE created_at >= %(lead)s AND created_at < %(end)s AND user_id IS NOT NULL GROUP BY 1, 2
  UNION
  SELECT user_id, created_at::date FROM preview_jobs
  WHERE created_at >= %(lead)s AND created_at < %(end)s AND user_id IS NOT NULL GROUP BY 1, 2
  UNION
  SELECT user_id, created_at::date FROM sessions
  WHERE created_at >= %(lead)s AND created_at < %(end)s AND user_id IS NOT NULL GROUP BY 1, 2
), intervals AS (
  SELECT since, until, count(*) AS users FROM (
    SELECT day AS since, least(day + %(window)s::integer, lead(day) OVER (PARTITION BY user_id ORDER BY day)) AS until
    FROM pairs
  ) AS of_each GROUP BY 1, 2
), changes AS (
  SELECT day, sum(dau) AS dau, sum(change) AS change FROM (
    SELECT since AS day, users AS dau, users AS change FROM intervals
    UNION ALL SELECT until, 0, -users FROM intervals
  ) AS of_each GROUP BY day
), active AS (
  SELECT days.day, coalesce(dau, 0) AS dau, coalesce(sum(change) OVER (ORDER BY days.day), 0) AS mau
  FROM days LEFT JOIN changes USING (day)
)
"""

_REQUESTS = """
{name} AS (
  SELECT created_at::date AS day, count(*) AS requests FROM {table}
  WHERE created_at >= %(start)s AND created_at < %(end)s GROUP BY 1
)
"""

# A job that ended before it began is no latency (as in the exporter). Sums of intervals are exact.
_LATENCY = """
jobs AS (
  SELECT day, sum(latency) AS latency, sum(jobs) AS jobs FROM (
    SELECT completed_at::date AS day, sum(completed_at - created_at) AS latency, count(*) AS jobs FROM ai_usage_events
    WHERE completed_at >= %(start)s AND completed_at < %(end)s AND status = 'succeeded'
      AND completed_at >= created_at AND isfinite(created_at) GROUP BY 1
    UNION ALL
    SELECT completed_at::date, sum(completed_at - created_at), count(*) FROM preview_jobs
    WHERE completed_at >= %(start)s AND completed_at < %(end)s AND status = 'succeeded'
      AND completed_at >= created_at AND isfinite(created_at) GROUP BY 1
  ) AS of_both GROUP BY day
)
"""

_DAYS = f"""
WITH days AS (
  SELECT generate_series(%(lead)s, %(last)s, interval '1 day')::date AS day
), {_USERS}, {_REQUESTS.format(name="ai", table="ai_usage_events")},
{_REQUESTS.format(name="previews", table="preview_jobs")}, {_LATENCY}
SELECT day, dau::bigint, mau::bigint, coalesce(ai.requests, 0), coalesce(previews.requests, 0),
       (extract(epoch FROM latency) * 1000 / jobs)::float8
FROM active LEFT JOIN ai USING (day) LEFT JOIN previews USING (day) LEFT JOIN jobs USING (day)
WHERE day = ANY(%(days)s) ORDER BY day
"""

_FIRST_ACTIVITY = """
SELECT min(least)::date FROM (VALUES
  ((SELECT min(created_at) FROM sessions WHERE created_at > '-infinity')),
  ((SELECT min(created_at) FROM ai_usage_events WHERE created_at > '-infinity')),
  ((SELECT min(created_at) FROM preview_jobs WHERE created_at > '-infinity'))
) AS firsts(least)
"""


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
    cursor = await connection.execute(_FIRST_ACTIVITY)
    row = await cursor.fetchone()
    first: date | None = row[0] if row else None
    return first


async def read_days(connection: AsyncConnection[Any], piece: Piece) -> list[Row]:
    """The rows of a piece's days, as of one snapshot, without the queue's depth; costs what reading its rows once
    does."""
    cursor = await connection.execute(
        _DAYS.encode(),
        {
            "lead": start_of(piece.first - (WINDOW_DAYS - 1) * DAY),
            "start": start_of(piece.first),
            "last": start_of(piece.last),
            "end": start_of(piece.last + DAY),
            "window": WINDOW_DAYS,
            "days": list(piece.days),
        },
    )
    return [Row(*row) for row in await cursor.fetchall()]
