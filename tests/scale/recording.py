"""Samples of two real exporters, extended to half an hour that is the same in every store.

Of each exporter there are two scrapes. Counters continue from the first as they rose between the two, a step every 15
seconds; all other metrics alternate between the two values. So each function over time has one right answer, with or
without extrapolation to the edges of its range.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from tests.running import Samples
from tests.waiting import patience

STEP_SECONDS = 15
STEPS = 140
COUNTER = re.compile(r"\w+_(?:total|count|sum|bucket)\b")

STANDS_STILL = "hivesync_log_late_lines_total"
"""A counter whose increase would make the rates of the other counters absent."""

OF_PROMETHEUS = {"up": 1.0, "scrape_duration_seconds": 0.01}
ALERT = 'ALERTS{alertname="HiveSyncQueueBacklog",alertstate="firing",severity="warning"}'


@dataclass(frozen=True)
class RecordedSeries:
    """One series: `name{labels}`, and its value at each step."""

    name: str
    values: Sequence[float]


def series(first: Samples, second: Samples, **target: str) -> Iterator[RecordedSeries]:
    """All series of one exporter, with the labels of its target."""
    for sample in sorted(first.keys() & second.keys()):
        before, after = first[sample], second[sample]
        if sample.startswith(STANDS_STILL):
            values = [before] * STEPS
        elif COUNTER.match(sample):
            values = [before + step * (max(after - before, 0) + 1) for step in range(STEPS)]
        else:
            values = [(before, after)[step % 2] for step in range(STEPS)]
        yield RecordedSeries(_with(sample, target), values)
    for name, value in OF_PROMETHEUS.items():
        yield RecordedSeries(_with(name, target), [value] * STEPS)


def alert() -> RecordedSeries:
    """An alert that fires all the time."""
    return RecordedSeries(ALERT, [1.0] * STEPS)


def store_in_prometheus(recorded: Sequence[RecordedSeries], start: int, data: Path) -> None:
    """Store the series as blocks in the data directory of a stopped server."""
    binary = shutil.which("promtool")
    assert binary
    text = data.with_suffix(".openmetrics")
    text.write_text("".join(_lines(recorded, start, 1)) + "# EOF\n")
    command = [binary, "tsdb", "create-blocks-from", "openmetrics", str(text), str(data)]
    subprocess.run(command, check=True, capture_output=True)


def store_in_victoriametrics(recorded: Sequence[RecordedSeries], start: int, url: str) -> None:
    """Import the series into a running server, and wait until they are visible."""
    parts = urlsplit(url)
    for method, path in (("POST", "/api/v1/import/prometheus"), ("GET", "/internal/force_flush")):
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=patience(60))
        body = "".join(_lines(recorded, start, 1000)) if method == "POST" else None
        connection.request(method, path, body)
        assert connection.getresponse().status in {200, 204}
        connection.close()


def _lines(recorded: Sequence[RecordedSeries], start: int, ticks: int) -> Iterator[str]:
    """The samples as text; `ticks` per second."""
    for one in recorded:
        for step, value in enumerate(one.values):
            text = "NaN" if math.isnan(value) else repr(value)
            yield f"{one.name} {text} {(start + step * STEP_SECONDS) * ticks}\n"


def _with(sample: str, labels: Mapping[str, str]) -> str:
    name, _, rest = sample.partition("{")
    own = rest.removesuffix("}")
    added = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{','.join(filter(None, (own, added)))}}}"
