"""The past of a log: counters start at its end (docs/definitions.md#logs), and late lines are counted separately."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from exporter.collector import Sources
from exporter.collectors.logs import AI, LATE_SECONDS, LogCollector, ai_log
from exporter.errors import CollectionFailed, SourceUnavailable, StateError
from exporter.log_lines import STAMPED_LINES, begins_after
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


class LogReader:
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


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LogReader]:
    reader = LogReader(tmp_path)
    yield reader
    reader.log.close()


# A first start ---------------------------------------------------------------------------------------------------


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


# Late lines ------------------------------------------------------------------------------------------------------


def started(reader: LogReader) -> LogReader:
    """The reader with a log of two lines, read to its end."""
    reader.write(line(age=0) * 2)
    reader.refresh()
    assert (reader.shown(), reader.late) == (2, 0)
    return reader


@pytest.mark.parametrize(
    ("age", "late"),
    [(0, 0), (-HOUR, 0), (LATE_SECONDS - 1, 0), (LATE_SECONDS + 1, 3), (24 * HOUR, 3), (None, 3)],
    ids=["now", "in the future", "just now", "too long ago", "a day ago", "at a time it does not tell"],
)
def test_what_was_written_while_the_exporter_was_down_is_late_by_its_age(
    reader: LogReader, age: float | None, late: int
) -> None:
    started(reader)
    reader.write(line(age=age) * 3)
    reader.start()
    reader.refresh()
    assert (reader.shown(), reader.late) == (5, late)


def test_lines_are_late_again_only_after_another_outage(reader: LogReader) -> None:
    """A clock that is an hour behind, or a time without a zone, does not make all lines late forever."""
    started(reader)
    for _ in range(3):
        reader.write(line(age=HOUR) * 3)
        reader.refresh()
    assert (reader.shown(), reader.late) == (11, 0)


def test_what_was_written_while_the_log_could_not_be_read_is_late(reader: LogReader) -> None:
    started(reader)
    reader.log.close()
    aside = reader.path.rename(reader.path.with_suffix(".aside"))
    reader.path.mkdir()
    with pytest.raises(SourceUnavailable):
        reader.refresh()
    reader.path.rmdir()
    aside.rename(reader.path)
    reader.write(line(age=HOUR) * 3)
    reader.refresh()
    assert (reader.shown(), reader.late) == (5, 3)


def test_what_was_written_while_the_state_could_not_be_saved_is_late(reader: LogReader) -> None:
    started(reader)
    reader.write(line(age=HOUR) * 3)
    folder = reader.state.path.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader.state, "path", folder / "nowhere" / "ai-events")
        with pytest.raises(CollectionFailed):
            reader.refresh()
    reader.refresh()
    assert (reader.shown(), reader.late) == (5, 3)


def test_what_was_written_while_the_whole_machine_slept_is_late(reader: LogReader) -> None:
    started(reader)
    reader.now += 5 * HOUR
    reader.write(line(age=-HOUR) * 3)  # four hours before it resumed
    reader.refresh()
    assert (reader.shown(), reader.late) == (5, 3)


def test_a_log_that_is_read_too_slowly_has_late_lines_until_its_end(reader: LogReader) -> None:
    started(reader)
    reader.write(line(padding=LONG) * 3 * SLICE, line(age=0, padding=LONG) * SLICE)
    reader.start_slow()
    reader.refresh()
    assert 0 < (reader.late or 0) < 3 * SLICE
    while reader.refresh() > 0:
        pass
    assert reader.shown() == 2 + 4 * SLICE
    assert reader.late == pytest.approx(3 * SLICE, abs=100), "by the first line of each 64 KiB"


def test_late_lines_go_on_over_a_restart(reader: LogReader) -> None:
    started(reader)
    for late in (3, 6):
        reader.write(line() * 3)
        reader.start()
        reader.refresh()
        assert reader.late == late
    reader.start()
    assert reader.late == 6


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


def changed(reader: LogReader, change: Callable[[dict[str, Any]], Any]) -> None:
    """Start with a changed state."""
    state = reader.state.load()
    assert state is not None
    change(state)
    reader.state.save(state)
    reader.start()


def test_a_state_of_an_older_version_is_shown_at_once(reader: LogReader) -> None:
    started(reader)
    changed(reader, lambda state: (state.pop("is_shown"), state.pop("late")))
    assert (reader.shown(), reader.late) == (2, 0)


@pytest.mark.parametrize("change", [{"is_shown": 1}, {"is_shown": None}, {"late": -1}, {"late": True}])
def test_a_state_that_makes_no_sense_is_a_first_start(reader: LogReader, change: dict[str, Any]) -> None:
    started(reader)
    changed(reader, lambda state: state.update(change))
    assert reader.shown() is None
    assert reader.state.path.with_name("ai-events.corrupt").exists()


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
