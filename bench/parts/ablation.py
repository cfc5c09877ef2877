"""Three parts of the product whose code is justified by savings alone: each measured with and without.

A part that saves less than a tenth of the cost to a user is to be deleted. The ablation is no regular row of the table:
it runs on request, `--only ablation`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from bench import data, stepped
from bench.figures import Figure, Target, at_least, ratio
from bench.log_readers import LINE_BY_LINE
from bench.measure import memory_mb
from bench.parts.logs import read_log
from bench.product import FIRST_PASS_SECONDS, REFRESH_SECONDS, Product, all_up
from bench.run import Run
from demo.database import EXPORTER_ROLE

PART = "ablation"

WORTH_KEEPING = 10 / 9
"""Least ratio of the cost without a part to the cost with it: the part then saves a tenth."""

REFRESHES = 120
"""Refreshes in half an hour: half of the period in which each hour of the last day has its turn."""

SETTLE_SECONDS = 5.0


def measure(run: Run) -> Sequence[Figure]:
    """Measure the three parts in turn and return their figures."""
    return [*_row_versions(run), *_log_batches(run), *_memory(run)]


def _row_versions(run: Run) -> Sequence[Figure]:
    options = run.options
    with run.progress.stage(PART, f"{options.size:,} AI events of {options.users:,} users"):
        shape = data.Shape(options.users, options.size)
        database = data.create(run.postgres, PART, shape, options.seed)
    with run.progress.stage(PART, f"{REFRESHES} refreshes with row versions and without"):
        used = stepped.measure(database, REFRESHES)
    name, note = "database time in 15 s, of the collectors of PostgreSQL", f"{REFRESHES * REFRESH_SECONDS / 60:.0f} min"
    kept, without = (
        Figure(PART, f"{side} row versions: {name}", used[role].milliseconds / REFRESHES, "ms", note=note)
        for side, role in (("with", stepped.WITH), ("without", stepped.WITHOUT))
    )
    return [kept, without, ratio(PART, "without / with row versions, database time", without, kept, _worth())]


def _log_batches(run: Run) -> Sequence[Figure]:
    ways = {"with": "product", "without": LINE_BY_LINE}
    seconds: dict[str, list[float]] = {side: [] for side in ways}
    for number in range(run.options.rounds):
        with run.progress.stage(PART, f"a log, round {number + 1} of {run.options.rounds}"):
            for side in list(ways)[:: 1 if number % 2 else -1]:
                seconds[side].append(read_log(ways[side], run.log)[1])
    kept, without = (
        Figure.median(
            PART, f"{side} batches of log lines: CPU time a million lines", _per_million(run, seconds[side]), "s"
        )
        for side in ways
    )
    return [kept, without, ratio(PART, "without / with batches of log lines, CPU time", without, kept, _worth())]


def _per_million(run: Run, seconds: Sequence[float]) -> list[float]:
    return [each / run.log.lines * 1e6 for each in seconds]


class _WithoutMemory(Product):
    """The exporter without `exporter/memory.py`."""

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "bench.without", "memory"]


def _memory(run: Run) -> Sequence[Figure]:
    resident: dict[str, list[float]] = {"with": [], "without": []}
    kinds = {"with": Product, "without": _WithoutMemory}
    for number in range(run.options.rounds):
        for side in list(kinds)[:: 1 if number % 2 else -1]:
            with run.progress.stage(PART, f"a start {side} memory.py, {number + 1} of {run.options.rounds}"):
                product = kinds[side](
                    run.directory / f"{PART}-{side}-{number}",
                    database_url=run.base.url_as(EXPORTER_ROLE),
                    redis_url=run.quiet_valkey.url,
                )
                with product:
                    product.wait_for(all_up, "all collectors up", FIRST_PASS_SECONDS)
                    product.wait_for_page()
                    time.sleep(SETTLE_SECONDS)
                    resident[side].append(memory_mb(product.pid)[0])
    kept, without = (
        Figure.median(PART, f"{side} memory.py: resident memory after a start", values, "MB")
        for side, values in resident.items()
    )
    return [kept, without, ratio(PART, "without / with memory.py, resident memory", without, kept, _worth())]


def _worth() -> Target:
    return at_least(WORTH_KEEPING)
