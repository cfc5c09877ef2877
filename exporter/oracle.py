"""Every PostgreSQL metric from scratch: plain SQL, straight from the definitions (contract §2), with no memory and no
windows.

It reads whole tables and costs what that costs. `verify.py` holds the windows against it, and so do the tests: the
two share the names of the metrics and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collectors import activity, ai, cost, latency, online, previews, rollup, users
from exporter.collectors.online import WebSocket
from exporter.labels import OTHER
from exporter.prices import Prices
from exporter.sources.postgres import Transaction
from exporter.spec import MetricSpec, Sample
from exporter.vocabulary import FREE_PLANS


def _word(column: str) -> str:
    """SQL for the word that a column of any type holds, without case and surrounding blanks."""
    return f"regexp_replace(lower({column}::text), '^\\s+|\\s+$', '', 'g')"


_PLAN_CLASS = """
CASE
  WHEN EXISTS (SELECT FROM subscriptions s WHERE s.user_id = {user} AND {plan} <> ALL(%(free_plans)s::text[])
               AND {plan} NOT IN ('trial', '') AND {status} IN ('active', 'past_due')
               AND (s.ended_at IS NULL OR s.ended_at > %(now)s)) THEN 'paid'
  WHEN EXISTS (SELECT FROM subscriptions s WHERE s.user_id = {user} AND {plan} = 'trial'
               AND (s.ended_at IS NULL OR s.ended_at > %(now)s) AND s.trial_ends_at > %(now)s) THEN 'trial'
  WHEN EXISTS (SELECT FROM subscriptions s WHERE s.user_id = {user} AND {plan} = 'trial'
               AND s.trial_ends_at <= %(now)s) THEN 'trial_expired'
  ELSE 'free'
END
"""
_PLAN_CLASS = _PLAN_CLASS.format(user="users.id", plan=_word("s.plan"), status=_word("s.status"))
_CLASSES = "(VALUES ('paid'), ('trial'), ('trial_expired'), ('free')) AS classes(plan)"

_USERS = f"""
SELECT plan, (SELECT count(*) FROM users WHERE {_PLAN_CLASS} = plan) FROM {_CLASSES}
"""

_ACTIVE_USERS = f"""
WITH activity AS (
  SELECT user_id, created_at FROM sessions
  UNION ALL SELECT user_id, created_at FROM ai_usage_events
  UNION ALL SELECT user_id, created_at FROM preview_jobs
), active AS (
  SELECT DISTINCT windows.name, activity.user_id
  FROM (VALUES ('24h', interval '24 hours'), ('30d', interval '720 hours')) AS windows(name, length)
  JOIN activity ON activity.created_at > %(now)s - windows.length AND activity.created_at <= %(now)s
  WHERE activity.user_id IS NOT NULL
), classed AS MATERIALIZED (
  SELECT name, CASE WHEN users.id IS NULL THEN 'free' ELSE {_PLAN_CLASS} END AS plan
  FROM active LEFT JOIN users ON users.id = active.user_id
)
SELECT windows.name, classes.plan,
       (SELECT count(*) FROM classed WHERE (classed.name, classed.plan) = (windows.name, classes.plan))
FROM (VALUES ('24h'), ('30d')) AS windows(name), {_CLASSES}
"""

_REQUESTS = """
SELECT windows.name, (SELECT count(*) FROM {table}
                      WHERE created_at > %(now)s - windows.length AND created_at <= %(now)s)
FROM (VALUES ('1m', interval '1 minute'), ('1h', interval '1 hour'), ('24h', interval '24 hours'))
  AS windows(name, length)
"""

_PER_USER = """
WITH counts AS (
  SELECT count(*) AS requests FROM ai_usage_events
  WHERE created_at > %(now)s - interval '24 hours' AND created_at <= %(now)s AND user_id IS NOT NULL GROUP BY user_id
)
SELECT '24h', statistic, value FROM (
  SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY requests) AS median,
         percentile_cont(0.9) WITHIN GROUP (ORDER BY requests) AS p90, max(requests)::float8 AS max FROM counts
) AS wide, LATERAL (VALUES ('median', median), ('p90', p90), ('max', max)) AS long(statistic, value)
WHERE value IS NOT NULL
"""

_ERRORS = f"""
SELECT '24h', kinds.kind, (
  SELECT count(*) FROM ai_usage_events
  WHERE {_word("status")} = 'failed' AND completed_at > %(now)s - interval '24 hours' AND completed_at <= %(now)s
    AND CASE WHEN {_word("error_kind")} IN ('provider_error', 'timeout', 'safety_rejection')
             THEN {_word("error_kind")} ELSE 'other' END = kinds.kind)
