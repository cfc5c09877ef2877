"""What the tests of the roll-up share: plain SQL for every column; the command in this process, and as its own."""

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

from demo.exporting import PROJECT
from rollup.__main__ import main
from rollup.daily import Row

DAY = timedelta(days=1)

# Straight from the definitions (contract, section 3), a day at a time, and sharing nothing with the code.
_PLAINLY = """
WITH activity AS (
  SELECT user_id, created_at FROM sessions
  UNION ALL SELECT user_id, created_at FROM ai_usage_events
  UNION ALL SELECT user_id, created_at FROM preview_jobs
), jobs AS (
  SELECT status, created_at, completed_at FROM ai_usage_events
  UNION ALL SELECT status, created_at, completed_at FROM preview_jobs
)
SELECT day,
  (SELECT count(DISTINCT user_id) FROM activity WHERE created_at >= start AND created_at < start + interval '24 hours'),
  (SELECT count(DISTINCT user_id) FROM activity
   WHERE created_at >= start - interval '696 hours' AND created_at < start + interval '24 hours'),
  (SELECT count(*) FROM ai_usage_events WHERE created_at >= start AND created_at < start + interval '24 hours'),
  (SELECT count(*) FROM preview_jobs WHERE created_at >= start AND created_at < start + interval '24 hours'),
  (SELECT avg(extract(epoch FROM completed_at) - extract(epoch FROM created_at)) * 1000 FROM jobs
   WHERE status = 'succeeded' AND completed_at >= start AND completed_at < start + interval '24 hours'
     AND completed_at >= created_at AND created_at > '-infinity')
FROM unnest(%(days)s::date[]) AS day, LATERAL (SELECT day::timestamp AT TIME ZONE 'UTC' AS start) AS starts
"""


def midnight(day: date) -> datetime:
    """When a UTC day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def plainly(connection: psycopg.Connection, days: Iterable[date]) -> list[Row]:
    """The rows of these days as the definitions have them; latencies are compared approximately."""
    found = connection.execute(_PLAINLY, {"days": list(days)}).fetchall()
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
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [orjson.loads(line) for line in self.err.splitlines() if line.startswith("{")]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The events of that name."""
        return [found for found in self.events if found["event"] == event]

    @property
    def message(self) -> str:
        """What it said for people."""
        return "\n".join(line for line in self.err.splitlines() if not line.startswith("{"))


class Command:
    """`python -m rollup`, with settings of its own and no others."""

    def __init__(
        self, database: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.settings: dict[str, str] = {"HIVESYNC_DATABASE_URL": database}
        self._folder, self._monkeypatch, self._capfd = folder, monkeypatch, capfd

    def __call__(self, *arguments: str, **settings: str) -> Ran:
        """Run it in this process, to its end. `settings` are variables, named without their prefix."""
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
        """Start it as a process of its own; its log goes to the file `log`."""
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
        """The variables of a process of its own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
        return {**inherited, "PYTHONPATH": str(PROJECT), **self._variables(settings or {})}

    @property
    def log(self) -> Path:
        """What processes started here have said."""
        return self._folder / "rollup.log"

    def events(self) -> list[dict[str, Any]]:
        """The whole lines of that log."""
        lines = self.log.read_bytes().split(b"\n")[:-1]
        return [orjson.loads(line) for line in lines if line.startswith(b"{")]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The events of that name in that log."""
        return [found for found in self.events() if found["event"] == event]

    def _variables(self, settings: Mapping[str, str]) -> dict[str, str]:
        given = {f"HIVESYNC_{name.upper()}": value for name, value in settings.items()}
        return {name: value for name, value in {**self.settings, **given}.items() if value}


def keep_hooks(patch: pytest.MonkeyPatch) -> None:
    """Undo with the patch the hooks that a command installs for its whole process: faults are pytest's to find."""
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
    """Nothing is left of them."""
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
