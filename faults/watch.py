"""The observation of an exporter from outside: /metrics is asked all the time, each answer is checked by itself, and
the control server is asked in the same seconds.

An answer is wrong if it shows a gauge of a source that it says is down, a counter below its last value, or a negative
gauge. None of this depends on the fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from statistics import median
from threading import Event, Lock, Thread
from typing import Self

from servers.bound import slowness
from servers.fetch import fetch

PAUSE_SECONDS = 0.05
ANSWER_SECONDS = 10.0
"""Time, on a quiet machine, after which an answer counts as missing."""

MOST_SHOWN = 3
COUNTERS = ("_total", "_count", "_sum")
OF_REDIS = "hivesync_queue_processing_seconds"
"""The counters that Redis itself keeps: they begin again with it."""

Samples = Mapping[str, float]
"""Values by name and labels, as in the exposition."""


def read_samples(text: str) -> dict[str, float]:
    """Return the samples of an answer."""
    pairs = (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")
    return {name: float(value) for name, _, value in pairs}


class Answers:
    """Answers of one server, asked until the end of the block."""

    def __init__(self, url: str, take: Callable[[str], None] = lambda _: None) -> None:
        """`take` is called with the body of each answer."""
        self._url = f"{url}/metrics"
        self._take = take
        self._over = Event()
        self._thread = Thread(target=self._ask, name="answers", daemon=True)
        self.seconds: list[float] = []
        self.missing = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def slowest(self) -> float:
        """The longest time of an answer (seconds)."""
        return max(self.seconds, default=0.0)

    @property
    def typical(self) -> float:
        """The median time of an answer (seconds)."""
        return median(self.seconds) if self.seconds else 0.0

    def _ask(self) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            started = time.perf_counter()
            status, body = 0, ""
            with suppress(OSError, HTTPException):
                status, body = fetch(self._url, timeout=ANSWER_SECONDS * slowness())
            if status == 200:
                self.seconds.append(time.perf_counter() - started)
                self._take(body)
            else:
                self.missing += 1


class Watch:
    """The exporter and the control, watched within a `with` block."""

    def __init__(
        self, url: str, control_url: str, gauges: Mapping[str, frozenset[str]], *, restarts: bool = False
    ) -> None:
        """`gauges`: the names of the gauges that each source alone feeds. `restarts`: the exporter may be replaced by
        another process, whose counters begin again."""
        self.exporter = Answers(url, self._take)
        self.control = Answers(control_url)
        self._gauges = gauges
        self._restarts = restarts
        self._lock = Lock()
        self._latest: tuple[float, Samples] | None = None
        self._wrong: dict[str, None] = {}
        self.degraded_at: float | None = None
        """The first answer with a source or collector that fails."""

    def __enter__(self) -> Self:
        self.exporter.__enter__()
        self.control.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.exporter.__exit__()
        self.control.__exit__()

    @property
    def latest(self) -> tuple[float, Samples] | None:
        """The latest answer, with its time (monotonic); None before the first one."""
        with self._lock:
            return self._latest

    @property
    def wrong(self) -> list[str]:
        """The faults of single answers, some of each kind."""
        return list(self._wrong)

    def _take(self, body: str) -> None:
        now, samples = time.monotonic(), read_samples(body)
        with self._lock:
            before = self._latest[1] if self._latest is not None else {}
            self._latest = now, samples
        if self.degraded_at is None and any(is_failing(samples)):
            self.degraded_at = now
        for problem in self._problems(before, samples):
            if len(self._wrong) < MOST_SHOWN:
                self._wrong[problem] = None

    def _problems(self, before: Samples, samples: Samples) -> list[str]:
        down = {source for source in self._gauges if samples.get(source_up(source)) == 0}
        absent = frozenset[str]().union(*(self._gauges[source] for source in down))
        found = [f"{name} is shown while its source is down" for name in samples if metric_of(name) in absent]
        found += [
            f"{name} fell from {value:g} to {samples[name]:g}"
            for name, value in before.items()
            if metric_of(name).endswith(COUNTERS)
            and samples.get(name, value) < value
            and not self._restarts
            and not name.startswith(OF_REDIS)
        ]
        found += [f"{name} is {value:g}" for name, value in samples.items() if value < 0]
        return found


def metric_of(sample: str) -> str:
    """Return the name without labels."""
    return sample.partition("{")[0]


def source_up(source: str) -> str:
    """Return the name of the sample that says whether a source is up."""
    return f'hivesync_source_up{{source="{source}"}}'


def collector_up(collector: str) -> str:
    """Return the name of the sample that says whether a collector is up."""
    return f'hivesync_collector_up{{collector="{collector}"}}'


def is_failing(samples: Samples) -> list[str]:
    """Return the samples that say that a source or collector fails."""
    return [
        name
        for name, value in samples.items()
        if metric_of(name) in {"hivesync_source_up", "hivesync_collector_up"} and value == 0
    ]