FROM (VALUES ('provider_error'), ('timeout'), ('safety_rejection'), ('other')) AS kinds(kind)
"""

_LATENCY = """
SELECT '{queue}', windows.name, average FROM
  (VALUES ('1m', interval '1 minute'), ('15m', interval '15 minutes'), ('1h', interval '1 hour'))
    AS windows(name, length),
  LATERAL (SELECT avg(extract(epoch FROM completed_at - created_at))::float8 AS average FROM {table}
           WHERE {status} = 'succeeded' AND completed_at >= created_at AND isfinite(created_at)
             AND completed_at > %(now)s - windows.length AND completed_at <= %(now)s) AS averages
WHERE average IS NOT NULL
"""

_TOKENS = """
WITH labels(model) AS (SELECT unnest(%(models)s::text[] || ARRAY['other'])), tokens AS (
  SELECT CASE WHEN model::text = ANY(%(models)s::text[]) THEN model::text ELSE 'other' END AS model,
         CASE WHEN prompt_tokens BETWEEN 0 AND 2147483647 THEN prompt_tokens ELSE 0 END AS prompt,
         CASE WHEN completion_tokens BETWEEN 0 AND 2147483647 THEN completion_tokens ELSE 0 END AS completion
  FROM ai_usage_events
  WHERE completed_at >= date_trunc('month', %(now)s::timestamptz, 'UTC') AND completed_at <= %(now)s
)
SELECT labels.model, directions.direction,
       coalesce(sum(CASE directions.direction WHEN 'prompt' THEN prompt ELSE completion END), 0)::bigint
FROM labels CROSS JOIN (VALUES ('prompt'), ('completion')) AS directions(direction)
LEFT JOIN tokens ON tokens.model = labels.model GROUP BY 1, 2
"""

_SHARE_OF_MONTH = """
SELECT (extract(epoch FROM %(now)s::timestamptz - start)
        / extract(epoch FROM start + interval '1 month' - start))::float8
