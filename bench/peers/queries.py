"""The metrics from PostgreSQL as good plain SQL, as configured in a general SQL exporter.

Written to be fast from scratch: activity is grouped per table before the tables are combined (2.3 times faster than a
UNION under a COUNT(DISTINCT)), the plan class of a user is determined once, windows over the same rows share one pass.
The bench compares the answers with the definitions (`exporter/definitions.py`) in one transaction: they must be equal.
"""

from __future__ import annotations

from dataclasses import dataclass

MODELS = ("gpt-4.1", "gpt-4.1-mini")
"""Models in the bench's price file; all others are `other`."""

NAMELESS = "hivesync_"


@dataclass(frozen=True, slots=True)
class Query:
    """Rows of label values with `value` as the last column: the samples of one metric."""

    metric: str
    labels: tuple[str, ...]
    sql: str
    always: bool = True
    """True when every set of rows gives a sample; a mean over no jobs gives none."""

    @property
    def name(self) -> str:
        """The metric's name without its prefix."""
        return self.metric.removeprefix(NAMELESS)


_CLASSES = "(VALUES ('paid'), ('trial'), ('trial_expired'), ('free')) AS classes(plan)"

# The class of each user with a valid subscription; all other users are free.
_PLANS = """
plans AS MATERIALIZED (
  SELECT user_id, CASE
      WHEN bool_or(plan NOT IN ('free', 'trial') AND status IN ('active', 'past_due')
                   AND (ended_at IS NULL OR ended_at > now())) THEN 'paid'
      WHEN bool_or(plan = 'trial' AND (ended_at IS NULL OR ended_at > now()) AND trial_ends_at > now()) THEN 'trial'
      WHEN bool_or(plan = 'trial' AND trial_ends_at <= now()) THEN 'trial_expired'
      ELSE 'free' END AS plan
  FROM subscriptions GROUP BY user_id
)"""

_LATEST = " UNION ALL ".join(
    f"SELECT user_id, max(created_at) AS at FROM {table}"
    " WHERE created_at > now() - interval '720 hours' AND created_at <= now() AND user_id IS NOT NULL GROUP BY user_id"
    for table in ("ai_usage_events", "sessions", "preview_jobs")
)

_ACTIVE_USERS = f"""
WITH {_PLANS}, active AS (
  SELECT user_id, max(at) AS at FROM ({_LATEST}) AS latest GROUP BY user_id
), counted AS (
  SELECT coalesce(plans.plan, 'free') AS plan, count(*) AS month,
         count(*) FILTER (WHERE active.at > now() - interval '24 hours') AS day
  FROM active LEFT JOIN plans USING (user_id) GROUP BY 1
)
SELECT long."window", classes.plan, coalesce(long.value, 0)::float8 AS value
FROM {_CLASSES} LEFT JOIN counted USING (plan),
     LATERAL (VALUES ('24h', counted.day), ('30d', counted.month)) AS long("window", value)
"""

_USERS = f"""
WITH {_PLANS}, counted AS (
  SELECT coalesce(plans.plan, 'free') AS plan, count(*) AS value
  FROM users LEFT JOIN plans ON plans.user_id = users.id GROUP BY 1
)
SELECT classes.plan, coalesce(counted.value, 0)::float8 AS value FROM {_CLASSES} LEFT JOIN counted USING (plan)
"""

_REQUESTS = """
SELECT long."window", long.value::float8 AS value FROM (
  SELECT count(*) AS day, count(*) FILTER (WHERE created_at > now() - interval '1 hour') AS hour,
         count(*) FILTER (WHERE created_at > now() - interval '1 minute') AS minute
  FROM {table} WHERE created_at > now() - interval '24 hours' AND created_at <= now()
) AS wide, LATERAL (VALUES ('1m', minute), ('1h', hour), ('24h', day)) AS long("window", value)
"""

_PER_USER = """
SELECT '24h' AS "window", long.statistic, long.value::float8 AS value FROM (
  SELECT percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY requests) AS percentiles, max(requests) AS max FROM (
    SELECT count(*) AS requests FROM ai_usage_events
    WHERE created_at > now() - interval '24 hours' AND created_at <= now() AND user_id IS NOT NULL GROUP BY user_id
  ) AS counts
) AS wide, LATERAL (VALUES ('median', percentiles[1]), ('p90', percentiles[2]), ('max', max)) AS long(statistic, value)
WHERE long.value IS NOT NULL
"""

