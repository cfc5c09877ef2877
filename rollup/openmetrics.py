"""Hourly series of the past as OpenMetrics text with timestamps: the input of `promtool tsdb create-blocks-from
openmetrics`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from rollup import output
from rollup.errors import Refused
from rollup.history import HourlySeries

STDOUT = "-"


def render(series: Sequence[HourlySeries]) -> bytes:
    """Return the whole text; the series of a metric stand together, in the order given."""
    return bytes(generate_latest(_Families(series)))  # type: ignore[no-untyped-call]


@contextmanager
def whole_file(path: str) -> Iterator[Callable[[bytes], object]]:
    """Provide a writer of a file that appears whole at the end of the body, and is not touched when the body fails. `-`
    is standard output; a path that is no regular file (`/dev/null`, a pipe) is written in place.

    Raises Refused when the file cannot be written, in most cases before the body.
    """
    file = Path(path).resolve()
    if path == STDOUT:
        yield output.write
        return
    in_place = file.exists() and not file.is_file()
    unfinished = file if in_place else file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as writing:
            yield writing.write
        unfinished.replace(file)
    except OSError as error:
        raise Refused(f"--history: cannot write {path}: {error.strerror}") from None
    finally:
        if not in_place:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


class _Families(Collector):
    """An adapter for prometheus_client's encoder, which takes an object with `collect`."""

    def __init__(self, series: Sequence[HourlySeries]) -> None:
        self._series = series

    def collect(self) -> Iterable[Metric]:
        for spec, group in groupby(self._series, key=lambda series: series.spec):
            family = Metric(spec.name, spec.help, spec.type)
            for series in group:
                labels = dict(zip(spec.label_names, series.labels, strict=True))
                for at, value in sorted(series.points.items()):
                    family.add_sample(spec.name, labels, value, timestamp=at.timestamp())
            yield family
