"""The definition of each PostgreSQL metric in plain SQL, computed from scratch, without state and windows.

A definition stands beside the collector of the metric (`MetricSpec.definition`), has its own SQL, and shares no code
with the collector: two ways to one number. `verify.py` compares them, and so do the tests. Definitions read whole
tables; their duration depends on the size of the tables.

Parameters: `now`; `free_plans`, `models`, `prompt_prices` and `completion_prices` (parallel to the models) and
`has_prices`, `worker_kinds`, `worker_default_kind`, `worker_healthy_seconds` and `worker_forgotten_seconds` from the
settings; `connections`, `users`, `sessions` and `devices` (parallel), the open WebSockets.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from exporter.inputs import REQUIRED, optional_columns
from exporter.prices import Prices
from exporter.settings import Settings
from exporter.sources.postgres import Transaction
from exporter.spec import MetricSpec, Sample, provided
from exporter.vocabulary import FREE_PLANS, WORKER_DEFAULT_KIND, WORKER_KINDS


@dataclass(frozen=True, slots=True)
class WebSocket:
    """A `ws_sessions:*` hash: an open connection."""

    connection: str
    user_id: str | None
    session_id: str | None
    device_type: str | None


@dataclass(frozen=True, slots=True)
class Terms:
    """The inputs of definitions beside the database."""

    prices: Prices | None = None
    free_plans: Sequence[str] = FREE_PLANS
    not_provided: Collection[str] = ()
    worker_kinds: Sequence[str] = WORKER_KINDS
    worker_default_kind: str = WORKER_DEFAULT_KIND
    worker_healthy_seconds: float = 120
    worker_forgotten_seconds: float = 86_400

    @classmethod
    def of(cls, settings: Settings) -> Terms:
        """Return the inputs that are settings."""
        return cls(
            settings.prices(),
            settings.free_plans,
            settings.not_provided,
            settings.worker_kinds,
            settings.worker_default_kind,
            settings.worker_healthy_seconds,
            settings.worker_forgotten_seconds,
        )

    def parameters(self, web_sockets: Sequence[WebSocket]) -> Mapping[str, object]:
        """Return the parameters, by the names used in definitions."""
        models = self.prices.models if self.prices else {}
        return {
            "free_plans": [form for plan in self.free_plans for form in _spellings(plan.strip())],
            "worker_kinds": list(self.worker_kinds),
            "worker_default_kind": self.worker_default_kind,
            "worker_healthy_seconds": self.worker_healthy_seconds,
            "worker_forgotten_seconds": self.worker_forgotten_seconds,
            "has_prices": self.prices is not None,
            "models": list(models),
            "prompt_prices": [price.prompt for price in models.values()],
            "completion_prices": [price.completion for price in models.values()],
            "connections": [ws.connection for ws in web_sockets],
            "users": [ws.user_id for ws in web_sockets],
            "sessions": [ws.session_id for ws in web_sockets],
            "devices": [ws.device_type for ws in web_sockets],
        }


async def read_definitions(
    specs: Sequence[MetricSpec], transaction: Transaction, terms: Terms, web_sockets: Sequence[WebSocket] = ()
) -> list[Sample]:
    """Return the samples of these metrics, computed from their definitions as of the transaction's `now`. Metrics
    without a definition, and samples that need an input that is not provided, are left out.

    Raises CollectionFailed where a table or column is missing.
    """
    parameters = terms.parameters(web_sockets)
    samples: list[Sample] = []
    for spec in specs:
        if spec.definition is None or not spec.exists(terms.not_provided):
            continue
        if not await _is_there(spec.definition.table, transaction):
            continue
        sql = _without(terms.not_provided, spec.definition.sql)
        used = {name: value for name, value in parameters.items() if f"%({name})s" in sql}
        for *labels, value in await transaction.rows(sql, used):
            samples.append(Sample(spec, tuple(labels), float(value)))
    return list(provided(samples, terms.not_provided))


async def _is_there(table: str, transaction: Transaction) -> bool:
    ((found,),) = await transaction.rows("SELECT to_regclass(%(table)s) IS NOT NULL", {"table": table or "pg_class"})
    return bool(found)


def _without(not_provided: Collection[str], sql: str) -> str:
    """Return the SQL of a definition with NULL for each column that is not provided. (In `WITH sessions AS (SELECT ...
    FROM sessions)` the second name is that of the table, and in all that follows the name is that of the first.)"""
    tables = []
    for table, columns in REQUIRED.items():
        optional = optional_columns(table)
        if any(each.name in not_provided for each in optional.values()):
            read = [
                f"NULL::{each.type} AS {name}" if each.name in not_provided else name for name, each in optional.items()
            ]
            tables.append(f"{table} AS NOT MATERIALIZED (SELECT {', '.join((*columns, *read))} FROM {table})")
    return f"WITH {', '.join(tables)} SELECT * FROM ({sql}) AS defined" if tables else sql


# SQL that several definitions share ---------------------------------------------------------------------------------


def word(column: str) -> str:
    """Return SQL for the word in a column of any type, without case and surrounding blanks."""
    return f"regexp_replace(lower({column}::text), '^\\s+|\\s+$', '', 'g')"


_PLAN, _STATUS = word("s.plan"), word("s.status")

PLAN_CLASS = f"""
CASE
  WHEN EXISTS (SELECT FROM subscriptions s WHERE s.user_id = users.id AND {_PLAN} <> ALL(%(free_plans)s::text[])
               AND {_PLAN} NOT IN ('trial', '') AND {_STATUS} IN ('active', 'past_due')
               AND (s.ended_at IS NULL OR s.ended_at > %(now)s)) THEN 'paid'
  WHEN EXISTS (SELECT FROM subscriptions s WHERE s.user_id = users.id AND {_PLAN} = 'trial'
               AND (s.ended_at IS NULL OR s.ended_at > %(now)s) AND s.trial_ends_at > %(now)s) THEN 'trial'
  WHEN EXISTS (SELECT FROM subscriptions s WHERE s.user_id = users.id AND {_PLAN} = 'trial'
               AND s.trial_ends_at <= %(now)s) THEN 'trial_expired'
  ELSE 'free'
