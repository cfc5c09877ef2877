"""The past of a log: counters start at its end (docs/definitions.md#logs)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import CollectionFailed, SourceUnavailable, StateError
from exporter.state import StateFile
from tests.exporter.collectors.logs.past import HOUR, LONG, SLICE, World, line


def test_nothing_is_shown_at_a_first_start_before_the_end_is_reached(world: World) -> None:
    world.write(line(padding=LONG) * 4 * SLICE)
    world.start_slow()
    assert world.collector.counters() == []
    while world.refresh() > 0:
        assert world.collector.counters() == []
    assert world.shown() == 4 * SLICE


def test_a_log_that_was_empty_or_short_is_shown_from_the_first_refresh_on(world: World) -> None:
    world.write()
    world.refresh()
    assert world.shown() == 0
    world.write(line(), b'{"event": "half a')
    world.refresh()
    assert world.shown() == 1


def test_a_log_that_grows_faster_than_it_is_read_is_shown_where_its_end_was(world: World) -> None:
    world.write(line(padding=LONG) * 3 * SLICE)
    world.start_slow()
    shown, unread = [], []
    for _ in range(6):
        unread.append(world.refresh())
        shown.append(world.shown())
        world.write(line(padding=LONG) * 2 * SLICE)
    assert unread == sorted(unread)
    assert shown[:2] == [None, None]
    assert None not in shown[3:]


def test_a_restart_shows_the_counters_at_once(world: World) -> None:
    world.write(line() * 3)
    world.refresh()
    world.write(line() * 4)
    world.start()
    assert world.shown() == 3
    world.refresh()
    assert world.shown() == 7


def test_a_restart_in_the_middle_of_the_first_reading_goes_on_hiding(world: World) -> None:
    world.write(line(padding=LONG) * 3 * SLICE)
    world.start_slow()
    world.refresh()
    world.write(line(padding=LONG) * 3 * SLICE)  # the end has moved
    world.start_slow()
    while world.refresh() > 0:
        assert world.shown() is None
    assert world.shown() == 6 * SLICE
    world.start_slow()
    assert world.shown() == 6 * SLICE


def test_a_lost_state_is_a_first_start(world: World) -> None:
    world.write(line(padding=LONG) * 3 * SLICE)
    world.refresh()
    world.state.path.unlink()
    world.start_slow()
    world.refresh()
    assert world.shown() is None
    while world.refresh() > 0:
        pass
    assert world.shown() == 3 * SLICE


def test_a_log_that_is_missing_at_the_start_has_no_past(world: World) -> None:
    assert world.shown() is None
    with pytest.raises(SourceUnavailable, match="missing"):
        world.refresh()
    assert world.shown() == 0
    world.write(line(age=5) * 3)
    world.refresh()
    assert (world.shown(), world.late) == (3, 0)


def test_a_log_that_appears_with_a_past_has_late_lines(world: World) -> None:
    """For instance on a file system mounted after the start."""
    with pytest.raises(SourceUnavailable, match="missing"):
        world.refresh()
    world.write(line(age=HOUR) * 3)
    world.refresh()
    assert (world.shown(), world.late) == (3, 3)


def test_one_log_may_be_missing_beside_one_that_has_a_past(world: World, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    world.write(line(padding=LONG) * 3 * SLICE)
    world.start_slow()
    world.refresh()
    with pytest.raises(SourceUnavailable, match="missing"):
        other.refresh()
    assert (world.shown(), other.shown()) == (None, 0)


def test_a_log_that_cannot_be_read_at_the_start_is_not_shown_before_it_was(world: World) -> None:
    world.path.mkdir()  # unreadable, by root too
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="not_a_file"):
            world.refresh()
        assert world.shown() is None
    world.path.rmdir()
    world.write(line() * 3)
    world.refresh()
    assert world.shown() == 3


def test_a_reading_that_stalls_on_the_way_to_the_end_goes_on_hiding(world: World) -> None:
    world.write(line(padding=LONG) * 3 * SLICE)
    world.start_slow()
    world.refresh()
    world.log.close()
    aside = world.path.rename(world.path.with_suffix(".aside"))
    world.path.mkdir()
    with pytest.raises(SourceUnavailable, match="not_a_file"):
        world.refresh()
    assert world.shown() is None
    world.path.rmdir()
    aside.rename(world.path)
    while world.refresh() > 0:
        assert world.shown() is None
    assert world.shown() == 3 * SLICE


def test_a_folder_that_goes_on_the_way_to_the_end_is_no_log_without_a_past(world: World, tmp_path: Path) -> None:
    """For instance on a file system unmounted during the first reading."""
    world.path = tmp_path / "logs" / "ai-events.log"
    world.path.parent.mkdir()
    world.write(line(padding=LONG) * 3 * SLICE)
    world.start_slow()
    world.refresh()
    world.log.close()
    away = world.path.parent.rename(tmp_path / "away")
    with pytest.raises(SourceUnavailable, match="missing"):
        world.refresh()
    assert world.shown() is None
    away.rename(world.path.parent)
    while world.refresh() > 0:
        assert world.shown() is None
    assert world.shown() == 3 * SLICE


@pytest.mark.parametrize("compressed", [False, True], ids=["renamed", "renamed and compressed"])
def test_a_log_rotated_during_the_first_reading_is_shown_once_all_is_read(world: World, compressed: bool) -> None:
    world.write(line(padding=LONG) * 3 * SLICE)
    world.start_slow()
    world.refresh()
    rotated = world.path.rename(world.path.with_name("ai-events.log.1"))
    if compressed:
        world.log.close()
        rotated.with_name("ai-events.log.1.gz").write_bytes(gzip.compress(rotated.read_bytes(), 1))
        rotated.unlink()
    world.write(line() * 5)
    world.refresh()
    assert world.shown() is None
    for _ in range(4):
        world.refresh()
    assert world.shown() == 3 * SLICE + 5


def test_a_slice_that_cannot_be_saved_brings_the_end_no_nearer(world: World) -> None:
    class Full(StateFile):
        full = True

        def save(self, value: Any) -> None:
            if self.full:
                raise StateError("No space left on device")
            super().save(value)

    world.state = full = Full(world.state.path.parent, "ai-events")
    world.write(line(padding=LONG) * 3 * SLICE)
    world.start_slow()
    for _ in range(5):
        with pytest.raises(CollectionFailed):
            world.refresh()
    full.full = False
    world.refresh()
    assert world.shown() is None
    while world.refresh() > 0:
        assert world.shown() is None
    assert world.shown() == 3 * SLICE


def test_incidents_of_the_past_are_not_listed_before_the_end_is_reached(world: World) -> None:
    world.write(line(event="ai.error", job_id="old"), line(padding=LONG) * 2 * SLICE)
    world.write(line(event="ai.error", job_id="new", age=1))
    world.start_slow()
    world.refresh()
    assert not world.collector.content
    while world.refresh() > 0:
        pass
    assert [incident.job_id for incident in world.collector.content] == ["new", "old"]
