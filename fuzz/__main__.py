"""python -m fuzz: feed every target for its share of the time, in two processes at once, and print the table.

Exit status: 0 without a new finding, 1 with one (its input is in fuzz/corpus/, which `make test` replays), 2 for
invalid options, 130 when interrupted. A run of all targets is written to docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from bench.conditions import machine
from exporter.version import REVISION, VERSION
from fuzz import engines, report
from fuzz.campaign import Breach, Tally
from fuzz.catalogue import BYTE_TARGETS, CATALOGUE
from fuzz.corpus import CORPUS

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
MINUTES = 10.0
START_SECONDS = 300
"""Time beyond its share after which a worker counts as endless: servers start, a last finding is shrunk."""

STATUS_FOUND, STATUS_INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaigns and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"of the whole run (default {MINUTES:g})")
    parser.add_argument("--seed", type=int, help="of all inputs (default: another one each time)")
    parser.add_argument("--only", metavar="NAME,...", help="these targets alone; nothing is written to the page")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="the folder that takes the findings")
    parser.add_argument("--results", type=Path, metavar="FILE", help="the page of the table")
    parser.add_argument("--list", action="store_true", help="print the targets and end")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print("\n".join(f"{each.name:<18} {each.promise}" for each in CATALOGUE.values()))
        return 0
    names = list(CATALOGUE) if chosen.only is None else chosen.only.split(",")
    if unknown := [name for name in names if name not in CATALOGUE]:
        parser.error(f"--only: no target {', '.join(unknown)}; there are {', '.join(CATALOGUE)}")
    if not 0 < chosen.minutes <= 24 * 60:
        parser.error("--minutes: should be a number above 0, of a day at most")
    seed = random.SystemRandom().randrange(10**6) if chosen.seed is None else chosen.seed
    page = chosen.results or (PAGE if chosen.only is None else None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    started, conditions = time.monotonic(), machine()
    print(f"seed {seed}, {chosen.minutes:g} minutes, {len(names)} targets, two processes", flush=True)
    lanes = Lanes(seed, chosen.minutes * 60, chosen.corpus)
    try:
        tallies = lanes.run(names)
    except KeyboardInterrupt:
        lanes.stop()
        print("\nInterrupted: everything that was started is stopped; the page is as it was.", file=sys.stderr)
        return STATUS_INTERRUPTED
    conditions |= {
        "load average after": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "versions": _versions(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seed": str(seed),
        "took": f"{time.monotonic() - started:.0f} s",
    }
    if page is not None:
        report.write(page, tallies, conditions)
    found = sum(len(each.findings) for each in tallies)
    print(f"\n{sum(each.executions for each in tallies):,} executions, {found} new findings.", flush=True)
    return STATUS_FOUND if found else 0


class Lanes:
    """The two lanes: one after the other in each, the targets by grammar, and the targets by bytes."""

    def __init__(self, seed: int, seconds: float, corpus: Path) -> None:
        self._seed, self._seconds, self._corpus = seed, seconds, corpus
        self._running: set[subprocess.Popen[str]] = set()
        self._lock, self._stopped = threading.Lock(), False

    def run(self, names: Sequence[str]) -> list[Tally]:
        """Run all; return the results in the order of the targets."""
        lanes = {engines.GRAMMAR: names, engines.BYTES: [name for name in names if name in BYTE_TARGETS]}
        with ThreadPoolExecutor(len(lanes)) as threads:
            found = threads.map(lambda lane: self._run_lane(*lane), lanes.items())
            tallies = [tally for of_lane in found for tally in of_lane]
        return sorted(tallies, key=lambda tally: names.index(tally.target))

    def stop(self) -> None:
        """End the workers that run, and start no more."""
        with self._lock:
            self._stopped = True
            for worker in self._running:
                worker.terminate()

    def _run_lane(self, engine: str, names: Sequence[str]) -> list[Tally]:
        tallies = []
        for name in names:
            tallies.append(self._run_one(engine, name, self._seconds / len(names)))
            print(report.line(tallies[-1]), flush=True)
        return tallies

    def _run_one(self, engine: str, name: str, seconds: float) -> Tally:
        options = ["--seconds", str(seconds), "--seed", str(self._seed), "--corpus", str(self._corpus)]
        with self._lock:
            if self._stopped:
                return Tally(name, engine, self._seed)
            worker = subprocess.Popen(
                [sys.executable, "-m", "fuzz.worker", name, engine, *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                cwd=PAGE.parents[1],
            )
            self._running.add(worker)
        try:
            output, said = worker.communicate(timeout=seconds + START_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            output, said = worker.communicate()
        finally:
            with self._lock:
                self._running.discard(worker)
        if worker.returncode == 0 and output.strip():
            return Tally.from_json(json.loads(output.splitlines()[-1]))
        last = (said.strip().splitlines() or [""])[-1]
        ended = Breach(f"the process ended with {worker.returncode}", last[:200], "(none)")
        return Tally(name, engine, self._seed, findings=[ended])


def _versions() -> str:
    names = ("hypothesis", "atheris") if engines.has_atheris() else ("hypothesis",)
    versions = {
        "hivesync-analytics": f"{VERSION} ({REVISION})",
        "Python": sys.version.partition(" ")[0],
        **{name: metadata.version(name) for name in names},
    }
    return ", ".join(f"{name} {version}" for name, version in versions.items())


if __name__ == "__main__":
    sys.exit(main())
