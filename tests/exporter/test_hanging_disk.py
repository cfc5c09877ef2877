"""The real exporter on a disk that hangs: degraded in time, everything else goes on, and it stops at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from servers.valkey import ValkeyServer
from tests.exporter.hanging import HangingDisk
from tests.rows import NO_DATABASE, NOWHERE
from tests.running import AI_LINE, GPU_SECONDS, REQUESTED, RunningExporter, Samples, beat, get, is_up
from tests.waiting import patience, until

READ = ("exporter.sources.jsonl.files", "File.read_at")
SAVE = ("exporter.state", "StateFile.save")
LOAD = ("admin.access.authentication", "stored_key")
STOP_SECONDS = 5.0


def exporter_on(disk: HangingDisk, directory: Path, redis_url: str = NOWHERE) -> RunningExporter:
    exporter = RunningExporter(directory, database_url=NO_DATABASE, redis_url=redis_url)
    exporter.environment = disk.environment(exporter.environment)
    exporter.ai_log.write_bytes(AI_LINE)
    exporter.preview_log.touch()
    return exporter


def collector_up(samples: Samples, name: str) -> bool | None:
    value = samples.get(f'hivesync_collector_up{{collector="{name}"}}')
    return None if value is None else bool(value)


def changes(
    exporter: RunningExporter, subject: str, field: str = "collector"
) -> list[tuple[str, str | None, str | None]]:
    return [
        (event["event"].rpartition(".")[2], event.get("kind"), event.get("detail"))
        for event in exporter.events()
        if event["event"].startswith("system.analytics.") and event.get(field) == subject
    ]


def test_a_log_whose_reading_hangs_is_down_until_it_goes_on(tmp_path: Path) -> None:
    disk = HangingDisk(tmp_path, READ)
    with exporter_on(disk, tmp_path) as exporter:
        exporter.wait_for(lambda samples: samples.get(REQUESTED) == 1)
        with disk.hanging():
            with exporter.ai_log.open("ab") as log:
                log.write(AI_LINE * 3)
            samples = exporter.wait_for(lambda samples: is_up(samples, "ai_events_log") is False)
            assert samples[REQUESTED] == 1
            assert get(exporter.page)[0] == 401
        exporter.wait_for(lambda samples: is_up(samples, "ai_events_log") and samples[REQUESTED] == 4)
        log_changes = changes(exporter, "ai_events_log", "source")
    assert log_changes == [("degraded", "timeout", None), ("recovered", None, None)]


def test_a_save_that_hangs_degrades_its_collector_until_it_goes_on(tmp_path: Path) -> None:
    disk = HangingDisk(tmp_path, SAVE)
    with exporter_on(disk, tmp_path) as exporter:
        exporter.wait_for(lambda samples: samples.get(REQUESTED) == 1)
        with disk.hanging():
            with exporter.ai_log.open("ab") as log:
                log.write(AI_LINE * 3)
            samples = exporter.wait_for(lambda samples: collector_up(samples, "ai_log") is False)
            assert samples[REQUESTED] == 1
            assert is_up(samples, "ai_events_log")
            assert collector_up(samples, "preview_log")
        exporter.wait_for(lambda samples: collector_up(samples, "ai_log") and samples[REQUESTED] == 4)
    state = str(exporter.state / "ai-events")
    assert changes(exporter, "ai_log") == [("degraded", "timeout", state), ("recovered", None, None)]


def test_workers_stay_current_while_saving_their_time_hangs(
    valkey: redis.Redis, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    disk = HangingDisk(tmp_path, SAVE)
    begin = time.time() - 60
    beat(valkey, begin)
    with exporter_on(disk, tmp_path, valkey_server.url) as exporter:
        exporter.wait_for(lambda samples: samples.get(GPU_SECONDS) == 0)
        with disk.hanging():
            beat(valkey, begin + 10)
            until(lambda: changes(exporter, "workers"), "the event")
            beat(valkey, begin + 20)
            shown = 'hivesync_worker_last_heartbeat_timestamp_seconds{kind="gpu",worker="gpu-1"}'
            samples = exporter.wait_for(lambda samples: samples[shown] == pytest.approx(begin + 20, abs=0.001))
            assert samples[GPU_SECONDS] == 0
            assert collector_up(samples, "workers")
        exporter.wait_for(lambda samples: samples[GPU_SECONDS] == pytest.approx(20, abs=0.001))
        until(lambda: len(changes(exporter, "workers")) == 2, "the end")
    assert [change[:2] for change in changes(exporter, "workers")] == [("degraded", "timeout"), ("recovered", None)]


@pytest.mark.parametrize("where", [READ, SAVE])
def test_sigterm_ends_it_in_time_while_the_disk_hangs(tmp_path: Path, where: tuple[str, str]) -> None:
    disk = HangingDisk(tmp_path, where)
    with exporter_on(disk, tmp_path) as exporter:
        exporter.wait_for(lambda samples: samples.get(REQUESTED) == 1)
        with disk.hanging():
            with exporter.ai_log.open("ab") as log:
                log.write(AI_LINE)
            exporter.wait_for(lambda samples: collector_up(samples, "ai_log") is False)
            status, seconds = exporter.terminate()
    assert status == 0
    assert seconds < patience(STOP_SECONDS)


def test_sigterm_ends_it_in_time_while_the_section_waits_for_its_key(tmp_path: Path) -> None:
    disk = HangingDisk(tmp_path, LOAD)
    with disk.hanging():
        exporter = exporter_on(disk, tmp_path)
        with exporter:
            exporter.refreshed()
            status, seconds = exporter.terminate()
    assert status == 0
    assert seconds < patience(STOP_SECONDS)
