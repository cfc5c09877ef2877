"""python -m faults: strike the exporter with every fault and with random pairs of them, and print the table.

Exit status: 0 if every promise was held, 1 if one was not, 2 for invalid options, 130 when interrupted. A run of the
whole table is written to docs/reliability.md; with --only, only to the file of --results.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.conditions import machine
from faults import report
from faults.catalogue import CATALOGUE
from faults.run import Row, choose_pairs, strike
from faults.scene import Scene
from faults.table import Fault
from servers.temporary import temporary_directory

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
PAIRS, SEED = 8, 7
STATUS_BROKEN, STATUS_INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None, table: Mapping[str, Fault] = CATALOGUE) -> int:
    """Run the faults and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="NAME,...", help="these faults alone, and no pairs unless asked for")
    parser.add_argument("--pairs", type=int, metavar="N", help=f"random pairs of faults (default {PAIRS})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the pairs and the traffic (default {SEED})")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and shorter faults")
    parser.add_argument("--results", type=Path, metavar="FILE", help="the page of the table")
    parser.add_argument("--list", action="store_true", help="print the faults and end")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print("\n".join(f"{each.name:<40} {each.about}" for each in table.values()))
        return 0
    names = list(table) if chosen.only is None else chosen.only.split(",")
    if unknown := [name for name in names if name not in table]:
        parser.error(f"--only: no fault {', '.join(unknown)}; there are {', '.join(table)}")
    pairs = chosen.pairs if chosen.pairs is not None else PAIRS if chosen.only is None else 0
    page = chosen.results or (PAGE if chosen.only is None else None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        rows, conditions = _run([table[name] for name in names], pairs, seed=chosen.seed, quick=chosen.quick)
    except KeyboardInterrupt:
        print("\nInterrupted: everything that was started is stopped, nothing was written.", file=sys.stderr)
        return STATUS_INTERRUPTED
    if page is not None:
        report.write(page, rows, conditions)
    print(f"\n{report.summary(rows)}", flush=True)
    return STATUS_BROKEN if any(row.wrong for row in rows) else 0


def _run(faults: Sequence[Fault], pairs: int, *, seed: int, quick: bool) -> tuple[list[Row], dict[str, str]]:
    started, conditions = time.monotonic(), machine()
    rows: list[Row] = []
    with Scene(temporary_directory("hivesync-faults-"), seed=seed, quick=quick) as scene:
        conditions["versions"] = scene.versions()
        for struck in [(each,) for each in faults] + choose_pairs(faults, scene, pairs):
            rows.append(strike(scene, *struck))
            print(report.line(rows[-1]), flush=True)
    conditions |= {
        "load average after": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seed": str(seed),
        "took": f"{time.monotonic() - started:.0f} s",
    }
    return rows, conditions


if __name__ == "__main__":
    sys.exit(main())
