"""A log with a past, at a fixed time: lines by their age, and the exporters that read it in turn."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import orjson

from exporter.collector import Sources
from exporter.collectors.logs import AI, LogCollector
from exporter.sources.jsonl import JsonlLog
from exporter.sources.jsonl.log import SLICE_BYTES
from exporter.state import StateFile

NOW = 1_772_000_000.0
HOUR = 3600.0
LONG = "x" * 900


def line(age: float | None = HOUR, event: str = "ai.requested", **fields: object) -> bytes:
    """A line written `age` seconds before NOW; None leaves the time out."""
    ts = {} if age is None else {"ts": datetime.fromtimestamp(NOW - age, UTC).isoformat()}
    return orjson.dumps({**ts, "event": event, **fields}) + b"\n"


SLICE = SLICE_BYTES // len(line(padding=LONG)) + 1
"""Number of long lines that exceed a slice by less than a line."""


class World:
    """A log, its state, and the exporters that read it in turn; the wall clock stands at NOW."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ai-events.log"
        self.state = StateFile(folder, "ai-events")
        self.now = NOW
        self.log = JsonlLog("ai_events_log", self.path)
        self.start()

    def start(self, **options: Any) -> None:
        """Start another process."""
        self.log.close()
        self.log = JsonlLog("ai_events_log", self.path)
        self.collector = LogCollector(AI, self.state, wall_clock=lambda: self.now, **options)

    def start_slow(self) -> None:
        """Start another process, with time for one slice per refresh."""
        time = iter(range(1_000_000))
        self.start(budget=1.0, clock=lambda: float(next(time)))

    def write(self, *lines: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(lines))

    def refresh(self) -> float:
        """Refresh; returns the number of unread bytes."""
        nothing = cast("Any", None)
        sources = Sources(postgres=nothing, redis=nothing, ai_events_log=self.log, preview_log=nothing)
        (unread,) = asyncio.run(self.collector.refresh(sources))
        return cast("float", unread.value)

    def shown(self, metric: str = "hivesync_log_lines_total") -> float | None:
        """The sum of a counter over its labels; None while it is not shown."""
        found = [sample.value for sample in self.collector.counters() if sample.spec.name == metric]
        return sum(cast("list[float]", found)) if found else None

    @property
    def late(self) -> float | None:
        return self.shown("hivesync_log_late_lines_total")


def started(world: World) -> World:
    """The world with a log of two lines, read to its end."""
    world.write(line(age=0) * 2)
    world.refresh()
    assert (world.shown(), world.late) == (2, 0)
    return world
