"""The past of a log: counters start at its end (docs/definitions.md#logs)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import CollectionFailed, SourceUnavailable, StateError
from exporter.state import StateFile
from tests.exporter.collectors.logs.past import HOUR, LONG, SLICE, LogReader, line


def test_nothing_is_shown_at_a_first_start_before_the_end_is_reached(reader: LogReader) -> None:
    reader.write(line(padding=LONG) * 4 * SLICE)
    reader.start_slow()
    assert reader.collector.counters() == []
    while reader.refresh() > 0:
        assert reader.collector.counters() == []
    assert reader.shown() == 4 * SLICE


def test_a_log_that_was_empty_or_short_is_shown_from_the_first_refresh_on(reader: LogReader) -> None:
    reader.write()
    reader.refresh()
    assert reader.shown() == 0
    reader.write(line(), b'{"event": "half a')
    reader.refresh()
    assert reader.shown() == 1


def test_a_log_that_grows_faster_than_it_is_read_is_shown_where_its_end_was(reader: LogReader) -> None:
    reader.write(line(padding=LONG) * 3 * SLICE)
    reader.start_slow()
    shown, unread = [], []
    for _ in range(6):
        unread.append(reader.refresh())
        shown.append(reader.shown())
        reader.write(line(padding=LONG) * 2 * SLICE)
    assert unread == sorted(unread)
    assert shown[:2] == [None, None]
    assert None not in shown[3:]


def test_a_restart_shows_the_counters_at_once(reader: LogReader) -> None:
    reader.write(line() * 3)
    reader.refresh()
    reader.write(line() * 4)
    reader.start()
    assert reader.shown() == 3
    reader.refresh()
    assert reader.shown() == 7


def test_a_restart_in_the_middle_of_the_first_reading_goes_on_hiding(reader: LogReader) -> None:
    reader.write(line(padding=LONG) * 3 * SLICE)
    reader.start_slow()
    reader.refresh()
    reader.write(line(padding=LONG) * 3 * SLICE)  # the end has moved
    reader.start_slow()
    while reader.refresh() > 0:
        assert reader.shown() is None
    assert reader.shown() == 6 * SLICE
    reader.start_slow()
    assert reader.shown() == 6 * SLICE


def test_a_lost_state_is_a_first_start(reader: LogReader) -> None:
    reader.write(line(padding=LONG) * 3 * SLICE)
    reader.refresh()
    reader.state.path.unlink()
    reader.start_slow()
    reader.refresh()
    assert reader.shown() is None
    while reader.refresh() > 0:
        pass
    assert reader.shown() == 3 * SLICE


def test_a_log_that_is_missing_at_the_start_has_no_past(reader: LogReader) -> None:
    assert reader.shown() is None
    with pytest.raises(SourceUnavailable, match="missing"):
        reader.refresh()
    assert reader.shown() == 0
    reader.write(line(age=5) * 3)
    reader.refresh()
    assert (reader.shown(), reader.late) == (3, 0)


def test_a_log_that_appears_with_a_past_has_late_lines(reader: LogReader) -> None:
    """For instance on a file system mounted after the start."""
    with pytest.raises(SourceUnavailable, match="missing"):
        reader.refresh()
    reader.write(line(age=HOUR) * 3)
    reader.refresh()
    assert (reader.shown(), reader.late) == (3, 3)


def test_one_log_may_be_missing_beside_one_that_has_a_past(reader: LogReader, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = LogReader(tmp_path / "other")
    reader.write(line(padding=LONG) * 3 * SLICE)
    reader.start_slow()
    reader.refresh()
    with pytest.raises(SourceUnavailable, match="missing"):
        other.refresh()
    assert (reader.shown(), other.shown()) == (None, 0)


def test_a_log_that_cannot_be_read_at_the_start_is_not_shown_before_it_was(reader: LogReader) -> None:
    reader.path.mkdir()  # unreadable, by root too
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="not_a_file"):
            reader.refresh()
        assert reader.shown() is None
    reader.path.rmdir()
    reader.write(line() * 3)
    reader.refresh()
    assert reader.shown() == 3


def test_a_reading_that_stalls_on_the_way_to_the_end_goes_on_hiding(reader: LogReader) -> None:
    reader.write(line(padding=LONG) * 3 * SLICE)
    reader.start_slow()
    reader.refresh()
    reader.log.close()
    aside = reader.path.rename(reader.path.with_suffix(".aside"))
    reader.path.mkdir()
    with pytest.raises(SourceUnavailable, match="not_a_file"):
        reader.refresh()
    assert reader.shown() is None
    reader.path.rmdir()
    aside.rename(reader.path)
    while reader.refresh() > 0:
        assert reader.shown() is None
    assert reader.shown() == 3 * SLICE


def test_a_folder_that_goes_on_the_way_to_the_end_is_no_log_without_a_past(reader: LogReader, tmp_path: Path) -> None:
    """For instance on a file system unmounted during the first reading."""
    reader.path = tmp_path / "logs" / "ai-events.log"
    reader.path.parent.mkdir()
    reader.write(line(padding=LONG) * 3 * SLICE)
    reader.start_slow()
    reader.refresh()
    reader.log.close()
    away = reader.path.parent.rename(tmp_path / "away")
    with pytest.raises(SourceUnavailable, match="missing"):
        reader.refresh()
    assert reader.shown() is None
    away.rename(reader.path.parent)
    while reader.refresh() > 0:
        assert reader.shown() is None
    assert reader.shown() == 3 * SLICE


@pytest.mark.parametrize("compressed", [False, True], ids=["renamed", "renamed and compressed"])
def test_a_log_rotated_during_the_first_reading_is_shown_once_all_is_read(reader: LogReader, compressed: bool) -> None:
    reader.write(line(padding=LONG) * 3 * SLICE)
    reader.start_slow()
    reader.refresh()
    rotated = reader.path.rename(reader.path.with_name("ai-events.log.1"))
    if compressed:
        reader.log.close()
        rotated.with_name("ai-events.log.1.gz").write_bytes(gzip.compress(rotated.read_bytes(), 1))
        rotated.unlink()
    reader.write(line() * 5)
    reader.refresh()
    assert reader.shown() is None
    for _ in range(4):
        reader.refresh()
    assert reader.shown() == 3 * SLICE + 5


def test_a_slice_that_cannot_be_saved_brings_the_end_no_nearer(reader: LogReader) -> None:
    class Full(StateFile):
        full = True

        def save(self, value: Any) -> None:
            if self.full:
                raise StateError("No space left on device")
            super().save(value)

    reader.state = full = Full(reader.state.path.parent, "ai-events")
    reader.write(line(padding=LONG) * 3 * SLICE)
    reader.start_slow()
    for _ in range(5):
        with pytest.raises(CollectionFailed):
            reader.refresh()
    full.full = False
    reader.refresh()
    assert reader.shown() is None
    while reader.refresh() > 0:
        assert reader.shown() is None
    assert reader.shown() == 3 * SLICE


def test_incidents_of_the_past_are_not_listed_before_the_end_is_reached(reader: LogReader) -> None:
    reader.write(line(event="ai.error", job_id="old"), line(padding=LONG) * 2 * SLICE)
    reader.write(line(event="ai.error", job_id="new", age=1))
    reader.start_slow()
    reader.refresh()
    assert not reader.collector.content
    while reader.refresh() > 0:
        pass
    assert [incident.job_id for incident in reader.collector.content] == ["new", "old"]
