"""The exporter that crashes: the collector of one log, a state directory, and the log's writer.

A run has three lives, each with lines and a rotation before or in it. The first two have the fault; in the third one,
without a fault, the counters must equal the lines written.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from demo.exporting import Exporter, exporter_variables
from faults.subject import LogWriter
from faults.watch import read_samples
from servers.bound import Bound
from servers.child import ChildError
from servers.fetch import fetch
from servers.ports import LOOPBACK, free_port

LOG = "ai-events"
REFRESH_SECONDS = 0.2
LINES = 3
COUNTED_SECONDS = 10.0
POLL_SECONDS = 0.02

REFUSED = (1, 2)
"""Exit statuses of an exporter that does not start, and says why."""

NOT_REACHABLE = {"database_url": "postgresql://127.0.0.1:1/none", "redis_url": "redis://127.0.0.1:1"}
"""No collector that runs here asks PostgreSQL or Redis."""

EXPECTED_EVENTS = frozenset(
    {
        "service.starting",
        "service.stopped",
        "service.ready",
        "system.analytics.degraded",
        "system.analytics.recovered",
        "control.no_socket",
        "admin.session_key.not_saved",
        "admin.session_key.unreadable",
        "admin.sessions.unreadable",
    }
)


class CrashingExporter(Exporter):
    """An exporter of the log alone, with its files below one folder."""

    def __init__(self, directory: Path) -> None:
        logs = directory / "logs"
        logs.mkdir(parents=True)
        addresses = {
            f"HIVESYNC_{name}_LISTEN": f"{LOOPBACK}:{free_port()}"  # a preferred port could be another run's
            for name in ("METRICS", "ADMIN")
        }
        others = {
            "HIVESYNC_COLLECTORS": "ai_log",
            "HIVESYNC_REFRESH_SECONDS": str(REFRESH_SECONDS),
            **addresses,
        }
        super().__init__(directory, exporter_variables(directory, log_directory=logs, others=others, **NOT_REACHABLE))
        self.writer = LogWriter(logs)
        self.path = self.writer.paths[LOG]
        self._refusal: int | None = None

    @property
    def has_state(self) -> bool:
        """Whether a position in the log was saved."""
        return (self.directory / "state" / LOG).exists()

    def is_ready(self) -> bool:
        try:
            return fetch(f"{self.url}/metrics")[0] == 200
        except (OSError, HTTPException):
            return False

    def failure(self, what: str) -> ChildError:
        self._refusal = self.ended()
        return super().failure(what)

    def ended(self) -> int | None:
        """Return the exit status of a process that ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def live(self, acts: Sequence[Callable[[CrashingExporter], None]]) -> Iterator[str]:
        """Start the exporter, do something to its log several times, and stop it; yield the findings. It may end by a
        kill, or refuse to start with a message."""
        try:
            self.start()
        except ChildError as error:
            if self._refusal not in (*REFUSED, -signal.SIGKILL):
                yield str(error).partition("\n")[0]
            return
        status: int | str | None = None
        for act in (lambda _: None, *acts):
            act(self)
            if (status := self._wait_until_counted()) is not None:
                break
        if isinstance(status, str):
            yield status
        elif status is not None and status != -signal.SIGKILL:
            yield f"the exporter ended with exit status {status}"
        if status is None:
            process = self._process
            self.stop()
            if process is not None and process.returncode not in (0, -signal.SIGKILL):
                yield f"stopped, it ended with exit status {process.returncode}"
        else:
            self.kill()

    def wrong_events(self, expected: frozenset[str] = EXPECTED_EVENTS) -> list[str]:
        """Return the events of the log that no fault here explains, and a traceback's first line."""
        found: dict[str, None] = {}
        for line in self.log.read_text(errors="replace").splitlines():
            if "Traceback" in line:
                found["a traceback in its log"] = None
            if '"event": "' in line:
                name = line.partition('"event": "')[2].partition('"')[0]
                if name not in expected:
                    found[f"event {name}"] = None
        return list(found)

    def _wait_until_counted(self) -> int | str | None:
        """Return None once the counters equal the lines written; the exit status of an exporter that ended; or the
        differences at the bound."""
        expected, bound = self.writer.expected(), Bound(COUNTED_SECONDS)
        while True:
            samples = {}
            with suppress(OSError, HTTPException):
                samples = read_samples(self.metrics())
            differing = {name: number for name, number in expected.items() if samples.get(name) != number}
            if samples and not differing:
                return None
            if (status := self.ended()) is not None:
                return status
            if bound.is_reached():
                name, number = next(iter(differing.items()))
                return f"{name} is {samples.get(name)}, {number:g} were written"
            time.sleep(POLL_SECONDS)


def write(exporter: CrashingExporter) -> None:
    """Write some lines."""
    exporter.writer.write(LOG, LINES)


def rotate_by_rename(exporter: CrashingExporter) -> None:
    """Rename the log and its predecessors, and write to a new file."""
    exporter.path.rename(_next_name(exporter.path))
    write(exporter)


def rotate_by_copy(exporter: CrashingExporter) -> None:
    """Copy the log and truncate it in place, as logrotate's copytruncate does, and write on."""
    shutil.copy2(exporter.path, _next_name(exporter.path))
    os.truncate(exporter.path, 0)
    write(exporter)


def _next_name(path: Path) -> Path:
    """Rename the log's predecessors to one number more each. Return the name that is free then."""
    number = 1
    while _rotated(path, number).exists():
        number += 1
    for older in range(number, 1, -1):
        _rotated(path, older - 1).rename(_rotated(path, older))
    return _rotated(path, 1)


FIRST_LIFE = (write, rotate_by_rename)
SECOND_LIFE = (rotate_by_copy, write)


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
