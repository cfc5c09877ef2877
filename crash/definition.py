"""The daily table by its definitions (docs/definitions.md#daily-roll-up), without the roll-up's own SQL."""

from __future__ import annotations

PLAINLY = """
WITH activity AS (
  SELECT user_id, created_at FROM sessions
  UNION ALL SELECT user_id, created_at FROM ai_usage_events
  UNION ALL SELECT user_id, created_at FROM preview_jobs
), jobs AS (
  SELECT status, created_at, completed_at FROM ai_usage_events
  UNION ALL SELECT status, created_at, completed_at FROM preview_jobs
)
SELECT day,
  (SELECT count(DISTINCT user_id) FROM activity WHERE created_at >= start AND created_at < start + interval '24 hours'),
  (SELECT count(DISTINCT user_id) FROM activity
   WHERE created_at >= start - interval '696 hours' AND created_at < start + interval '24 hours'),
  (SELECT count(*) FROM ai_usage_events WHERE created_at >= start AND created_at < start + interval '24 hours'),
  (SELECT count(*) FROM preview_jobs WHERE created_at >= start AND created_at < start + interval '24 hours'),
  (SELECT avg(extract(epoch FROM completed_at) - extract(epoch FROM created_at)) * 1000 FROM jobs
   WHERE status = 'succeeded' AND completed_at >= start AND completed_at < start + interval '24 hours'
     AND completed_at >= created_at AND created_at > '-infinity')
FROM unnest(%(days)s::date[]) AS day, LATERAL (SELECT day::timestamp AT TIME ZONE 'UTC' AS start) AS starts
"""
"""Parameter: `days`. One day at a time; `mau` over the 30 days that end with it."""
