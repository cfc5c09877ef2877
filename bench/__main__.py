"""python -m bench: measure, print a table, write it to bench/results.

Exit status: 0 after a complete run, with or without figures that could not be measured and targets that are missed (the
table shows both), 1 when the product's windows differed from the definitions, 2 for invalid options, 130 when
interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import conditions, report
from bench.conditions import Options
from bench.figures import Figure
from bench.measure import NotMeasured
from bench.parts import PARTS
from bench.progress import Progress
from bench.run import Run
from servers.child import ChildError
from servers.temporary import temporary_directory

RESULTS = Path(__file__).with_name("results")
STATUS_DIFFERS = 1
STATUS_INTERRUPTED = 130

SMALLEST = 1_000
BIG = 5_000_000
"""Number of AI events from which a run is about endurance: ten minutes of steady running, and the long history on
request."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts and return the exit status."""
    options, results = _options(arguments)
    progress = Progress()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: progress.interrupt())
    try:
        return _run(options, results, progress)
    except KeyboardInterrupt:
        print("\nInterrupted: everything that was started is stopped, nothing was written.", file=sys.stderr)
        return STATUS_INTERRUPTED


def _run(options: Options, results: Path, progress: Progress) -> int:
    started = time.monotonic()
    load = conditions.machine()
    figures: list[Figure] = []
    with ExitStack() as stack:
        run = Run(options, temporary_directory("hivesync-bench-"), progress, stack)
        for part in PARTS:
            if part.name not in options.parts:
                continue
            try:
                figures += part.measure(run)
            except (NotMeasured, ChildError) as error:
                figures.append(Figure(part.name, part.about, None, "", note=str(error).partition("\n")[0]))
                run.progress.say(f"{part.name}: not measured: {error}")
    seconds = time.monotonic() - started
    shown = {
        **load,
        "load average after": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "versions": ", ".join(
            f"{name} {version}" for name, version in (conditions.own_versions() | run.versions).items()
        ),
        "options": conditions.shown(options),
        "verify": "DIFFERS" if run.differences else "nil",
        "took": f"{seconds:.0f} s",
    }
    print("\n" + report.as_text(figures, shown), flush=True)
    report.write(results, str(options.size), figures, shown, f"Benchmark at {options.size:,} AI events")
    if run.differences:
        print("\nThe windows differ from the definitions:\n" + "\n\n".join(run.differences), file=sys.stderr)
        return STATUS_DIFFERS
    return 0


def _options(arguments: Sequence[str] | None) -> tuple[Options, Path]:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=_Formatter)
    names = [part.name for part in PARTS]
    parser.add_argument("--size", type=int, default=1_000_000, help="AI events in thirty days (default 1000000)")
    parser.add_argument(
        "--only",
        default=",".join(part.name for part in PARTS if part.is_regular),
        metavar="PART,...",
        help="these parts alone: " + ", ".join(names),
    )
    parser.add_argument("--seed", type=int, default=7, help="of all that is made up (default 7)")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is measured, in turn (default 2)")
    parser.add_argument(
        "--steady", type=float, help=f"seconds of steady running (default 90, from {BIG:,} AI events on 600)"
    )
    parser.add_argument(
        "--history",
        action=argparse.BooleanOptionalAction,
        help=f"also ten times the history (default: below {BIG:,} AI events)",
    )
    parser.add_argument(
        "--no-install",
        action="store_true",
        help="make no virtual environment for peers from PyPI that are not there yet",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the tables go (default bench/results)")
    chosen = parser.parse_args(arguments)
    parts = tuple(part for part in chosen.only.split(",") if part)
    unknown = [part for part in parts if part not in names]
    if unknown or not parts:
        parser.error(f"--only: there is no part {', '.join(unknown) or 'named'}; there are {', '.join(names)}")
    if chosen.size < SMALLEST:
        parser.error(f"--size: at least {SMALLEST}")
    if chosen.rounds < 1:
        parser.error("--rounds: at least 1")
    steady = chosen.steady if chosen.steady is not None else 600.0 if chosen.size >= BIG else 90.0
    if steady <= 0:
        parser.error("--steady: more than 0 seconds")
    history = chosen.history if chosen.history is not None else chosen.size < BIG
    return (
        Options.scaled(
            chosen.size,
            seed=chosen.seed,
            rounds=chosen.rounds,
            steady=steady,
            history=history,
            install=not chosen.no_install,
            parts=parts,
        ),
        chosen.results,
    )


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """A formatter that keeps the description's line breaks."""


if __name__ == "__main__":
    sys.exit(main())
