"""The past of those metrics that are still known from PostgreSQL's rows, a value per hour (`--history`).

So a new installation's charts begin with the first activity, not with the first scrape. Included are active users, AI
and preview requests, AI errors and latencies; not included are metrics without rows: online users, queues, workers,
costs.

    read_history (rows an hour) -> HourlySeries -> openmetrics.py (text for promtool)

Users count under the plan class they had at that hour (docs/definitions.md#plan-class), as far as subscriptions show
it: starts, ends and cancellations since then are known, a `past_due` of that time is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from exporter.collectors.activity import ACTIVE_USERS
from exporter.collectors.ai import ERRORS
from exporter.collectors.ai import REQUESTS as AI_REQUESTS
from exporter.collectors.latency import LATENCY, TABLES
from exporter.collectors.previews import REQUESTS as PREVIEW_REQUESTS
from exporter.columns import WORD, is_word, optional, words
from exporter.labels import OTHER, folded_forms
from exporter.spec import MetricSpec
from exporter.vocabulary import AI_ERROR_KINDS, FREE_PLANS, PAYING_STATUSES, PLAN_CLASSES, TRIAL
from rollup.connection import transaction

HOUR = timedelta(hours=1)
ACTIVE_WINDOWS = {"24h": 24, "30d": 30 * 24}
"""Hours."""

Points = Mapping[datetime, float]

# A time counts for the full hour at its end: windows are open at their start, closed at their end.
_HOUR = "date_bin('1 hour', {0} - interval '1 microsecond', 'epoch') + interval '1 hour'"


@dataclass(frozen=True, slots=True)
class HourlySeries:
    """One series of the past: its labels, and its value at each full hour with a value."""

    spec: MetricSpec
    labels: tuple[str, ...]
    points: Points


_PLAN = f"coalesce({WORD.format('s.plan')}, '')"


def _class_then(trial_ends_at: str, ended_at: str) -> str:
    return f"""
CASE
  WHEN EXISTS (SELECT FROM subscriptions s WHERE s.user_id = marks.user_id AND {_PLAN} <> ALL(%(free_plans)s)
               AND {_PLAN} <> '{TRIAL}'
               AND s.started_at <= marks.at AND ({ended_at} IS NULL OR {ended_at} > marks.at)
               AND ({WORD.format("s.status")} IN {words(PAYING_STATUSES)} OR {ended_at} <= now())) THEN 'paid'
  WHEN EXISTS (SELECT FROM subscriptions s WHERE s.user_id = marks.user_id AND {_PLAN} = '{TRIAL}'
               AND s.started_at <= marks.at AND ({ended_at} IS NULL OR {ended_at} > marks.at)
               AND {trial_ends_at} > marks.at) THEN 'trial'
  WHEN EXISTS (SELECT FROM subscriptions s WHERE s.user_id = marks.user_id AND {_PLAN} = '{TRIAL}'
               AND s.started_at <= marks.at AND {trial_ends_at} <= marks.at) THEN 'trial_expired'
  ELSE 'free'
END
"""


# As in daily.py: every active hour makes its user one of the window's for the hours from it on, until the next active
# hour takes over or the window has passed. The result is the change of the number of users, hour by hour.
def _active(not_provided: Collection[str]) -> str:
    trial_ends_at, ended_at = (
        optional(f"subscriptions.{column}", not_provided, "s") for column in ("trial_ends_at", "ended_at")
    )
    return f"""
