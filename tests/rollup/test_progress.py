"""Progress of a long run: lines of the log, a bar at a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from datetime import timedelta

import psycopg
import pytest

from rollup import days, progress
from rollup.days import Piece
from tests.rollup.rolling import DAY, Command, today
from tests.rows import insert
from tests.waiting import patience


def test_long_runs_say_how_far_they_are_and_short_ones_only_what_they_did(
    rollup: Command, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(connection, "sessions", created_at=f"{today(connection) - 80 * DAY} 12:00Z")
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)
    ran = rollup()
    assert [event["done"] for event in ran.said("rollup.reading")] == [0, 34]
    assert [(event["done"], event["of"]) for event in ran.said("rollup.day_written")] == [(n, 81) for n in range(1, 81)]
    monkeypatch.undo()
    again = rollup()
    assert [event["event"] for event in again.events] == ["system.analytics.degraded", "rollup.finished"]


def test_at_a_terminal_there_is_a_bar(rollup: Command, connection: psycopg.Connection) -> None:
    insert(connection, "sessions", created_at=f"{today(connection) - 9 * DAY} 12:00Z")
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rollup"],
        env=rollup.environment({"prometheus_url": "http://127.0.0.1:1"}),
        cwd=rollup.log.parent,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the error of a terminal without another end
            break
        shown += part
    os.close(terminal)
    assert process.wait(patience()) == 0
    assert f"[{'.' * 30}] 0/10 days, reading".encode() in shown
    assert f"[{'#' * 15}{'.' * 15}] 5/10 days".encode() in shown
    last_line = shown.rstrip().split(b"\r\n")[-1]
    assert b"rollup.finished" in last_line
    assert b"10/10" not in last_line
    assert b"10/10 days" in shown


def test_a_bar_that_does_not_come_to_its_end_is_ended_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    day = days.parse_day("2026-03-17")
    bar = progress.Progress(2)
    bar.end()
    assert capsys.readouterr().err == ""
    bar.reading(Piece(day, day + timedelta(days=1), (day,)))
    bar.wrote(day)
    bar.end()
    bar.end()
    assert capsys.readouterr().err.endswith("1/2 days, 2026-03-17\n")
