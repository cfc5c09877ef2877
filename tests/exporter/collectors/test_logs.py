"""Log lines as counters, correct across restarts, failures and kills."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import orjson
import pytest
from structlog.testing import capture_logs

from exporter.collector import Sources
from exporter.collectors import logs
from exporter.collectors.logs import AI, SAVE_SECONDS, LogCollector, ai_log, preview_log
from exporter.errors import CollectionFailed, SourceUnavailable, StateError
from exporter.incident import KEPT
from exporter.log_lines import Counted, count
from exporter.sources.jsonl import JsonlLog, Position, Slice
from exporter.sources.jsonl.log import SLICE_BYTES
from exporter.spec import Sample
from exporter.state import StateFile
from tests.waiting import patience, until

LINES = "hivesync_log_lines_total"
LATE = "hivesync_log_late_lines_total"


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


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path)
    setup.ai.path.touch()
    setup.preview.path.touch()
    yield setup
    setup.ai.close()
    setup.preview.close()


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


# Counted lines ---------------------------------------------------------------------------------------------------


def test_every_label_is_there_once_the_log_was_looked_at(setup: Setup) -> None:
    of_ai, of_previews = ai_log(setup.state("ai-events")), preview_log(setup.state("preview"))
    for collector in (of_ai, of_previews):
        setup.refresh(collector)
    assert values(of_ai.counters()) == {
        ("hivesync_ai_log_events_total", "ai.requested"): 0,
        ("hivesync_ai_log_events_total", "ai.completed"): 0,
        ("hivesync_ai_log_events_total", "ai.error"): 0,
        ("hivesync_ai_log_errors_total", "provider_error"): 0,
        ("hivesync_ai_log_errors_total", "timeout"): 0,
        ("hivesync_ai_log_errors_total", "safety_rejection"): 0,
        ("hivesync_ai_log_errors_total", "other"): 0,
        (LINES, "ai-events", "ok"): 0,
        (LINES, "ai-events", "malformed"): 0,
        (LINES, "ai-events", "unknown_event"): 0,
        (LATE, "ai-events"): 0,
    }
    assert values(of_previews.counters()) == {
        ("hivesync_preview_log_events_total", "preview.requested"): 0,
        ("hivesync_preview_log_events_total", "preview.completed"): 0,
        ("hivesync_preview_log_events_total", "preview.failed"): 0,
        ("hivesync_preview_log_events_total", "live_view.joined"): 0,
        ("hivesync_preview_log_events_total", "live_view.left"): 0,
        ("hivesync_preview_log_failures_total", "build_error"): 0,
        ("hivesync_preview_log_failures_total", "timeout"): 0,
        ("hivesync_preview_log_failures_total", "worker_lost"): 0,
        ("hivesync_preview_log_failures_total", "other"): 0,
        (LINES, "preview", "ok"): 0,
        (LINES, "preview", "malformed"): 0,
        (LINES, "preview", "unknown_event"): 0,
        (LATE, "preview"): 0,
    }


def test_the_specs_are_those_of_the_samples(setup: Setup) -> None:
    for collector in (ai_log(setup.state("ai-events")), preview_log(setup.state("preview"))):
        gauges = asyncio.run(collector.refresh(setup.sources))
        assert {sample.spec for sample in (*gauges, *collector.counters())} == set(collector.specs)
        assert collector.periods == 1
    assert ai_log(setup.state()).name == "ai_log"
    assert ai_log(setup.state()).sources == ("ai_events_log",)
    assert preview_log(setup.state()).name == "preview_log"
    assert preview_log(setup.state()).sources == ("preview_log",)


def test_ai_events_and_kinds_of_errors_are_counted(setup: Setup) -> None:
    collector = ai_log(setup.state())
    append(
        setup.ai,
        {"event": "ai.requested", "ts": "2025-01-01T00:00:00Z", "user_id": "u1"},
        {"event": "ai.requested", "error_kind": "timeout"},
        {"event": "ai.completed", "latency_ms": 12, "unheard_of": [1]},
        {"event": "ai.error", "error_kind": "timeout"},
        {"event": "ai.error", "error_kind": " Provider_Error"},
        {"event": "ai.error", "error_kind": "safety_rejection"},
        {"event": "ai.error", "error_kind": "worker_lost"},
        {"event": "ai.error", "error_kind": ["timeout"]},
        {"event": "ai.error"},
        {"event": "preview.requested"},
    )
    setup.refresh(collector)
    assert counted(collector) == {
        ("hivesync_ai_log_events_total", "ai.requested"): 2,
        ("hivesync_ai_log_events_total", "ai.completed"): 1,
        ("hivesync_ai_log_events_total", "ai.error"): 6,
        ("hivesync_ai_log_errors_total", "timeout"): 1,
        ("hivesync_ai_log_errors_total", "provider_error"): 1,
        ("hivesync_ai_log_errors_total", "safety_rejection"): 1,
        ("hivesync_ai_log_errors_total", "other"): 3,
        (LINES, "ai-events", "ok"): 9,
        (LINES, "ai-events", "unknown_event"): 1,
    }


def test_preview_events_and_kinds_of_failures_are_counted(setup: Setup) -> None:
    collector = preview_log(setup.state())
    append(
        setup.preview,
        {"event": "preview.requested"},
        {"event": "preview.completed"},
        {"event": "live_view.joined"},
        {"event": "live_view.left"},
        {"event": "preview.failed", "error_kind": "build_error"},
        {"event": "preview.failed", "error_kind": "timeout"},
        {"event": "preview.failed", "error_kind": "worker_lost"},
        {"event": "preview.failed", "error_kind": "provider_error"},
        {"event": "ai.error", "error_kind": "timeout"},
    )
    setup.refresh(collector)
    assert counted(collector) == {
        ("hivesync_preview_log_events_total", "preview.requested"): 1,
        ("hivesync_preview_log_events_total", "preview.completed"): 1,
        ("hivesync_preview_log_events_total", "preview.failed"): 4,
        ("hivesync_preview_log_events_total", "live_view.joined"): 1,
        ("hivesync_preview_log_events_total", "live_view.left"): 1,
        ("hivesync_preview_log_failures_total", "build_error"): 1,
        ("hivesync_preview_log_failures_total", "timeout"): 1,
        ("hivesync_preview_log_failures_total", "worker_lost"): 1,
        ("hivesync_preview_log_failures_total", "other"): 1,
        (LINES, "preview", "ok"): 8,
        (LINES, "preview", "unknown_event"): 1,
    }


@pytest.mark.parametrize(
    "line",
    [
        b"ai.requested",
        b'{"event":"ai.requested"',
        b'{"event":"ai.requested"}{"event":"ai.requested"}',
        b'"ai.requested"',
        b'["event","ai.requested"]',
        b"null",
        b"1",
        b"NaN",
        b"{}",
        b'{"Event":"ai.requested"}',
        b'{"event":null}',
        b'{"event":1}',
        b'{"event":["ai.requested"]}',
        b'{"event":{"ai.requested":1}}',
        b'{"event":"ai.requested","user_id":NaN}',
        b'{"event":"ai.requested","user_id":"\xff"}',
        b'\xef\xbb\xbf"ai.requested"',
        b'\x00\x00"ai.requested"\x00',
        b'{"event":"ai.requested","nested":' + b"[" * 400_000 + b"]" * 400_000 + b"}",
        b'{"event":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"event":"ai.requested","prompt":"' + b"x" * 1024 * 1024 + b'"}',
        b"x" * 3 * 1024 * 1024,
    ],
    ids=lambda line: line[:30].decode("utf-8", "replace"),
)
def test_a_malformed_line_is_counted_as_one(setup: Setup, line: bytes) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, line, {"event": "ai.requested"})
    setup.refresh(collector)
    assert counted(collector) == {
        ("hivesync_ai_log_events_total", "ai.requested"): 1,
        (LINES, "ai-events", "ok"): 1,
        (LINES, "ai-events", "malformed"): 1,
    }


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\0" * 9, b"\0" * 3 * 1024 * 1024, b"\0\xef\xbb\xbf"])
def test_what_stands_before_the_first_line_and_is_no_text_costs_no_event(setup: Setup, before: bytes) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, before + b'{"event":"ai.requested"}', {"event": "ai.completed"})
    setup.refresh(collector)
    assert counted(collector) == {
        ("hivesync_ai_log_events_total", "ai.requested"): 1,
        ("hivesync_ai_log_events_total", "ai.completed"): 1,
        (LINES, "ai-events", "ok"): 2,
    }


def test_a_log_of_nothing_but_a_huge_line_is_counted_too(setup: Setup) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, b"x" * 3 * 1024 * 1024)
    setup.refresh(collector)
    assert counted(collector) == {(LINES, "ai-events", "malformed"): 1}


def test_carriage_returns_blank_lines_and_doubled_keys_do_no_harm(setup: Setup) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, b'{"event":"ai.error","event":"ai.requested"}\r', b"", b"\r", b"  ", b' {"event":"ai.completed"} ')
    setup.refresh(collector)
    assert counted(collector) == {
        ("hivesync_ai_log_events_total", "ai.requested"): 1,
        ("hivesync_ai_log_events_total", "ai.completed"): 1,
        (LINES, "ai-events", "ok"): 2,
    }


def test_nothing_of_a_line_is_logged_shown_or_kept(setup: Setup) -> None:
    secret = "my secret prompt"
    collector = ai_log(setup.state())
    append(
        setup.ai,
        {"event": "ai.requested", "prompt": secret, "user_id": secret},
        {"event": secret},
        {"event": "ai.error", "error_kind": secret},
        secret.encode(),
    )
    with capture_logs() as logged:
        shown = setup.refresh(collector)
    assert secret not in repr((logged, shown, list(collector.counters())))
    assert secret.encode() not in setup.state().path.read_bytes()


def test_what_is_left_to_read_is_shown(setup: Setup) -> None:
    collector = ai_log(setup.state())
    with setup.ai.path.open("ab") as file:
        file.write(b'{"event":"ai.requested"}\n{"event":')
    assert setup.refresh(collector) == {("hivesync_log_unread_bytes", "ai-events"): 9}


# Over time -------------------------------------------------------------------------------------------------------


def test_counting_goes_on_after_a_restart(setup: Setup) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, {"event": "ai.requested"})
    setup.refresh(collector)
    append(setup.ai, {"event": "ai.requested"}, b"x")
    again = ai_log(setup.state())
    assert counted(again) == counted(collector)
    setup.refresh(again)
    assert counted(again)[LINES, "ai-events", "ok"] == 2
    assert counted(again)[LINES, "ai-events", "malformed"] == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda state: [],
        lambda state: {},
        lambda state: {**state, "position": {"tracks": [1]}},
        lambda state: {**state, "position": 5},
        lambda state: {**state, "events": None},
        lambda state: {**state, "events": {"ai.requested": "5"}},
        lambda state: {**state, "results": {"ok": -1}},
        lambda state: {**state, "kinds": {"timeout": True}},
        lambda state: {**state, "kinds": {"timeout": 1.5}},
    ],
)
def test_a_state_that_makes_no_sense_is_set_aside(setup: Setup, change: Callable[[Any], Any]) -> None:
    append(setup.ai, {"event": "ai.requested"})
    setup.refresh(ai_log(setup.state()))
    file = setup.state()
    file.path.write_bytes(orjson.dumps(change(orjson.loads(file.path.read_bytes()))))
    with capture_logs() as logged:
        collector = ai_log(file)
    assert counted(collector) == {}
    assert [entry["event"] for entry in logged] == ["state.corrupt"]
    assert file.path.with_name("ai-events.corrupt").exists()
    setup.refresh(collector)
    assert counted(collector)[LINES, "ai-events", "ok"] == 1


def test_a_label_that_an_older_state_did_not_know_starts_at_0(setup: Setup) -> None:
    append(setup.ai, {"event": "ai.requested"})
    setup.refresh(ai_log(setup.state()))
    file = setup.state()
    state = orjson.loads(file.path.read_bytes())
    del state["events"]["ai.completed"]
    state["events"]["ai.forgotten"] = 5
    file.path.write_bytes(orjson.dumps(state))
    shown = values(ai_log(file).counters())
    assert shown["hivesync_ai_log_events_total", "ai.completed"] == 0
    assert shown["hivesync_ai_log_events_total", "ai.requested"] == 1
    assert ("hivesync_ai_log_events_total", "ai.forgotten") not in shown


def test_counters_stay_while_the_log_cannot_be_read(setup: Setup) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, {"event": "ai.requested"})
    setup.refresh(collector)
    before = values(collector.counters())
    setup.ai.close()
    setup.ai.path.unlink()
    setup.refresh(collector)  # notices the missing file
    with pytest.raises(SourceUnavailable, match="ai_events_log: missing"):
        setup.refresh(collector)
    assert values(collector.counters()) == before


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


@pytest.fixture
def state(setup: Setup) -> WatchedState:
    return WatchedState(setup.folder, "ai-events")


def test_counts_are_saved_before_they_are_shown(setup: Setup, state: WatchedState) -> None:
    state.collector = collector = ai_log(state)
    for _ in range(3):
        append(setup.ai, {"event": "ai.requested"})
        setup.refresh(collector)
    assert (state.shown, state.saved) == ([0, 1, 2], [1, 2, 3])


def test_nothing_is_saved_when_nothing_is_new(setup: Setup, state: WatchedState) -> None:
    state.collector = collector = ai_log(state)
    append(setup.ai, {"event": "ai.requested"})
    for _ in range(3):
        setup.refresh(collector)
    assert state.saved == [1]


def test_what_cannot_be_saved_is_not_shown_and_counted_later(setup: Setup, state: WatchedState) -> None:
    state.collector = collector = ai_log(state)
    append(setup.ai, {"event": "ai.requested"})
    setup.refresh(collector)
    append(setup.ai, {"event": "ai.requested"}, {"event": "ai.requested"})
    state.fails = True
    for _ in range(2):
        with pytest.raises(CollectionFailed) as error:
            setup.refresh(collector)
    assert (error.value.source, error.value.kind, error.value.detail) == (
        "ai_events_log",
        "state_unwritable",
        str(state.path),
    )
    assert setup.ai.reachability.up
    assert counted(collector)[LINES, "ai-events", "ok"] == 1
    state.fails = False
    setup.refresh(collector)
    assert counted(collector)[LINES, "ai-events", "ok"] == 3


LONG_LINE = orjson.dumps({"event": "ai.requested", "padding": "x" * 900}) + b"\n"
LONG_LINES = 3 * SLICE_BYTES // len(LONG_LINE)


def test_a_refresh_that_has_much_to_read_keeps_to_its_budget_and_the_next_goes_on(
    setup: Setup, state: WatchedState
) -> None:
    setup.ai.path.write_bytes(LONG_LINE * 2 * LONG_LINES)  # 6 slices
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    # Every reading of the clock costs a second: each slice is saved, and two fit into a refresh.
    state.collector = collector = LogCollector(AI, state, budget=4.0, clock=clock)
    unread = setup.refresh(collector)["hivesync_log_unread_bytes", "ai-events"]
    assert len(state.saved) == 2
    assert unread == len(LONG_LINE) * (2 * LONG_LINES - state.saved[-1])
    setup.refresh(collector)
    assert len(state.saved) == 4
    while setup.refresh(collector)["hivesync_log_unread_bytes", "ai-events"]:
        pass
    assert state.saved == sorted(state.saved)
    assert counted(collector)[LINES, "ai-events", "ok"] == 2 * LONG_LINES


def test_slices_that_follow_each_other_closely_are_saved_together(setup: Setup, state: WatchedState) -> None:
    setup.ai.path.write_bytes(LONG_LINE * LONG_LINES)
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += SAVE_SECONDS / 10
        return now

    state.collector = collector = LogCollector(AI, state, clock=clock)
    assert setup.refresh(collector)["hivesync_log_unread_bytes", "ai-events"] == 0
    assert state.saved == [LONG_LINES]


def test_a_slice_that_cannot_be_read_does_not_cost_those_before_it(setup: Setup, state: WatchedState) -> None:
    setup.ai.path.write_bytes(LONG_LINE * LONG_LINES)
    failing = FailingLog("ai_events_log", setup.ai.path)
    state.collector = collector = LogCollector(AI, state, clock=lambda: 0.0)
    with pytest.raises(SourceUnavailable, match="ai_events_log: io"):
        asyncio.run(collector.refresh(sources_with(failing)))
    assert 0 < state.saved[0] < LONG_LINES
    assert counted(collector) == {}, "the end has not been reached"
    setup.refresh(collector)
    assert counted(collector)[LINES, "ai-events", "ok"] == LONG_LINES


class FailingLog(JsonlLog):
    """Fails at its second slice."""

    def read(self, position: Position | None, limit: int = SLICE_BYTES) -> Slice:
        if position is not None:
            raise SourceUnavailable(self.name, "io")
        return super().read(position, limit)


def test_the_event_loop_turns_between_the_batches_of_a_backlog(setup: Setup, state: WatchedState) -> None:
    setup.ai.path.write_bytes(LONG_LINE * LONG_LINES)
    state.collector = collector = LogCollector(AI, state)
    batches, turns = 0, 0

    def counting(lines: bytes, failure_event: str) -> Iterator[Counted]:
        nonlocal batches
        for counted in count(lines, failure_event):
            batches += 1
            assert turns >= batches - 1, "two batches in one turn"
            assert len(lines) < 100_000
            yield counted

    async def scenario() -> None:
        nonlocal turns
        refresh = asyncio.create_task(collector.refresh(setup.sources))
        while not refresh.done():
            await asyncio.sleep(0)
            turns += batches > turns
        await refresh

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "count", counting)
        asyncio.run(scenario())
    assert batches > 80
    assert counted(collector)[LINES, "ai-events", "ok"] == LONG_LINES


class SlowLog(JsonlLog):
    """Stops in the middle of a read until `go_on` is set."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name, path)
        self.reading = threading.Event()
        self.go_on = threading.Event()
        self.at_once = 0
        self.most_at_once = 0

    def read(self, position: Position | None, limit: int = SLICE_BYTES) -> Slice:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            self.reading.set()
            assert self.go_on.wait(patience())
            return super().read(position, limit)
        finally:
            self.at_once -= 1