WITH hits AS (
  SELECT user_id, {_HOUR.format("created_at")} AS hour FROM ai_usage_events
  WHERE created_at > %(lead)s AND created_at <= %(last)s AND user_id IS NOT NULL GROUP BY 1, 2
  UNION SELECT user_id, {_HOUR.format("created_at")} FROM preview_jobs
  WHERE created_at > %(lead)s AND created_at <= %(last)s AND user_id IS NOT NULL GROUP BY 1, 2
  UNION SELECT user_id, {_HOUR.format("created_at")} FROM sessions
  WHERE created_at > %(lead)s AND created_at <= %(last)s AND user_id IS NOT NULL GROUP BY 1, 2
), intervals AS (
  SELECT user_id, hour AS since,
         least(hour + %(length)s, lead(hour) OVER (PARTITION BY user_id ORDER BY hour)) AS until
  FROM hits
), marks AS (
  SELECT DISTINCT s.user_id, times.at
  FROM subscriptions s JOIN users ON users.id = s.user_id,
    LATERAL (VALUES (s.started_at), ({ended_at}), ({trial_ends_at})) AS times(at)
  WHERE {_PLAN} <> ALL(%(free_plans)s) AND times.at IS NOT NULL
), classes AS (
  SELECT user_id, {_class_then(trial_ends_at, ended_at)} AS plan, at AS since,
         coalesce(lead(at) OVER (PARTITION BY user_id ORDER BY at), 'infinity') AS until
  FROM marks
), shares AS (
  SELECT plan, greatest(intervals.since, {_HOUR.format("classes.since")}) AS since,
         least(intervals.until, {_HOUR.format("classes.until")}) AS until
  FROM intervals JOIN classes USING (user_id)
  WHERE plan <> 'free' AND classes.since < intervals.until AND classes.until > intervals.since
), parts AS (
  SELECT 'all' AS plan, since, until FROM intervals UNION ALL SELECT plan, since, until FROM shares WHERE since < until
)
SELECT plan, hour, sum(change)::bigint FROM (
  SELECT plan, since AS hour, count(*) AS change FROM parts GROUP BY 1, 2
  UNION ALL SELECT plan, until, -count(*) FROM parts GROUP BY 1, 2
) AS changes WHERE hour <= %(last)s GROUP BY 1, 2
"""


_REQUESTS = f"""
SELECT {_HOUR.format("created_at")} AS hour, count(*),
       count(*) FILTER (WHERE created_at > {_HOUR.format("created_at")} - interval '1 minute')
FROM {{table}} WHERE created_at > %(lead)s AND created_at <= %(last)s GROUP BY 1
"""


def _errors_by_kind(not_provided: Collection[str]) -> str:
    kind = WORD.format(optional("ai_usage_events.error_kind", not_provided))
    return f"""
SELECT {_HOUR.format("completed_at")} AS hour,
       CASE WHEN {kind} = ANY(%(kinds)s) THEN {kind} ELSE '{OTHER}' END, count(*)
FROM ai_usage_events
WHERE {WORD.format("status")} = 'failed' AND completed_at > %(lead)s AND completed_at <= %(last)s GROUP BY 1, 2
"""


_LATENCY = f"""
SELECT hour, windows.name, (extract(epoch FROM sum(latency)) / count(*))::float8
FROM (SELECT {_HOUR.format("completed_at")} AS hour, completed_at, completed_at - created_at AS latency FROM {{table}}
      WHERE {is_word("status", "succeeded")} AND completed_at > %(lead)s AND completed_at <= %(last)s
        AND completed_at >= created_at AND isfinite(created_at)) AS jobs
JOIN (VALUES ('1m', interval '1 minute'), ('15m', interval '15 minutes'), ('1h', interval '1 hour'))
  AS windows(name, length) ON completed_at > hour - windows.length
