"""Backlogs of logs: read in slices within a budget, correct after failures and cancellations."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from exporter import disk
from exporter.collectors import logs
from exporter.collectors.logs import AI, SAVE_SECONDS, LogCollector, ai_log
from exporter.errors import SourceUnavailable
from exporter.incident import KEPT
from exporter.log_lines import Counted, count
from exporter.sources.jsonl import JsonlLog, Position, Slice
from exporter.sources.jsonl.log import SLICE_BYTES
from tests.exporter.collectors.logs.counting import (
    LINES,
    LONG_LINE,
    LONG_LINES,
    Setup,
    WatchedState,
    append,
    counted,
    sources_with,
)
from tests.waiting import patience


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


def test_an_unreadable_slice_costs_no_incident_of_those_before_it(setup: Setup) -> None:
    collector = LogCollector(AI, setup.state(), clock=lambda: 0.0)
    setup.refresh(collector)  # at the log's end, so that incidents are shown
    number_of_lines = 3 * SLICE_BYTES // len(failed(0))
    setup.ai.path.write_bytes(b"".join(map(failed, range(number_of_lines))))
    failing = FailingLog("ai_events_log", setup.ai.path)
    failing.good_slices = 2
    with pytest.raises(SourceUnavailable, match="ai_events_log: io"):
        asyncio.run(collector.refresh(sources_with(failing)))
    assert collector.content
    setup.refresh(collector)
    expected = [str(number) for number in reversed(range(number_of_lines))][:KEPT]
    assert [incident.job_id for incident in collector.content] == expected


def failed(number: int) -> bytes:
    at = datetime.fromtimestamp(1_700_000_000 + number, UTC).isoformat()
    return orjson.dumps({"event": "ai.error", "ts": at, "job_id": str(number), "padding": "x" * 20_000}) + b"\n"


class FailingLog(JsonlLog):
    """Fails at its second slice, or a later one."""

    good_slices = 1

    def read(self, position: Position | None, limit: int = SLICE_BYTES) -> Slice:
        self.good_slices -= 1
        if self.good_slices < 0:
            raise SourceUnavailable(self.name, "io")
        return super().read(position, limit)


def test_the_event_loop_turns_between_the_batches_of_a_backlog(setup: Setup, state: WatchedState) -> None:
    setup.ai.path.write_bytes(LONG_LINE * LONG_LINES)
    state.collector = collector = LogCollector(AI, state)
    batches, turns = 0, 0

    def counting(lines: bytes, failure_event: str) -> Iterator[Counted]:
        nonlocal batches
        for counted in count(lines, failure_event):  # noqa: F402 - the helper is not used in here
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
    disk.settle()
    setup.refresh(collector)
    assert counted(collector)[LINES, "ai-events", "ok"] == LONG_LINES
    again = ai_log(setup.state())
    setup.refresh(again)
    assert counted(again) == counted(collector)


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
