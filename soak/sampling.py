"""Samples of the resources of a running exporter, from outside: its process, its connections, the times of its answers.

The delay of its event loop is seen from outside too: an answer of /metrics is bytes in memory, and takes as long as the
loop is busy with other work. It is compared with the answers of the control in the same seconds, so that the load of
the machine has no part in it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Self

import psycopg

from faults.scene import Scene
from faults.watch import Answers, Watch

SAMPLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Quantity:
    """A resource whose trend is fitted. A rise of less than `least` over a run is none: in units, and as a share of the
    level."""

    name: str
    unit: str
    least: float = 0.0
    least_share: float = 0.0


RESIDENT = Quantity("resident memory", "MB", least_share=0.02)
PROPORTIONAL = Quantity("proportional memory", "MB", least_share=0.02)
THREADS = Quantity("threads", "", least=2)
DESCRIPTORS = Quantity("descriptors", "", least=5)
CONNECTIONS = Quantity("connections to PostgreSQL", "", least=1)
ANSWERS = Quantity("time of an answer", "ms", least_share=0.5)
DELAY = Quantity("the same in times the control's", "", least_share=0.5)
ROLLUP = Quantity("roll-up's resident memory", "MB", least_share=0.02)
QUANTITIES = (RESIDENT, PROPORTIONAL, THREADS, DESCRIPTORS, CONNECTIONS, ANSWERS, DELAY, ROLLUP)


class Sampler:
    """Samples at intervals, within a `with` block: for each quantity the times (seconds since the start) and values."""

    def __init__(self, scene: Scene, watch: Watch, *, rollup: Callable[[], int]) -> None:
        """`rollup` returns the process id of the roll-up."""
        self._scene, self._watch, self._rollup = scene, watch, rollup
        self._over = Event()
        self._started = time.monotonic()
        self._thread = Thread(target=self._run, name="sampler", daemon=True)
        self._exporter_answers, self._control_answers = _Latest(watch.exporter), _Latest(watch.control)
        self.samples: dict[Quantity, tuple[list[float], list[float]]] = {each: ([], []) for each in QUANTITIES}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.monotonic() - self._started

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            at = self.seconds
            for quantity, value in self._read().items():
                times, values = self.samples[quantity]
                times.append(at)
                values.append(value)

    def _read(self) -> Mapping[Quantity, float]:
        pid = self._scene.exporter.pid
        found = read_process(pid)
        if (mine := self._exporter_answers.take()) is not None and (other := self._control_answers.take()) is not None:
            found |= {ANSWERS: mine * 1000, DELAY: mine / other}
        with suppress(psycopg.Error):  # while the server is struck
            found[CONNECTIONS] = float(self._scene.connections())
        rollup = read_process(self._rollup())
        return found | ({ROLLUP: rollup[RESIDENT]} if rollup else {})


class _Latest:
    """The answers since the last look."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._seen = 0

    def take(self) -> float | None:
        """Return the median time of an answer (seconds); None without answers."""
        new = self._answers.seconds[self._seen :]
        self._seen += len(new)
        return median(new) if new else None


def read_process(pid: int) -> dict[Quantity, float]:
    """Return memory (10^6 bytes), threads and descriptors of a process; nothing of an ended process."""
    place = Path(f"/proc/{pid}")
    try:
        status = (place / "status").read_text()
        rollup = (place / "smaps_rollup").read_text()
        descriptors = len(list((place / "fd").iterdir()))
    except OSError:
        return {}
    return {
        RESIDENT: _field(status, "VmRSS") * 1024 / 1e6,
        PROPORTIONAL: _field(rollup, "Pss") * 1024 / 1e6,
        THREADS: float(_field(status, "Threads")),
        DESCRIPTORS: float(descriptors),
    }


def _field(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0