END
"""
"""The plan class of a row of `users` (docs/definitions.md#plan-class)."""


def requests_in_windows(table: str) -> str:
    """Return SQL for the number of rows of the table by `created_at`, per window of requests."""
    return f"""
SELECT windows.name, (SELECT count(*) FROM {table}
                      WHERE created_at > %(now)s - windows.length AND created_at <= %(now)s)
FROM (VALUES ('1m', interval '1 minute'), ('1h', interval '1 hour'), ('24h', interval '24 hours'))
  AS windows(name, length)
"""


# Ids in Redis are text. Ids that are equal in the type of the session's column are the same id: a uuid or an integer in
# any notation, a citext in either case (docs/definitions.md#types-and-words).
def _same_id(text: str, column: str) -> str:
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


ONLINE = f"""
WITH ws AS (
  SELECT connection, {_same_id("ws.user_id", "user_id")} AS user_id, {_same_id("ws.session_id", "id")} AS session_id,
         {word("ws.device_type")} AS device_type
  FROM unnest(%(connections)s::text[], %(users)s::text[], %(sessions)s::text[], %(devices)s::text[])
    AS ws(connection, user_id, session_id, device_type)
), said AS (
  SELECT {_same_id("id::text", "id")} AS id, {_same_id("user_id::text", "user_id")} AS user_id, {word("kind")} AS kind,
         {word("device_type")} AS device_type, last_heartbeat_at, ended_at
  FROM sessions
), online AS (
  SELECT id, user_id, kind, device_type FROM said
  WHERE (last_heartbeat_at > %(now)s - interval '2 minutes' AND ended_at IS NULL
         AND last_heartbeat_at <= %(now)s + interval '5 minutes')
     OR id IN (SELECT session_id FROM ws)
)
"""
"""The WebSockets as `ws`, and the online sessions, by heartbeat or by WebSocket, as `online`."""


def _bounded(column: str) -> str:
    """Return SQL for an open label: that of the first 200 by their raw values, else `other`."""
    return f"""(SELECT CASE WHEN place <= 200 THEN label ELSE 'other' END FROM (
      SELECT label, row_number() OVER (ORDER BY min(raw COLLATE "C")) AS place
      FROM (SELECT {column} AS raw, {column}_label AS label FROM cut) AS _ GROUP BY label) AS places
    WHERE places.label = cut.{column}_label)"""


def _cut(column: str, others: str = "") -> str:
    allowed = f"regexp_replace(left({column}, 1000), '[^A-Za-z0-9._:{others}-]+', '', 'g')"
    return f"coalesce(nullif(left({allowed}, 100), ''), 'unknown')"


WORKERS = f"""
WITH said AS (
  SELECT DISTINCT ON (1) coalesce(worker_id::text, '') AS id, {word("kind")} AS kind, last_heartbeat_at AS beat,
         {word("to_jsonb(workers) ->> 'state'")} AS state,
         coalesce(nullif(to_jsonb(workers) ->> 'instance_type', ''), 'unknown') AS instance_type,
         coalesce(nullif(to_jsonb(workers) ->> 'lifecycle', ''), 'unknown') AS lifecycle
  FROM workers
  WHERE last_heartbeat_at >= greatest(%(now)s - make_interval(secs => %(worker_forgotten_seconds)s), 'epoch')
    AND last_heartbeat_at <= %(now)s::timestamptz + interval '5 minutes'
  ORDER BY 1, last_heartbeat_at DESC
), cut AS (
  SELECT id, CASE WHEN coalesce(kind, '') = '' THEN %(worker_default_kind)s
                  WHEN kind = ANY(%(worker_kinds)s::text[]) THEN kind ELSE 'unknown' END AS kind,
         beat, state, instance_type, lifecycle,
         {_cut("id", "@")} AS id_label, {_cut("instance_type")} AS instance_type_label,
         CASE WHEN {word("lifecycle")} IN ('spot', 'on-demand') THEN {word("lifecycle")}
              ELSE {_cut("lifecycle")} END AS lifecycle_label
  FROM said
), workers_known AS (
  SELECT DISTINCT ON (1, 2) {_bounded("id")} AS worker, kind, beat, coalesce(state, '') AS state,
         beat >= %(now)s - make_interval(secs => %(worker_healthy_seconds)s) AS healthy,
         {_bounded("instance_type")} AS instance_type, {_bounded("lifecycle")} AS lifecycle
  FROM cut ORDER BY 1, 2, beat, id COLLATE "C" DESC
)
"""
"""The workers whose heartbeats are in the table `workers`, under their labels, as `workers_known`
(docs/definitions.md#worker)."""


def _spellings(word: str) -> tuple[str, str]:
    """Return a word in small letters, and with those beyond ASCII as capitals: by the database's collation, `lower` may
    leave these."""
    return word.lower(), "".join(letter if letter.isascii() else letter.upper() for letter in word.lower())
