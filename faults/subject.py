"""An exporter that faults strike, with logs, a state directory and ports of its own, and the writer of the logs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any, Self

from bench.product import Product
from exporter.control import ask_to_verify
from exporter.verify import Comparison
from faults.table import NotHeld
from faults.watch import Samples, collector_up, read_samples, source_up
from servers.bound import Bound

REFRESH_SECONDS = 0.5
WRITE_SECONDS = 0.05
POLL_SECONDS = 0.05

COUNTED_SECONDS = 20.0
"""Time for reading all lines of the logs, on a quiet machine."""

LATE_SECONDS = 5.0
"""Time after a fault within which served values may be older than promised, on a quiet machine."""

LOGS = {"ai-events": "ai-events.log", "preview": "preview.log"}
EVENTS = {
    "ai-events": ("ai.requested", "ai.completed", "ai.error"),
    "preview": ("preview.requested", "preview.completed", "live_view.joined"),
}
COUNTED = {"ai-events": "hivesync_ai_log_events_total", "preview": "hivesync_preview_log_events_total"}


class LogWriter:
    """The application that writes both logs: a line each every twentieth of a second, and counts them."""

    def __init__(self, directory: Path) -> None:
        self.paths = {log: directory / name for log, name in LOGS.items()}
        self.events: dict[str, Counter[str]] = {log: Counter() for log in LOGS}
        self.malformed: Counter[str] = Counter()
        self._number = 0
        self._writing = RLock()
        self._over = Event()
        self._thread = Thread(target=self._run, name="log writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Write nothing within the block, except by `write`."""
        with self._writing:
            yield

    def write(self, log: str, lines: int = 1, path: Path | None = None) -> None:
        """Append whole lines, each different from all others; to the log, or to the file that it was."""
        with self._writing:
            made = []
            for _ in range(lines):
                self._number += 1
                event = EVENTS[log][self._number % len(EVENTS[log])]
                made.append(json.dumps({"ts": _now(), "event": event, "job_id": str(self._number)}) + "\n")
                self.events[log][event] += 1
            with (path or self.paths[log]).open("a") as file:
                file.write("".join(made))

    def write_bytes(self, log: str, data: bytes, malformed: int) -> None:
        """Append bytes, with that number of lines that are no events."""
        with self._writing:
            self.malformed[log] += malformed
            with self.paths[log].open("ab") as file:
                file.write(data)

    def expected(self) -> dict[str, float]:
        """Return the counters that the exporter must have, for those above 0."""
        counts: dict[str, float] = {}
        for log, events in self.events.items():
            counts |= {f'{COUNTED[log]}{{event="{event}"}}': number for event, number in events.items()}
            results = {"ok": events.total(), "malformed": self.malformed[log]}
            for result, number in results.items():
                if number:
                    counts[f'hivesync_log_lines_total{{log="{log}",result="{result}"}}'] = number
        return counts

    def _run(self) -> None:
        while not self._over.wait(WRITE_SECONDS):
            for log in LOGS:
                self.write(log)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class StruckExporter(Product):
    """The exporter and its logs. `prefix` is a command that runs it, such as prlimit with its options."""

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str,
        redis_url: str,
        prefix: Sequence[str] = (),
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        super().__init__(directory, database_url=database_url, redis_url=redis_url, refresh_seconds=refresh_seconds)
        self.state = Path(self.environment["HIVESYNC_STATE_DIR"])
        self.writer = LogWriter(directory / "logs")
        self.clock: Path | None = None
        """The file of its clock's offset, where it has a clock of its own."""
        self.pipe = -1
        """The reading end of its standard error, where that is a pipe."""
        self.prefix = tuple(prefix)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that runs. Raises NotHeld without one."""
        if self._process is None:
            raise NotHeld("the exporter does not run")
        return self._process

    @property
    def admin_port(self) -> int:
        """The port of the Analytics section."""
        return int(self._admin_address.rpartition(":")[2])

    @property
    def metrics_port(self) -> int:
        """The port of the metrics."""
        return int(self.address.rpartition(":")[2])

    def __enter__(self) -> Self:
        super().__enter__()
        self.writer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.stop()
        super().__exit__()
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1

    def answer(self) -> Samples | None:
        """Return the present samples; None without an answer."""
        with suppress(OSError, HTTPException):
            return read_samples(self.metrics())
        return None

    def verify(self) -> str:
        """Return the samples that differ from plain SQL; empty if none. Values served that are older than promised are
        asked for again: the refresh after a fault may still be under way."""
        bound = Bound(LATE_SECONDS)
        while True:
            compared = asyncio.run(ask_to_verify(self.state))
            if not compared:
                return "verify compared nothing"
            differing = [each for each in compared if not each.nil]
            if not differing or not all(each.same for each in differing) or bound.is_reached():
                break
            time.sleep(POLL_SECONDS)
        return f"verify, {len(differing)} differ: {'; '.join(map(_shown, differing[:3]))}" if differing else ""

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the events of the log after that many bytes."""
        with self.log.open("rb") as log:
            log.seek(since)
            lines = log.read().split(b"\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith(b"{")]

    def wait_until_counted(self) -> str:
        """Wait, with the writer paused, until the counters equal the lines written. Return the differences, or ""."""
        with self.writer.paused():
            expected, bound, differing = self.writer.expected(), Bound(COUNTED_SECONDS), {"all": 0.0}
            while differing and not bound.is_reached():
                time.sleep(POLL_SECONDS)
                samples = self.answer() or {}
                differing = {name: number for name, number in expected.items() if samples.get(name) != number}
        return "; ".join(
            f"{name} is {samples.get(name)}, {number:g} were written" for name, number in list(differing.items())[:3]
        )


def _shown(each: Comparison) -> str:
    if each.error is not None:
        return f"{each.metric}: {each.error}"
    served = f"{each.served} served at an age of {each.age or 0:.0f} s of {each.promised_age:.0f} s"
    return f"{each.metric}: {served}, {each.fresh} fresh, {each.from_scratch} from scratch"


def is_as_expected(
    samples: Samples, down: Collection[str], failing: Collection[str], readers: Mapping[str, Collection[str]]
) -> bool:
    """Return whether exactly these sources are down, and exactly these collectors fail, of those that read no source
    that is down: a collector without anything to read there works on. `readers`: the sources of each collector."""
    sources = {source for read in readers.values() for source in read}
    return all(samples.get(source_up(source)) == (source not in down) for source in sources) and all(
        samples.get(collector_up(name)) == (name not in failing)
        for name, read in readers.items()
        if set(read).isdisjoint(down)
    )


def require(condition: object, what: str) -> None:
    """Raise NotHeld unless the condition is true."""
    if not condition:
        raise NotHeld(what)
