"""Exporters killed at any moment: no line of a log is lost or counted twice."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO

import orjson

from exporter.collectors.logs import AI, ai_log
from exporter.sources.jsonl import JsonlLog
from exporter.state import StateFile
from tests.exporter.collectors.logs.counting import LINES, LONG_LINE, LONG_LINES, counted, sources_with
from tests.waiting import until

EXPORTER = """
import asyncio, sys
from pathlib import Path
from types import SimpleNamespace
from exporter.collectors import logs
from exporter.collectors.logs import ai_log
from exporter.sources.jsonl import JsonlLog
from exporter.state import StateFile

logs.SAVE_SECONDS = float(sys.argv[3])
collector = ai_log(StateFile(Path(sys.argv[2]), "ai-events"))
sources = SimpleNamespace(ai_events_log=JsonlLog("ai_events_log", Path(sys.argv[1])))
shown = -1
while True:
    asyncio.run(collector.refresh(sources))
    total = sum(sample.value for sample in collector.counters() if sample.spec.name == "hivesync_log_lines_total")
    if total != shown:
        shown = total
        print(shown, flush=True)
"""


class Application:
    """Writes events, rotates its log in every supported way, and counts its lines."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path = path
        self.rng = rng
        self.written: Counter[str] = Counter()
        self.number = 0
        self.rotated: list[Path] = []
        self.late: IO[bytes] | None = None
        path.touch()

    def act(self) -> None:
        with self.path.open("ab", buffering=0) as file:
            for _ in range(self.rng.randrange(1, 20)):
                self.write(file)
        if self.late is not None:
            self.write(self.late)
        match self.rng.randrange(12):
            case 0:
                self.make_room()
                self.let_go()
                self.late = self.path.open("ab", buffering=0)
                self.path.rename(self.rotated[0])
                self.path.touch()
            case 1:
                self.make_room()
                shutil.copyfile(self.path, self.rotated[0])
                os.truncate(self.path, 0)
            case 2 if self.rotated and self.rotated[0].suffix != ".gz":
                self.let_go()
                archive = self.rotated[0].with_name(self.rotated[0].name + ".gz")
                archive.write_bytes(gzip.compress(self.rotated[0].read_bytes(), 1))
                self.rotated[0].unlink()
                self.rotated[0] = archive

    def write(self, file: IO[bytes]) -> None:
        self.number += 1
        event = self.rng.choice(["ai.requested", "ai.completed", "ai.error"])
        line = orjson.dumps({"n": self.number, "event": event, "padding": "x" * self.rng.randrange(300)})
        if self.rng.random() < 0.05:
            event, line = "malformed", b"\xff" + line
        middle = self.rng.randrange(len(line))
        file.write(line[:middle])
        file.write(line[middle:] + b"\n")
        self.written[event] += 1

    def make_room(self) -> None:
        for number, old in reversed(list(enumerate(self.rotated, 1))):
            ending = ".gz" if old.suffix == ".gz" else ""
            self.rotated[number - 1] = old.rename(self.path.with_name(f"{self.path.name}.{number + 1}{ending}"))
        self.rotated.insert(0, self.path.with_name(f"{self.path.name}.1"))

    def let_go(self) -> None:
        if self.late is not None:
            self.late.close()
            self.late = None


def test_an_exporter_killed_at_random_moments_loses_and_repeats_nothing(tmp_path: Path) -> None:
    rng = random.Random(0)
    logs = tmp_path / "logs"
    logs.mkdir()
    application = Application(logs / "ai-events.log", rng)
    file = StateFile(tmp_path, "ai-events")
    lowest = 0.0
    for life in range(7):
        with (
            (tmp_path / f"shown-{life}").open("wb+") as output,
            subprocess.Popen(
                [sys.executable, "-c", EXPORTER, str(application.path), str(tmp_path), "0.25"], stdout=output
            ) as child,
        ):
            until(lambda output=output: os.fstat(output.fileno()).st_size > 0, "its first line", poll=0.0005)  # type: ignore[misc]
            for _ in range(rng.randrange(3, 30)):
                before = file.path.read_bytes()
                application.act()
                if rng.random() < 0.8:
                    until_saved(file, before)
            assert child.poll() is None
            child.send_signal(signal.SIGKILL)
            child.wait()
            output.seek(0)
            shown = [float(line) for line in output.read().splitlines(keepends=True) if line.endswith(b"\n")]
        state = file.load()
        assert state is not None
        assert [lowest, *shown] == sorted([lowest, *shown])
        lowest = shown[-1]
        assert lowest <= sum(state["results"].values())
    application.let_go()

    collector = ai_log(file)
    log = JsonlLog("ai_events_log", application.path, clock=lambda: time.time() + 61)
    asyncio.run(collector.refresh(sources_with(log)))
    log.close()
    found = counted(collector)
    assert {event: found["hivesync_ai_log_events_total", event] for event in AI.known_events} == {
        event: application.written[event] for event in AI.known_events
    }
    assert found[LINES, "ai-events", "malformed"] == application.written["malformed"]
    assert found[LINES, "ai-events", "ok"] == application.written.total() - application.written["malformed"]


def test_an_exporter_killed_in_the_middle_of_a_backlog_loses_and_repeats_nothing(tmp_path: Path) -> None:
    path, file = tmp_path / "ai-events.log", StateFile(tmp_path, "ai-events")
    path.write_bytes((LONG_LINE + b"x\n") * 2 * LONG_LINES)
    saved = [0]
    for save_seconds in ("0", "0.01", "0.05", "0"):
        with subprocess.Popen([sys.executable, "-c", EXPORTER, str(path), str(tmp_path), save_seconds]) as child:
            before = file.path.read_bytes() if file.path.exists() else b""
            until_saved(file, before)
            child.kill()
            child.wait()
        state = file.load()
        assert state is not None
        saved.append(state["results"]["ok"])
        if saved[-1] == 2 * LONG_LINES:
            break
    assert saved == sorted(saved)
    assert saved[1] > 0
    collector = ai_log(file)
    log = JsonlLog("ai_events_log", path)
    asyncio.run(collector.refresh(sources_with(log)))
    log.close()
    assert counted(collector)[LINES, "ai-events", "ok"] == 2 * LONG_LINES
    assert counted(collector)[LINES, "ai-events", "malformed"] == 2 * LONG_LINES


def until_saved(file: StateFile, before: bytes) -> None:
    """Wait for a state that differs from the one before."""
    until(lambda: file.path.exists() and file.path.read_bytes() != before, "another state is saved", poll=0.0005)