GROUP BY 1, 2
"""


async def read_history(
    connection: AsyncConnection[Any],
    first: datetime,
    last: datetime,
    free_plans: Sequence[str] = FREE_PLANS,
    not_provided: Collection[str] = (),
) -> list[HourlySeries]:
    """Return all series from `first` to `last`, both full hours, without those that need an input that is not provided;
    in one snapshot. Memory grows with hours, not with rows."""
    async with transaction(connection, read_only=True):
        series = [
            *await _active_users(connection, first, last, [*folded_forms(free_plans), ""], _active(not_provided)),
            *await _requests(connection, AI_REQUESTS, "ai_usage_events", first, last),
            *await _errors(connection, first, last, _errors_by_kind(not_provided)),
            *await _requests(connection, PREVIEW_REQUESTS, "preview_jobs", first, last),
            *[one for queue in TABLES for one in await _latencies(connection, queue, first, last)],
        ]
    return [
        one
        for one in series
        if one.spec.lacks(not_provided, dict(zip(one.spec.label_names, one.labels, strict=True))) is None
    ]


async def _active_users(
    connection: AsyncConnection[Any], first: datetime, last: datetime, free_plans: Sequence[str], query: str
) -> list[HourlySeries]:
    found = []
    for window, hours in ACTIVE_WINDOWS.items():
        changes: dict[str, dict[datetime, float]] = defaultdict(dict)
        for plan, hour, change in await _rows(
            connection, query, lead=first - hours * HOUR, last=last, length=hours * HOUR, free_plans=free_plans
        ):
            changes[plan][hour] = change
        lead = first - (hours - 1) * HOUR
        counts = {plan: _running(changes[plan], lead, last) for plan in ("all", *PLAN_CLASSES[:-1])}
        everyone = counts.pop("all")
        counts["free"] = {hour: everyone[hour] - sum(points[hour] for points in counts.values()) for hour in everyone}
        for plan, points in counts.items():
            found.append(HourlySeries(ACTIVE_USERS, (window, plan), {h: n for h, n in points.items() if h >= first}))
    return found


async def _requests(
    connection: AsyncConnection[Any], spec: MetricSpec, table: str, first: datetime, last: datetime
) -> list[HourlySeries]:
    rows = await _rows(connection, _REQUESTS.format(table=table), lead=first - 24 * HOUR, last=last)
    hourly = {hour: count for hour, count, _ in rows}
    minutes = {hour: count for hour, _, count in rows}
    hours = list(_hours(first, last))
    return [
        HourlySeries(spec, ("1m",), {hour: minutes.get(hour, 0) for hour in hours}),
        HourlySeries(spec, ("1h",), {hour: hourly.get(hour, 0) for hour in hours}),
        HourlySeries(spec, ("24h",), _over_a_day(hourly, hours)),
    ]


async def _errors(connection: AsyncConnection[Any], first: datetime, last: datetime, query: str) -> list[HourlySeries]:
    hourly: dict[str, dict[datetime, int]] = defaultdict(dict)
    for hour, kind, count in await _rows(
        connection, query, lead=first - 24 * HOUR, last=last, kinds=list(AI_ERROR_KINDS)
    ):
        hourly[kind][hour] = count
    hours = list(_hours(first, last))
    return [HourlySeries(ERRORS, ("24h", kind), _over_a_day(hourly[kind], hours)) for kind in (*AI_ERROR_KINDS, OTHER)]


async def _latencies(
    connection: AsyncConnection[Any], queue: str, first: datetime, last: datetime
) -> Iterable[HourlySeries]:
    averages: dict[str, dict[datetime, float]] = defaultdict(dict)
    for hour, window, average in await _rows(
        connection, _LATENCY.format(table=TABLES[queue]), lead=first - HOUR, last=last
    ):
        averages[window][hour] = average
    return [HourlySeries(LATENCY, (queue, window), points) for window, points in sorted(averages.items())]


async def _rows(connection: AsyncConnection[Any], query: str, **parameters: object) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(query.encode(), parameters)
    return await cursor.fetchall()


def _hours(first: datetime, last: datetime) -> Iterator[datetime]:
    return (first + index * HOUR for index in range((last - first) // HOUR + 1))


def _running(changes: Mapping[datetime, float], first: datetime, last: datetime) -> dict[datetime, float]:
    """Return the cumulative sum at every hour."""
    total, found = 0.0, {}
    for hour in _hours(first, last):
        total += changes.get(hour, 0)
        found[hour] = total
    return found


def _over_a_day(hourly: Mapping[datetime, int], hours: Iterable[datetime]) -> dict[datetime, float]:
    """Return the sum over the 24 hours that end with each hour."""
    return {hour: sum(hourly.get(hour - index * HOUR, 0) for index in range(24)) for hour in hours}
