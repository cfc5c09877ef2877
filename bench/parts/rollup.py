"""The cost of the roll-up's single pass, beside a COUNT(DISTINCT) per day over the same days of the same rows; and the
database time of `--every 5m`: its first run, and its runs of a whole day after that.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import date

import psycopg

from bench import data, every
from bench.figures import Figure, at_least, at_most, ratio
from bench.run import Run
from rollup.connection import connected
from rollup.daily import Row, read_days
from rollup.days import DAY, pieces, span

PART = "rollup"
DAYS = 30
TIMES_NAIVE = 10.0
BIG = 5_000_000
TIMES_FIRST, TIMES_FIRST_BIG = 50.0, 400.0
"""Least cost of a first run, in steady runs: the cost of a steady run has a fixed part. The second from BIG on."""
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
  (SELECT (extract(epoch FROM sum(completed_at - created_at)) * 1000000)::float8 / (1000 * count(*)) FROM (
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
    first_run, steady, differing = _every(run)  # last, as its rows are ahead of the server's clock
    times = TIMES_FIRST_BIG if run.options.size >= BIG else TIMES_FIRST
    return [
        single_pass,
        a_day,
        ratio(PART, "COUNT(DISTINCT) a day / single pass", a_day, single_pass, at_least(TIMES_NAIVE)),
        Figure(PART, "days that differ", max(wrong), "", at_most(0), "every column, exactly", tuple(wrong)),
        first_run,
        steady,
        ratio(PART, "first run / steady run", first_run, steady, at_least(times)),
        Figure(PART, "days of --every that differ", differing, "", at_most(0), "the last four, after that day"),
    ]


def _every(run: Run) -> tuple[Figure, Figure, float]:
    """Return the database time of the first run and of a steady run, and the number of days that differ at the end."""
    with run.progress.stage(PART, f"--every 5m: a first run, and {every.RUNS} runs, those of a day"):
        followed = asyncio.run(every.measure(run.base))
    _, expected = _naive(run.base, [row.date for row in followed.rows])
    differing = sum(one != other for one, other in zip(followed.rows, expected, strict=True))
    mean, most = statistics.fmean(followed.steady), max(followed.steady)
    return (
        Figure(PART, "--every, first run", followed.first, "ms", note="database time"),
        Figure(PART, "--every, steady run", mean, "ms", note=f"mean of the runs of a day; the longest {most:.0f} ms"),
        float(differing),
    )


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
