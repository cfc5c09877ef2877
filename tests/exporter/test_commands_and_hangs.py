"""Commands to an exporter that hangs, or whose control socket or state directory was removed or replaced."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from exporter.control import SOCKET
from tests.rows import NO_DATABASE, NOWHERE
from tests.running import RunningExporter
from tests.waiting import until

LINE = b'{"event": "ai.requested", "job_id": "1"}\n'
REQUESTED = 'hivesync_ai_log_events_total{event="ai.requested"}'


def nowhere(directory: Path, **settings: Any) -> RunningExporter:
    exporter = RunningExporter(directory, database_url=NO_DATABASE, redis_url=NOWHERE, **settings)
    exporter.ai_log.touch()
    exporter.preview_log.touch()
    return exporter


def logged(exporter: RunningExporter, event: str) -> list[dict[str, Any]]:
    return [found for found in exporter.events() if found["event"] == event]


@pytest.mark.parametrize("command", ["verify", "login-link"])
def test_a_command_to_an_exporter_that_hangs_ends_with_a_line_that_says_so(tmp_path: Path, command: str) -> None:
    with nowhere(tmp_path) as exporter:
        pid = exporter.pid
        exporter.send(signal.SIGSTOP)
        try:
            ran = exporter.command_line(command)
        finally:
            exporter.send(signal.SIGCONT)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        f"hivesync-analytics: {exporter.state / SOCKET}: the exporter that runs there as process {pid} does not answer:"
        " no sign of life for 5 s: restart it\n"
    )


@pytest.mark.parametrize("command", ["verify", "login-link"])
def test_a_command_without_the_socket_of_a_running_exporter_says_so(tmp_path: Path, command: str) -> None:
    with nowhere(tmp_path) as exporter:
        pid = exporter.pid
        exporter.send(signal.SIGSTOP)
        (exporter.state / SOCKET).unlink()
        try:
            ran = exporter.command_line(command)
        finally:
            exporter.send(signal.SIGCONT)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"{exporter.state}: the exporter runs as process {pid}, but its socket is gone" in ran.stderr


def test_a_socket_that_was_removed_is_made_again(tmp_path: Path) -> None:
    with nowhere(tmp_path) as exporter:
        (exporter.state / SOCKET).unlink()
        until((exporter.state / SOCKET).is_socket, "the new socket")
        ran = exporter.command_line("login-link")
        assert (ran.returncode, "login#code=" in ran.stdout) == (0, True)
        assert len(logged(exporter, "control.socket_removed")) == 1
    assert not (exporter.state / SOCKET).exists()


def test_a_state_directory_that_was_removed_is_made_and_locked_again(tmp_path: Path) -> None:
    with nowhere(tmp_path) as exporter:
        exporter.ai_log.write_bytes(LINE)
        exporter.wait_for(lambda samples: samples.get(REQUESTED) == 1)
        shutil.rmtree(exporter.state)
        until(lambda: logged(exporter, "state.lock_retaken"), "the directory")
        with exporter.ai_log.open("ab") as log:
            log.write(LINE * 2)
        exporter.wait_for(lambda samples: samples[REQUESTED] == 3)
        second = nowhere(tmp_path / "second", state_dir=exporter.state).command_line()
        assert second.returncode == 2
        assert f"is in use by another exporter (process {exporter.pid})" in second.stderr
    with exporter:
        exporter.wait_for(lambda samples: samples.get(REQUESTED) == 3)


def test_nothing_is_saved_beside_an_exporter_on_a_directory_put_in_place(tmp_path: Path) -> None:
    first = nowhere(tmp_path / "first")
    second = nowhere(tmp_path / "second", state_dir=first.state)
    with first:
        first.wait_for(lambda samples: samples.get(REQUESTED) == 0)
        first.state.rename(tmp_path / "moved")
        first.send(signal.SIGSTOP)  # the second exporter is to be there first
        shutil.rmtree(first.state, ignore_errors=True)
        first.state.mkdir()
        with second:
            first.send(signal.SIGCONT)
            second.ai_log.write_bytes(LINE * 5)
            second.wait_for(lambda samples: samples.get(REQUESTED) == 5)
            saved = (first.state / "ai-events").read_bytes()
            first.ai_log.write_bytes(LINE)
            first.wait_for(lambda samples: samples['hivesync_collector_up{collector="ai_log"}'] == 0)
            assert len(logged(first, "state.lock_lost")) == 1
            assert first.samples()[REQUESTED] == 0
            assert (first.state / "ai-events").read_bytes() == saved
            assert (first.state / SOCKET).is_socket()
            first.stop()
            assert second.command_line("login-link").returncode == 0