FROM (SELECT date_trunc('month', %(now)s::timestamptz, 'UTC') AS start) AS month
"""


# Ids in Redis are text. Those that the type of the session's column takes for the same are the same: of uuid and of
# integers as they can be written, of citext in either case.
def _same(text: str, column: str) -> str:
    return f"""(SELECT CASE
      WHEN of_type = 'uuid' AND {text} ~* '^([0-9a-f]{{4}}-?){{7}}[0-9a-f]{{4}}$'
        OR of_type = 'uuid' AND {text} ~* '^[{{]([0-9a-f]{{4}}-?){{7}}[0-9a-f]{{4}}[}}]$'
        THEN lower(translate({text}, '{{}}-', ''))
      WHEN of_type IN ('smallint', 'integer', 'bigint') AND {text} ~ '^\\s*[+-]?[0-9]+\\s*$' THEN {text}::numeric::text
      WHEN of_type = 'numeric' AND {text} ~ '^\\s*[+-]?[0-9]+(\\.[0-9]*)?\\s*$' THEN trim_scale({text}::numeric)::text
      WHEN of_type ~ '(^|\\.)citext$' THEN lower({text})
      WHEN of_type = 'character' THEN rtrim({text}, ' ')
      ELSE {text} END
    FROM (SELECT pg_typeof(nullif((SELECT sessions.{column} FROM sessions LIMIT 0), NULL))::text AS of_type) AS _)"""


_WS = f"""
WITH ws AS (
  SELECT connection, {_same("ws.user_id", "user_id")} AS user_id, {_same("ws.session_id", "id")} AS session_id,
         {_word("ws.device_type")} AS device_type
  FROM unnest(%(connections)s::text[], %(users)s::text[], %(sessions)s::text[], %(devices)s::text[])
    AS ws(connection, user_id, session_id, device_type)
), said AS (
  SELECT {_same("id::text", "id")} AS id, {_same("user_id::text", "user_id")} AS user_id, {_word("kind")} AS kind,
         {_word("device_type")} AS device_type, last_heartbeat_at, ended_at
  FROM sessions
), online AS (
  SELECT id, user_id, kind, device_type FROM said
  WHERE (last_heartbeat_at > %(now)s - interval '2 minutes' AND ended_at IS NULL
         AND last_heartbeat_at <= %(now)s + interval '5 minutes')
     OR id IN (SELECT session_id FROM ws)
)
"""

_ONLINE_USERS = f"""{_WS}
SELECT count(*) FROM (SELECT user_id FROM ws UNION SELECT user_id FROM online) AS users WHERE user_id IS NOT NULL
"""

_ONLINE_DEVICES = f"""{_WS}, known(device_type) AS (VALUES ('desktop'), ('ipad'), ('phone')), devices AS (
  SELECT coalesce('s' || session_id, 'c' || connection) AS device, device_type, 2 AS rank FROM ws
  UNION ALL SELECT 's' || id, device_type, 1 FROM online
), typed AS (
  SELECT device, coalesce((array_agg(known.device_type ORDER BY rank, known.device_type)
                           FILTER (WHERE known.device_type IS NOT NULL))[1], 'unknown') AS device_type
  FROM devices LEFT JOIN known USING (device_type) GROUP BY device
)
SELECT types.name, (SELECT count(*) FROM typed WHERE typed.device_type = types.name)
FROM (VALUES ('desktop'), ('ipad'), ('phone'), ('unknown')) AS types(name)
"""

_LIVE_VIEW_SESSIONS = f"{_WS} SELECT count(*) FROM online WHERE kind = 'live_view'"

_LATEST_DAY = """
SELECT extract(epoch FROM date)::float8 FROM usage_analytics_daily ORDER BY date DESC LIMIT 1
"""

QUERIES: dict[str, tuple[tuple[MetricSpec, str], ...]] = {
    "users": ((users.USERS, _USERS), (users.PROJECTS, "SELECT count(*) FROM projects")),
    "online": (
        (online.ONLINE_USERS, _ONLINE_USERS),
        (online.ONLINE_DEVICES, _ONLINE_DEVICES),
        (online.LIVE_VIEW_SESSIONS, _LIVE_VIEW_SESSIONS),
    ),
    "activity": ((activity.ACTIVE_USERS, _ACTIVE_USERS),),
    "ai": (
        (ai.REQUESTS, _REQUESTS.format(table="ai_usage_events")),
        (ai.PER_USER, _PER_USER),
        (ai.ERRORS, _ERRORS),
    ),
    "previews": ((previews.REQUESTS, _REQUESTS.format(table="preview_jobs")),),
    "latency": (
        (latency.LATENCY, _LATENCY.format(queue="ai", table="ai_usage_events", status=_word("status"))),
        (latency.LATENCY, _LATENCY.format(queue="preview", table="preview_jobs", status=_word("status"))),
    ),
    "cost": ((cost.TOKENS, _TOKENS),),
    "rollup": ((rollup.LATEST_DAY, _LATEST_DAY),),
}
"""The queries of each collector that asks PostgreSQL: rows of label values and, last, the value."""


async def read_from_scratch(
    collector: str,
    transaction: Transaction,
    web_sockets: Sequence[WebSocket],
    prices: Prices | None,
    free_plans: Sequence[str] = FREE_PLANS,
) -> list[Sample]:
    """The samples that a collector's metrics must have, as of the transaction's `now`."""
    parameters = {
        "connections": [ws.connection for ws in web_sockets],
        "users": [ws.user_id for ws in web_sockets],
        "sessions": [ws.session_id for ws in web_sockets],
        "devices": [ws.device_type for ws in web_sockets],
        "models": list(prices.models) if prices else [],
        "free_plans": [plan.strip().lower() for plan in free_plans],
    }
    samples: list[Sample] = []
    if collector == "rollup" and not (await transaction.rows(rollup.TABLE_EXISTS))[0][0]:
        return samples
    for spec, query in QUERIES[collector]:
        used = {name: value for name, value in parameters.items() if f"%({name})s" in query}
        for *labels, value in await transaction.rows(query, used):
            samples.append(Sample(spec, tuple(labels), float(value)))
    if collector == "cost" and prices is not None:
        samples += await _token_dollars(transaction, samples, prices)
    return samples


async def _token_dollars(transaction: Transaction, tokens: Sequence[Sample], prices: Prices) -> list[Sample]:
    ((share,),) = await transaction.rows(_SHARE_OF_MONTH)
    dollars = 0.0
    for sample in tokens:
        model, direction = sample.labels
        if model != OTHER and isinstance(sample.value, float):
            dollars += sample.value * getattr(prices.models[model], direction) / 1e6
    projected = [cost.PROJECTED.sample(dollars / share, component="tokens")] if share > 0 else []
    return [cost.MONTH_TO_DATE.sample(dollars, component="tokens"), *projected]