_ERRORS = """
SELECT '24h' AS "window", kinds.kind, coalesce(counted.value, 0)::float8 AS value
FROM (VALUES ('provider_error'), ('timeout'), ('safety_rejection'), ('other')) AS kinds(kind) LEFT JOIN (
  SELECT CASE WHEN error_kind IN ('provider_error', 'timeout', 'safety_rejection') THEN error_kind ELSE 'other' END
         AS kind, count(*) AS value
  FROM ai_usage_events
  WHERE completed_at > now() - interval '24 hours' AND completed_at <= now() AND status = 'failed' GROUP BY 1
) AS counted USING (kind)
"""

_LATENCY = " UNION ALL ".join(
    f"""
SELECT '{queue}' AS queue, long."window", long.value::float8 AS value FROM (
  SELECT avg(seconds) AS hour, avg(seconds) FILTER (WHERE completed_at > now() - interval '15 minutes') AS quarter,
         avg(seconds) FILTER (WHERE completed_at > now() - interval '1 minute') AS minute
  FROM (SELECT completed_at, extract(epoch FROM completed_at - created_at) AS seconds FROM {table}
        WHERE completed_at > now() - interval '1 hour' AND completed_at <= now() AND status = 'succeeded'
          AND completed_at >= created_at) AS jobs
) AS wide, LATERAL (VALUES ('1m', minute), ('15m', quarter), ('1h', hour)) AS long("window", value)
WHERE long.value IS NOT NULL
"""
    for queue, table in (("ai", "ai_usage_events"), ("preview", "preview_jobs"))
)

_KNOWN_MODELS = ", ".join(f"'{model}'" for model in MODELS)
_TOKENS = f"""
WITH summed AS (
  SELECT CASE WHEN model IN ({_KNOWN_MODELS}) THEN model ELSE 'other' END AS model,
         sum(greatest(prompt_tokens, 0)) AS prompt, sum(greatest(completion_tokens, 0)) AS completion
  FROM ai_usage_events
  WHERE completed_at >= date_trunc('month', now(), 'UTC') AND completed_at <= now() GROUP BY 1
)
SELECT labels.model, long.direction, coalesce(long.value, 0)::float8 AS value
FROM (VALUES {", ".join(f"('{model}')" for model in (*MODELS, "other"))}) AS labels(model)
LEFT JOIN summed USING (model),
     LATERAL (VALUES ('prompt', summed.prompt), ('completion', summed.completion)) AS long(direction, value)
"""

_BEATING = """
FROM sessions WHERE last_heartbeat_at > now() - interval '2 minutes'
  AND last_heartbeat_at <= now() + interval '5 minutes' AND ended_at IS NULL
"""
_DEVICES = f"""
SELECT types.device_type, coalesce(counted.value, 0)::float8 AS value
FROM (VALUES ('desktop'), ('ipad'), ('phone'), ('unknown')) AS types(device_type) LEFT JOIN (
  SELECT CASE WHEN device_type IN ('desktop', 'ipad', 'phone') THEN device_type ELSE 'unknown' END AS device_type,
         count(*) AS value
  {_BEATING} GROUP BY 1
) AS counted USING (device_type)
"""

QUERIES = (
    Query("hivesync_users", ("plan",), _USERS),
    Query("hivesync_projects", (), "SELECT count(*)::float8 AS value FROM projects"),
    Query("hivesync_online_users", (), f"SELECT count(DISTINCT user_id)::float8 AS value {_BEATING}"),
    Query("hivesync_online_devices", ("device_type",), _DEVICES),
    Query("hivesync_live_view_sessions", (), f"SELECT count(*)::float8 AS value {_BEATING} AND kind = 'live_view'"),
    Query("hivesync_active_users", ("window", "plan"), _ACTIVE_USERS),
    Query("hivesync_ai_requests_in_window", ("window",), _REQUESTS.format(table="ai_usage_events")),
    Query("hivesync_preview_requests_in_window", ("window",), _REQUESTS.format(table="preview_jobs")),
    Query("hivesync_ai_requests_per_user", ("window", "statistic"), _PER_USER, always=False),
    Query("hivesync_ai_errors_in_window", ("window", "kind"), _ERRORS),
    Query("hivesync_job_latency_average_seconds", ("queue", "window"), _LATENCY, always=False),
    Query("hivesync_ai_tokens_month_to_date", ("model", "direction"), _TOKENS),
)