def test_a_cancelled_refresh_leaves_nothing_half_done_and_is_not_raced(setup: Setup) -> None:
    slow = SlowLog("ai_events_log", setup.ai.path)
    collector = ai_log(setup.state())
    append(slow, {"event": "ai.requested"})

    async def scenario() -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await collector.refresh(sources_with(slow))
        assert slow.reading.is_set()
        assert counted(collector) == {}
        slow.go_on.set()
        await collector.refresh(sources_with(slow))

    asyncio.run(scenario())
    slow.close()
    assert slow.most_at_once == 1
    assert counted(collector)[LINES, "ai-events", "ok"] == 1
    assert counted(ai_log(setup.state())) == counted(collector)


@pytest.mark.parametrize("turns", [*range(1, 12), 40, 70, 100])
def test_a_refresh_cancelled_after_any_number_of_turns_loses_and_repeats_nothing(setup: Setup, turns: int) -> None:
    collector = ai_log(setup.state())
    setup.ai.path.write_bytes(LONG_LINE * LONG_LINES)

    async def scenario() -> None:
        for _ in range(3):
            refresh = asyncio.create_task(collector.refresh(setup.sources))
            for _ in range(turns):
                await asyncio.sleep(0)
            refresh.cancel()
            await asyncio.wait([refresh])
            state = setup.state().load()
            shown = counted(collector).get((LINES, "ai-events", "ok"), 0)
            assert shown <= (0 if state is None else state["results"]["ok"])
        await collector.refresh(setup.sources)

    asyncio.run(scenario())
    assert counted(collector) == {
        ("hivesync_ai_log_events_total", "ai.requested"): LONG_LINES,
        (LINES, "ai-events", "ok"): LONG_LINES,
    }
    assert counted(ai_log(setup.state())) == counted(collector)


