"""python -m soak: load the exporter for hours with a fault a minute, and print the trend of every resource.

Exit status: 0 if nothing was lost and every resource is flat; 1 if a promise was broken or a resource grows; 3 if the
run was too short to tell; 2 for invalid options, 130 when interrupted. A run that is long enough for trends is written
to docs/reliability.md; a shorter one only to the file of --results.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.conditions import machine
from faults.catalogue import CATALOGUE
from faults.table import Fault
from servers.temporary import temporary_directory
from soak import report
from soak.plan import left_out, obstacle
from soak.run import Options, open_scene, run
from soak.trends import FLAT, GROWS, LEAST_SECONDS, WARM_UP_SECONDS

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
HOURS, SEED, EVERY_SECONDS = 1.0, 7, 60.0
ROWS, LINES, SCRAPERS, PAGES = 2_000.0, 5_000.0, 50, 50
MOST_ROWS = 20_000_000
"""Rows of a run, which the machine has to hold: a run of more than some hours makes fewer per second."""

QUICK_HOURS = 0.1
"""Duration (hours) below which faults are small, and PostgreSQL's files in memory."""

STATUS_BROKEN, STATUS_TOO_SHORT, STATUS_INTERRUPTED = 1, 3, 130


def main(arguments: Sequence[str] | None = None, table: Mapping[str, Fault] = CATALOGUE) -> int:
    """Run a soak and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hours", type=_positive, default=HOURS, help=f"of load, as in 0.5 (default {HOURS:g})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the faults and the traffic (default {SEED})")
    parser.add_argument("--rows", type=_positive, help=f"rows per second (default {ROWS:g}, fewer in a long run)")
    parser.add_argument("--lines", type=_positive, default=LINES, help=f"log lines per second (default {LINES:g})")
    parser.add_argument("--scrapers", type=int, default=SCRAPERS, help=f"scrapers (default {SCRAPERS})")
    parser.add_argument("--pages", type=int, default=PAGES, help=f"clients of the page (default {PAGES})")
    parser.add_argument("--every", type=_positive, default=EVERY_SECONDS, help="seconds between faults (default 60)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="the page of the results")
    parser.add_argument("--list", action="store_true", help="print the faults, and those that are left out, and end")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print("\n".join(f"{each.name:<40} {obstacle(each) or 'strikes'}" for each in table.values()))
        return 0
    rows = chosen.rows or min(ROWS, MOST_ROWS / (chosen.hours * 3600))
    options = Options(
        chosen.hours,
        chosen.seed,
        rows,
        chosen.lines,
        chosen.scrapers,
        chosen.pages,
        chosen.every,
        quick=chosen.hours < QUICK_HOURS,
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    conditions = machine()
    try:
        with open_scene(temporary_directory("hivesync-soak-"), options) as scene:
            result = run(scene, options, table, lambda each: print(report.line(each), flush=True))
    except KeyboardInterrupt:
        print("\nInterrupted: everything that was started is stopped, nothing was written.", file=sys.stderr)
        return STATUS_INTERRUPTED
    conditions |= {
        "load average after": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": result.versions,
        "hours, seed": f"{options.hours:g}, {options.seed}",
    }
    long_enough = options.seconds >= LEAST_SECONDS + WARM_UP_SECONDS[0]
    if page := chosen.results or (PAGE if long_enough else None):
        report.write(page, report.section(options, result, conditions, left_out(table.values())))
    print(f"\n{report.trends(result)}\n")
    print("\n".join(f"{name}: {value}" for name, value in report.figures(options, result).items()))
    print("\n".join(["", *result.broken, report.summary(result)]), flush=True)
    verdict = report.verdict(result)
    if result.broken or verdict == GROWS:
        return STATUS_BROKEN
    return 0 if verdict == FLAT else STATUS_TOO_SHORT


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"should be a number above 0, not {text!r}")
    return number


if __name__ == "__main__":
    sys.exit(main())
