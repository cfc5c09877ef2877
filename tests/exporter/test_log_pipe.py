"""A log that is not read: a full pipe on standard error stops neither the exporter nor a command, and costs events
alone, which are counted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.exporting import PROJECT
from tests.exporter.piped import LogPipe, PipedExporter
from tests.rows import NO_DATABASE, NOWHERE
from tests.running import get
from tests.waiting import patience, until

DROPPED = "hivesync_log_events_dropped_total"
EVENTS = 3_000
STOP_SECONDS = 5.0


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[LogPipe]:
    with LogPipe(tmp_path / "log") as pipe:
        yield pipe


def exporter_on(pipe: LogPipe, directory: Path) -> PipedExporter:
    return PipedExporter(directory, pipe, events=EVENTS, database_url=NO_DATABASE, redis_url=NOWHERE)


def test_a_log_pipe_that_is_not_read_stops_nothing(pipe: LogPipe, tmp_path: Path) -> None:
    pipe.fill()
    exporter = exporter_on(pipe, tmp_path)
    with exporter:
        exporter.chatter()
        exporter.wait_for(lambda samples: samples[DROPPED] > 0)
        exporter.refreshed()
        assert get(f"{exporter.url}/-/healthy")[0] == 200
        assert get(exporter.page)[0] == 401
        status, seconds = exporter.terminate()
    assert status == 0
    assert seconds < patience(STOP_SECONDS)


def test_dropped_events_are_counted_and_reported_once_the_pipe_flows(pipe: LogPipe, tmp_path: Path) -> None:
    pipe.fill()
    with exporter_on(pipe, tmp_path) as exporter:
        exporter.chatter()
        until(lambda: [event for event in pipe.read() if event["event"] == "log.events_dropped"], "the report")
        exporter.terminate()
    events = pipe.read()
    said = [event["number"] for event in events if event["event"] == "chatter"]
    lost = sum(event["count"] for event in events if event["event"] == "log.events_dropped")
    assert said == sorted(set(said))
    assert 0 < lost == EVENTS - len(said)
    assert events[-1]["event"] == "service.stopped"


def test_the_counter_is_the_number_of_events_in_the_reports(pipe: LogPipe, tmp_path: Path) -> None:
    with exporter_on(pipe, tmp_path) as exporter:
        assert exporter.samples()[DROPPED] == 0
        pipe.read()
        for _ in range(2):
            pipe.fill()
            exporter.chatter()
        exporter.wait_for(lambda samples: samples[DROPPED] > EVENTS)
        until(lambda: [event for event in pipe.read() if event["event"] == "log.events_dropped"], "a report")
        samples = exporter.refreshed()
        exporter.terminate()
    assert samples[DROPPED] == sum(event["count"] for event in pipe.read() if event["event"] == "log.events_dropped")


def test_events_that_a_closed_pipe_refuses_are_counted_too(pipe: LogPipe, tmp_path: Path) -> None:
    with exporter_on(pipe, tmp_path) as exporter:
        pipe.close()
        exporter.chatter()
        exporter.wait_for(lambda samples: samples[DROPPED] >= EVENTS)
        assert exporter.terminate()[0] == 0


@pytest.mark.parametrize(
    ("module", "url", "status"), [("rollup", NO_DATABASE, 1), ("rollup", "", 2), ("exporter", "", 2)]
)
def test_a_command_ends_with_its_status_although_its_log_is_not_read(
    pipe: LogPipe, tmp_path: Path, module: str, url: str, status: int
) -> None:
    pipe.fill()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
    command = subprocess.Popen(
        pipe.command(module),
        cwd=tmp_path,
        env={**environment, "HIVESYNC_DATABASE_URL": url, "PYTHONPATH": str(PROJECT)},
    )
    try:
        assert command.wait(patience()) == status
    finally:
        command.kill()
        command.wait()
