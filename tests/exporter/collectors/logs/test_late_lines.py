"""Late lines of a log, counted separately (docs/definitions.md#logs): their state, and the times of lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from exporter.collector import Sources
from exporter.collectors.logs import LATE_SECONDS, ai_log
from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.log_lines import STAMPED_LINES, begins_after
from exporter.sources.jsonl import JsonlLog
from exporter.state import StateFile
from tests.exporter.collectors.logs.past import HOUR, LONG, NOW, SLICE, World, line, started


@pytest.mark.parametrize(
    ("age", "late"),
    [(0, 0), (-HOUR, 0), (LATE_SECONDS - 1, 0), (LATE_SECONDS + 1, 3), (24 * HOUR, 3), (None, 3)],
    ids=["now", "in the future", "just now", "too long ago", "a day ago", "at a time it does not tell"],
)
def test_what_was_written_while_the_exporter_was_down_is_late_by_its_age(
    world: World, age: float | None, late: int
) -> None:
    started(world)
    world.write(line(age=age) * 3)
    world.start()
    world.refresh()
    assert (world.shown(), world.late) == (5, late)


def test_lines_are_late_again_only_after_another_outage(world: World) -> None:
    """A clock that is an hour behind, or a time without a zone, does not make all lines late forever."""
    started(world)
    for _ in range(3):
        world.write(line(age=HOUR) * 3)
        world.refresh()
    assert (world.shown(), world.late) == (11, 0)


def test_what_was_written_while_the_log_could_not_be_read_is_late(world: World) -> None:
    started(world)
    world.log.close()
    aside = world.path.rename(world.path.with_suffix(".aside"))
    world.path.mkdir()
    with pytest.raises(SourceUnavailable):
        world.refresh()
    world.path.rmdir()
    aside.rename(world.path)
    world.write(line(age=HOUR) * 3)
    world.refresh()
    assert (world.shown(), world.late) == (5, 3)


def test_what_was_written_while_the_state_could_not_be_saved_is_late(world: World) -> None:
    started(world)
    world.write(line(age=HOUR) * 3)
    folder = world.state.path.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.state, "path", folder / "nowhere" / "ai-events")
        with pytest.raises(CollectionFailed):
            world.refresh()
    world.refresh()
    assert (world.shown(), world.late) == (5, 3)


def test_what_was_written_while_the_whole_machine_slept_is_late(world: World) -> None:
    started(world)
    world.now += 5 * HOUR
    world.write(line(age=-HOUR) * 3)  # four hours before it resumed
    world.refresh()
    assert (world.shown(), world.late) == (5, 3)


def test_a_log_that_is_read_too_slowly_has_late_lines_until_its_end(world: World) -> None:
    started(world)
    world.write(line(padding=LONG) * 3 * SLICE, line(age=0, padding=LONG) * SLICE)
    world.start_slow()
    world.refresh()
    assert 0 < (world.late or 0) < 3 * SLICE
    while world.refresh() > 0:
        pass
    assert world.shown() == 2 + 4 * SLICE
    assert world.late == pytest.approx(3 * SLICE, abs=100), "by the first line of each 64 KiB"


def test_late_lines_go_on_over_a_restart(world: World) -> None:
    started(world)
    for late in (3, 6):
        world.write(line() * 3)
        world.start()
        world.refresh()
        assert world.late == late
    world.start()
    assert world.late == 6


def test_a_late_line_is_older_than_two_refresh_periods(tmp_path: Path) -> None:
    path = tmp_path / "ai-events.log"
    for number, (refresh_seconds, late) in enumerate([(15.0, 1), (600.0, 0), (500.0, 1)]):
        state = StateFile(tmp_path, f"state-{number}")
        collector = ai_log(state, refresh_seconds)
        age = datetime.now(UTC).timestamp() - 1_100
        path.write_bytes(
            orjson.dumps({"event": "ai.error", "ts": datetime.fromtimestamp(age, UTC).isoformat()}) + b"\n"
        )
        log = JsonlLog("ai_events_log", path)
        nothing = cast("Any", None)
        asyncio.run(collector.refresh(Sources(nothing, nothing, log, nothing)))
        log.close()
        (found,) = (s.value for s in collector.counters() if s.spec.name == "hivesync_log_late_lines_total")
        assert found == late, refresh_seconds


# The state -------------------------------------------------------------------------------------------------------


def changed(world: World, change: Callable[[dict[str, Any]], Any]) -> None:
    """Start with a changed state."""
    state = world.state.load()
    assert state is not None
    change(state)
    world.state.save(state)
    world.start()


def test_a_state_of_an_older_version_is_shown_at_once(world: World) -> None:
    started(world)
    changed(world, lambda state: (state.pop("is_shown"), state.pop("late")))
    assert (world.shown(), world.late) == (2, 0)


@pytest.mark.parametrize("change", [{"is_shown": 1}, {"is_shown": None}, {"late": -1}, {"late": True}])
def test_a_state_that_makes_no_sense_is_a_first_start(world: World, change: dict[str, Any]) -> None:
    started(world)
    changed(world, lambda state: state.update(change))
    assert world.shown() is None
    assert world.state.path.with_name("ai-events.corrupt").exists()


# Times of lines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ts", "time"),
    [
        ("2026-02-25T06:13:20Z", NOW),
        ("2026-02-25T06:13:20.5+00:00", NOW + 0.5),
        ("2026-02-25T08:13:20+02:00", NOW),
        ("2026-02-25T06:13:20", NOW),
        ("2026-02-25 06:13:20", NOW),
        ("20260225T061320Z", NOW),
    ],
)
def test_the_time_of_a_line_is_iso_8601_and_utc_unless_it_says_otherwise(ts: str, time: float) -> None:
    content = orjson.dumps({"ts": ts, "event": "x"}) + b"\n"
    assert begins_after(time - 1, content)
    assert not begins_after(time, content)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b'{"event":"x"}',
        b'{"ts":1772000000}',
        b'{"ts":null}',
        b'{"ts":"yesterday"}',
        b'{"ts":"9999-99-99T00:00:00Z"}',
        b'{"ts":"0001-01-01T00:00:00+14:00"}',
        b'{"ts":' + b"[" * 50_000,
    ],
    ids=lambda bad: bad[:20].decode("utf-8", "replace"),
)
def test_a_line_without_a_time_leaves_it_to_the_next(bad: bytes) -> None:
    assert begins_after(NOW - 1, (bad + b"\n") * (STAMPED_LINES - 1) + line(age=0))
    assert not begins_after(NOW - 1, (bad + b"\n") * (STAMPED_LINES - 1) + line(age=2))
    assert not begins_after(NOW - 1, (bad + b"\n") * STAMPED_LINES + line(age=0))
