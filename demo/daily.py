"""The made-up past's days in `usage_analytics_daily`, straight from their definitions.

Stands in for the roll-up job, in one plain statement. `max_queue_depth`, known to Prometheus alone, stays null.
"""

from __future__ import annotations

import psycopg

# "date" is the UTC day; `mau` counts over the 30 days that end with it. Today is not over, and so not filled.
FILL = """
    WITH
    requests AS (
        SELECT 'ai' AS queue, user_id, created_at, completed_at, status FROM ai_usage_events
        UNION ALL SELECT 'preview', user_id, created_at, completed_at, status FROM preview_jobs
    ),
    active AS (
        SELECT (created_at AT TIME ZONE 'UTC')::date AS day, user_id FROM sessions WHERE user_id IS NOT NULL
        UNION SELECT (created_at AT TIME ZONE 'UTC')::date, user_id FROM requests WHERE user_id IS NOT NULL
    ),
    today AS (SELECT (now() AT TIME ZONE 'UTC')::date AS day),
    past AS (
        SELECT generate_series(min(active.day), today.day - 1, '1 day')::date AS day
        FROM active, today GROUP BY today.day
    ),
    daily_users AS (SELECT day, count(*) AS dau FROM active GROUP BY day),
    monthly_users AS (
        SELECT past.day, count(DISTINCT user_id) AS mau
        FROM past JOIN active ON active.day BETWEEN past.day - 29 AND past.day GROUP BY past.day
    ),
    created AS (
        SELECT (created_at AT TIME ZONE 'UTC')::date AS day,
            count(*) FILTER (WHERE queue = 'ai') AS ai_requests,
            count(*) FILTER (WHERE queue = 'preview') AS preview_requests
        FROM requests GROUP BY day
    ),
    completed AS (
        SELECT (completed_at AT TIME ZONE 'UTC')::date AS day,
            avg(extract(epoch FROM completed_at - created_at)) * 1000 AS avg_latency_ms
        FROM requests WHERE status = 'succeeded' GROUP BY day
    )
    INSERT INTO usage_analytics_daily (date, dau, mau, ai_requests, preview_requests, avg_latency_ms)
    SELECT day, coalesce(dau, 0), coalesce(mau, 0), coalesce(ai_requests, 0), coalesce(preview_requests, 0),
        avg_latency_ms
    FROM past
    LEFT JOIN daily_users USING (day) LEFT JOIN monthly_users USING (day)
    LEFT JOIN created USING (day) LEFT JOIN completed USING (day)
"""


def fill_past_days(connection: psycopg.Connection) -> None:
    """A row for every UTC day from the first activity to yesterday."""
    connection.execute(FILL)
