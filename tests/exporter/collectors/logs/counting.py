"""Two logs and their collectors: counters as numbers by name and labels, and states that record each save."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import orjson

from exporter.collector import Sources
from exporter.collectors.logs import LogCollector
from exporter.errors import StateError
from exporter.sources.jsonl import JsonlLog
from exporter.sources.jsonl.log import SLICE_BYTES
from exporter.spec import Sample
from exporter.state import StateFile

LINES = "hivesync_log_lines_total"
LATE = "hivesync_log_late_lines_total"

LONG_LINE = orjson.dumps({"event": "ai.requested", "padding": "x" * 900}) + b"\n"
LONG_LINES = 3 * SLICE_BYTES // len(LONG_LINE)


class Setup:
    """Two logs in a directory, and a state file for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ai = JsonlLog("ai_events_log", folder / "ai-events.log")
        self.preview = JsonlLog("preview_log", folder / "preview.log")
        self.sources = sources_with(self.ai, self.preview)

    def state(self, name: str = "ai-events") -> StateFile:
        return StateFile(self.folder, name)

    def refresh(self, collector: LogCollector) -> dict[tuple[str, ...], float]:
        return values(asyncio.run(collector.refresh(self.sources)))


def sources_with(ai: JsonlLog, preview: JsonlLog | None = None) -> Sources:
    nothing = cast("Any", None)
    return Sources(postgres=nothing, redis=nothing, ai_events_log=ai, preview_log=preview or nothing)


def values(samples: Any) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    sample: Sample
    for sample in samples:
        key = (sample.spec.name, *sample.labels)
        assert key not in found
        assert isinstance(sample.value, int | float)
        found[key] = sample.value
    return found


def counted(collector: LogCollector) -> dict[tuple[str, ...], float]:
    """The counters that are not 0, except those of late lines."""
    return {key: value for key, value in values(collector.counters()).items() if value and key[0] != LATE}


def append(log: JsonlLog, *lines: object) -> None:
    with log.path.open("ab") as file:
        for line in lines:
            file.write((line if isinstance(line, bytes) else orjson.dumps(line)) + b"\n")


class WatchedState(StateFile):
    """Records the shown values at each save, and fails on request."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(directory, name)
        self.collector: LogCollector | None = None
        self.shown: list[float] = []
        self.saved: list[float] = []
        self.fails = False

    def save(self, value: Any) -> None:
        assert self.collector is not None
        self.shown.append(counted(self.collector).get((LINES, "ai-events", "ok"), 0))
        if self.fails:
            raise StateError(f"{self.path}: cannot be written: No space left on device")
        super().save(value)
        self.saved.append(value["results"]["ok"])
