"""Common parts of the roll-up's tests: plain SQL for every column; the command in this process, and as a process."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from crash.definition import PLAINLY
from demo.exporting import PROJECT
from rollup.__main__ import main
from rollup.daily import Row

DAY = timedelta(days=1)


def midnight(day: date) -> datetime:
    """The start of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def plainly(connection: psycopg.Connection, days: Iterable[date]) -> list[Row]:
    """The rows of these days by the definitions; latencies are compared approximately."""
    found = connection.execute(PLAINLY, {"days": list(days)}).fetchall()
    return [
        Row(day, dau, mau, ai_requests, preview_requests, None if latency is None else _about(latency))
        for day, dau, mau, ai_requests, preview_requests, latency in found
    ]


def _about(latency: Any) -> Any:
    return pytest.approx(float(latency))


def stored(connection: psycopg.Connection) -> list[Row]:
    """The rows of the table, by day."""
    return [Row(*row) for row in connection.execute("SELECT * FROM usage_analytics_daily ORDER BY date").fetchall()]


def today(connection: psycopg.Connection) -> date:
    """The UTC day by the database's clock."""
    ((now,),) = connection.execute("SELECT now()").fetchall()
    assert isinstance(now, datetime)
    return now.astimezone(UTC).date()


@dataclass
class Ran:
    """The result of a command: exit status, output and log."""

    status: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events in the log."""
        return [orjson.loads(line) for line in self.err.splitlines() if line.startswith("{")]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The events of that name."""
        return [found for found in self.events if found["event"] == event]

    @property
    def message(self) -> str:
        """The lines on stderr that are not events."""
        return "\n".join(line for line in self.err.splitlines() if not line.startswith("{"))


class Command:
    """`python -m rollup`, with given settings only."""

    def __init__(
        self, database: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.settings: dict[str, str] = {"HIVESYNC_DATABASE_URL": database}
        self._folder, self._monkeypatch, self._capfd = folder, monkeypatch, capfd

    def __call__(self, *arguments: str, **settings: str) -> Ran:
        """Run the command in this process, to its end. `settings` are variables, named without their prefix."""
        given = self._variables(settings)
        self._capfd.readouterr()
        with self._monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("HIVESYNC_")]:
                patch.delenv(name)
            for name, value in given.items():
                patch.setenv(name, value)
            patch.chdir(self._folder)
            keep_hooks(patch)
            try:
                status = main(arguments)
            except SystemExit as end:
                status = int(end.code or 0)
        out, err = self._capfd.readouterr()
        return Ran(status, out, err)

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[bytes]:
        """Start the command as a process; its log goes to the file `log`."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "rollup", *arguments],
                env=self.environment(settings),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a process."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
        return {**inherited, "PYTHONPATH": str(PROJECT), **self._variables(settings or {})}

    @property
    def log(self) -> Path:
        """The log of all processes of this command."""
        return self._folder / "rollup.log"

    def events(self) -> list[dict[str, Any]]:
        """The events in the log of processes, except an incomplete last line."""
        lines = self.log.read_bytes().split(b"\n")[:-1]
        return [orjson.loads(line) for line in lines if line.startswith(b"{")]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The events of that name in the log of processes."""
        return [found for found in self.events() if found["event"] == event]

    def _variables(self, settings: Mapping[str, str]) -> dict[str, str]:
        given = {f"HIVESYNC_{name.upper()}": value for name, value in settings.items()}
        return {name: value for name, value in {**self.settings, **given}.items() if value}


def keep_hooks(patch: pytest.MonkeyPatch) -> None:
    """Restore the process-wide hooks of a command with the patch, as pytest reports faults by hooks of its own."""
    for module, name in (
        (sys, "excepthook"),
        (sys, "unraisablehook"),
        (threading, "excepthook"),
        (warnings, "showwarning"),
        (logging, "lastResort"),
        (logging, "raiseExceptions"),
    ):
        patch.setattr(module, name, getattr(module, name))


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill the processes, and wait for their end."""
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
