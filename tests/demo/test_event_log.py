"""The made-up log files: JSON Lines, rotated by rename."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from demo import event_log
from demo.event_log import EventLog


@pytest.fixture
def orderly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log files without broken lines and unknown events."""
    monkeypatch.setattr(event_log, "BROKEN", 0.0)
    monkeypatch.setattr(event_log, "UNKNOWN", 0.0)


@pytest.mark.usefixtures("orderly")
def test_a_line_has_its_time_in_utc_its_event_and_its_fields(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "new" / "a.log", Random(1))
    log.write("ai.completed", latency_ms=1200, user_id=None)
    log.close()
    line = json.loads((tmp_path / "new" / "a.log").read_bytes())
    ts = line.pop("ts")
    assert ts.endswith("Z")
    assert abs((datetime.fromisoformat(ts) - datetime.now(UTC)).total_seconds()) < 60
    assert line == {"event": "ai.completed", "latency_ms": 1200, "user_id": None}


@pytest.mark.usefixtures("orderly")
def test_a_full_file_is_renamed_older_ones_are_compressed_and_only_three_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "LINES_A_FILE", 10)
    path = tmp_path / "a.log"
    log = EventLog(path, Random(1))
    inodes = set()
    for number in range(55):
        inodes.add(path.stat().st_ino)
        log.write("ai.requested", number=number)
    log.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2.gz", "a.log.3.gz"]
    assert (tmp_path / "a.log.1").stat().st_ino in inodes
    contents = [path.read_bytes(), (tmp_path / "a.log.1").read_bytes()]
    contents += [gzip.decompress((tmp_path / f"a.log.{number}.gz").read_bytes()) for number in (2, 3)]
    numbers = [[json.loads(line)["number"] for line in content.splitlines()] for content in contents]
    assert numbers == [list(range(50, 55)), list(range(40, 50)), list(range(30, 40)), list(range(20, 30))]


def test_now_and_then_a_line_is_broken_or_unheard_of_and_the_others_are_all_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "LINES_A_FILE", 10_000)
    log = EventLog(tmp_path / "a.log", Random(1))
    for number in range(2_000):
        log.write("ai.requested", number=number)
    log.close()
    numbers, unheard_of, broken = [], 0, 0
    for line in (tmp_path / "a.log").read_bytes().splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            broken += 1
            continue
        if content["event"] == "ai.requested":
            numbers.append(content["number"])
        else:
            unheard_of += 1
    assert numbers == list(range(2_000))
    assert 1 <= broken <= 30
    assert 1 <= unheard_of <= 30


@pytest.mark.usefixtures("orderly")
def test_a_file_or_directory_that_somebody_takes_away_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "LINES_A_FILE", 2)
    path = tmp_path / "logs" / "a.log"
    log = EventLog(path, Random(1))
    log.write("ai.requested")
    path.unlink()
    path.parent.rmdir()
    log.write("ai.requested")
    log.write("ai.requested")
    log.close()
    assert len(path.read_bytes().splitlines()) == 2
