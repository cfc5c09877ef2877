"""The speed of reading a log, beside mtail and pygtail, and the check that every line is counted once."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence

from bench.command import debian_version, run
from bench.figures import Figure, at_least, at_most, ratio
from bench.log_file import LogFile
from bench.log_readers import LINE_BY_LINE, WAYS, Counts
from bench.measure import NotMeasured
from bench.peers.mtail import PACKAGE, Mtail
from bench.run import Run
from demo.exporting import PROJECT

PART = "logs"
READ_SECONDS = 600.0
TIMES_MTAIL = 5.0


def measure(bench: Run) -> Sequence[Figure]:
    """Measure the lines per second of each way, in turn, and compare the product's counts with the written lines."""
    log = bench.log
    ways = [way for way in WAYS if way != LINE_BY_LINE]
    speeds: dict[str, list[float]] = {way: [] for way in (*ways, "mtail")}
    wrong: list[float] = []
    try:
        mtail, why_not = Mtail(bench.directory / "mtail"), ""
        bench.versions["mtail"] = debian_version(PACKAGE)
    except NotMeasured as error:
        mtail, why_not = None, str(error)
    for number in range(bench.options.rounds):
        with bench.progress.stage(PART, f"round {number + 1} of {bench.options.rounds}"):
            for way in ways:
                seconds, _, counts = read_log(way, log)
                speeds[way].append(log.lines / seconds)
                if way == "product":
                    wrong.append(miscounted(log, counts))
            if mtail is not None:
                seconds, counted = mtail.read(log.path)
                speeds["mtail"].append(log.lines / seconds)
                why_not = f"whole process; its expressions counted {counted:,} of {log.results['ok']:,} events"
    notes = {
        "product": "positions, saved state, rotation, half and bad lines as in production",
        "pygtail": "its iteration alone, nothing counted",
        "blocks of bytes + orjson": "every line parsed, no position kept: the limit of parsing each line",
        "mtail": why_not,
    }
    figures = {way: Figure.median(PART, way, speeds[way], "lines/s", note=notes.get(way, "")) for way in speeds}
    return [
        *figures.values(),
        ratio(PART, "product / mtail", figures["product"], figures["mtail"], at_least(TIMES_MTAIL)),
        ratio(PART, "product / pygtail + orjson", figures["product"], figures["pygtail + orjson"]),
        ratio(PART, "product / blocks of bytes + orjson", figures["product"], figures["blocks of bytes + orjson"]),
        Figure(
            PART,
            "product: lines, events and errors counted wrongly",
            max(wrong),
            "",
            at_most(0),
            f"of {log.lines:,} lines, {log.results['malformed']:,} of them malformed",
            tuple(wrong),
        ),
    ]


def miscounted(log: LogFile, counts: Counts) -> float:
    """Return the sum of the absolute differences between the counts and the written lines."""
    written = {"events": log.events, "kinds": log.kinds, "results": log.results}
    return float(
        sum(
            abs(counts[group].get(name, 0) - written[group].get(name, 0))
            for group in written
            for name in counts[group].keys() | written[group].keys()
        )
    )


def read_log(way: str, log: LogFile) -> tuple[float, float, Counts]:
    """Run one way and return its wall-clock seconds, its CPU seconds and its counts."""
    with tempfile.TemporaryDirectory() as state:
        ended = run(
            [sys.executable, "-m", "bench.log_readers", way, str(log.path), state],
            within=READ_SECONDS,
            environment=dict(os.environ) | {"PYTHONPATH": str(PROJECT)},
        )
    answer = json.loads(ended.stdout.splitlines()[-1])
    return answer["seconds"], answer["cpu_seconds"], answer["counts"]