@pytest.mark.parametrize("turns", [*range(1, 12), 40, 70, 100])
def test_a_loop_that_ends_in_the_middle_of_a_backlog_loses_and_repeats_nothing(setup: Setup, turns: int) -> None:
    collector = ai_log(setup.state())
    setup.ai.path.write_bytes(LONG_LINE * LONG_LINES)

    async def scenario() -> None:
        refresh = asyncio.create_task(collector.refresh(setup.sources))
        for _ in range(turns):
            await asyncio.sleep(0)
        refresh.cancel()

    asyncio.run(scenario())  # cancels the step at any point
    setup.refresh(collector)
    assert counted(collector)[LINES, "ai-events", "ok"] == LONG_LINES
    again = ai_log(setup.state())
    setup.refresh(again)
    assert counted(again) == counted(collector)


# Killed at any moment --------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("every", [1, 100, 2000], ids="a failure in {} lines".format)
def test_the_newest_failures_of_a_backlog_are_the_incidents(setup: Setup, every: int) -> None:
    """The backlog has many batches, some of them without a failure."""

    def line(number: int) -> bytes:
        event = "ai.error" if number % every == 0 else "ai.completed"
        at = datetime.fromtimestamp(1_700_000_000 + number, UTC).isoformat()
        return orjson.dumps({"event": event, "ts": at, "job_id": str(number), "padding": "x" * 200}) + b"\n"

    numbers = range(20_000)
    setup.ai.path.write_bytes(b"".join(map(line, numbers)))
    collector = ai_log(setup.state())
    setup.refresh(collector)
    expected = [str(number) for number in reversed(numbers) if number % every == 0][:KEPT]
    assert [incident.job_id for incident in collector.content] == expected
