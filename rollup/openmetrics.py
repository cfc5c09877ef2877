"""Series of the past as OpenMetrics text with timestamps: what `promtool tsdb create-blocks-from openmetrics` reads."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from rollup.errors import Refused
from rollup.history import Series

STDOUT = "-"


def render(series: Sequence[Series]) -> bytes:
    """The whole text; the series of a metric stand together, in the order given."""
    return bytes(generate_latest(_Families(series)))  # type: ignore[no-untyped-call]


def write(path: str, series: Sequence[Series]) -> int:
    """Writes the file whole or not at all (`-`: standard output); the number of samples.

    Raises Refused when it cannot be written.
    """
    text = render(series)
    if path == STDOUT:
        sys.stdout.buffer.write(text)
    else:
        unfinished = Path(f"{path}.unfinished")
        try:
            unfinished.write_bytes(text)
            unfinished.replace(path)
        except OSError as error:
            raise Refused(f"--history: cannot write {path}: {error.strerror}") from None
    return sum(len(one.points) for one in series)


class _Families(Collector):
    """What prometheus_client's encoder takes: something that collects."""

    def __init__(self, series: Sequence[Series]) -> None:
        self._series = series

    def collect(self) -> Iterable[Metric]:
        for spec, group in groupby(self._series, key=lambda series: series.spec):
            family = Metric(spec.name, spec.help, spec.type)
            for series in group:
                labels = dict(zip(spec.labels, series.labels, strict=True))
                for at, value in sorted(series.points.items()):
                    family.add_sample(spec.name, labels, value, timestamp=at.timestamp())
            yield family
