"""The cost of the roll-up's single pass, beside a COUNT(DISTINCT) per day over the same days of the same rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import date

import psycopg

from bench import data
from bench.figures import Figure, at_least, at_most, ratio
from bench.run import Run
from rollup.connection import connected
from rollup.daily import Row, read_days
from rollup.days import DAY, pieces, span

PART = "rollup"
DAYS = 30
TIMES_NAIVE = 10.0
MEMORY = "64MB"
"""Memory for sorts and hashes, the same on both sides."""

# A day straight from its definition, written with care: each table read over its index, one pass per number, and only
# rows of the day or its window.
_NAIVE = """
SELECT
  (SELECT count(DISTINCT user_id) FROM (
     SELECT user_id FROM ai_usage_events WHERE created_at >= %(day)s AND created_at < %(end)s
     UNION ALL SELECT user_id FROM sessions WHERE created_at >= %(day)s AND created_at < %(end)s
     UNION ALL SELECT user_id FROM preview_jobs WHERE created_at >= %(day)s AND created_at < %(end)s) AS activity),
  (SELECT count(DISTINCT user_id) FROM (
     SELECT user_id FROM ai_usage_events WHERE created_at >= %(window)s AND created_at < %(end)s
     UNION ALL SELECT user_id FROM sessions WHERE created_at >= %(window)s AND created_at < %(end)s
     UNION ALL SELECT user_id FROM preview_jobs WHERE created_at >= %(window)s AND created_at < %(end)s) AS activity),
  (SELECT count(*) FROM ai_usage_events WHERE created_at >= %(day)s AND created_at < %(end)s),
  (SELECT count(*) FROM preview_jobs WHERE created_at >= %(day)s AND created_at < %(end)s),
  (SELECT (extract(epoch FROM sum(completed_at - created_at)) * 1000 / count(*))::float8 FROM (
     SELECT created_at, completed_at FROM ai_usage_events
     WHERE status = 'succeeded' AND completed_at >= %(day)s AND completed_at < %(end)s
     UNION ALL SELECT created_at, completed_at FROM preview_jobs
     WHERE status = 'succeeded' AND completed_at >= %(day)s AND completed_at < %(end)s) AS jobs)
"""


def measure(run: Run) -> Sequence[Figure]:
    """Measure the seconds for the last 30 whole days, both ways in turn, and the number of values that differ."""
    base = run.base
    days = _days(base)
    single: list[float] = []
    naive: list[float] = []
    wrong: list[float] = []
    for number in range(run.options.rounds):
        with run.progress.stage(PART, f"round {number + 1} of {run.options.rounds}: {len(days)} days, both ways"):
            seconds, rows = _single_pass(base, days)
            single.append(seconds)
            if number == 0 or run.options.size <= 1_000_000:  # with more rows a repetition takes minutes
                seconds, expected = _naive(base, days)
                naive.append(seconds)
            wrong.append(float(sum(one != other for one, other in zip(rows, expected, strict=True))))
    single_pass = Figure.median(
        PART, f"single pass, {len(days)} days", single, "s", note="python -m rollup's statement, one for all days"
    )
    a_day = Figure.median(PART, "COUNT(DISTINCT) a day", naive, "s", note="one careful statement a day")
    return [
        single_pass,
        a_day,
        ratio(PART, "COUNT(DISTINCT) a day / single pass", a_day, single_pass, at_least(TIMES_NAIVE)),
        Figure(PART, "days that differ", max(wrong), "", at_most(0), "every column, exactly", tuple(wrong)),
    ]


def _days(base: data.Database) -> list[date]:
    with psycopg.connect(base.url) as connection:
        ((today,),) = connection.execute("SELECT (now() AT TIME ZONE 'UTC')::date").fetchall()
    return list(span(today - DAYS * DAY, today - DAY))


def _single_pass(base: data.Database, days: Sequence[date]) -> tuple[float, list[Row]]:
    async def read() -> list[Row]:
        async with connected(base.url) as connection:
            return [row for piece in pieces(days) for row in await read_days(connection, piece)]

    began = time.perf_counter()
    rows = asyncio.run(read())
    return time.perf_counter() - began, rows


def _naive(base: data.Database, days: Sequence[date]) -> tuple[float, list[Row]]:
    rows = []
    with psycopg.connect(base.url, autocommit=True) as connection:
        for name, value in {"timezone": "UTC", "work_mem": MEMORY, "jit": "off"}.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        began = time.perf_counter()
        for day in days:
            values = {"day": day, "end": day + DAY, "window": day - 29 * DAY}
            (row,) = connection.execute(_NAIVE, values).fetchall()
            rows.append(Row(day, *row))
        return time.perf_counter() - began, rows
