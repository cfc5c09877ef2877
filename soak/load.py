"""The load of a soak: live rows and log lines at given rates, and the rotation of the logs.

Rows and lines that a fault held up are made up for within the next ticks, but for at most two seconds of them: the
rates that were reached are part of the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Self

from faults.logs import rotate
from faults.subject import LOGS, LogWriter
from faults.traffic import keep_executing

LINES_TICK_SECONDS = 0.1
MADE_UP_SECONDS = 2.0

ROTATED_BYTES = 64_000_000
KEPT_SECONDS = 600.0
"""Age from which a rotated file is removed: its lines are counted long before."""

_PEOPLE = "SELECT array_agg(id) AS ids FROM (SELECT id FROM users ORDER BY id LIMIT 300) AS first_ones"
_EVENTS = """
WITH people AS MATERIALIZED ({people})
INSERT INTO ai_usage_events
  (user_id, model, status, error_kind, prompt_tokens, completion_tokens, created_at, completed_at)
SELECT ids[1 + number % cardinality(ids)], 'gpt-4.1', CASE WHEN number % 50 = 0 THEN 'failed' ELSE 'succeeded' END,
       CASE WHEN number % 50 = 0 THEN 'timeout' END, 100 + number % 700, 50, now() - interval '2 seconds', now()
FROM people, generate_series({first}, {last}) AS number
"""
_PREVIEWS = """
WITH people AS MATERIALIZED ({people})
INSERT INTO preview_jobs (user_id, status, created_at, completed_at)
SELECT ids[1 + number % cardinality(ids)], 'succeeded', now() - interval '3 seconds', now()
FROM people, generate_series({first}, {last}) AS number
"""
PREVIEWS_SHARE = 5
"""Of five statements, one makes preview jobs and the others AI events."""


class Pace:
    """The number of things that are due at a rate per second."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._latest = clock()
        self._due = 0.0

    def due(self) -> int:
        """Return the whole number that is due and was not taken yet, up to that of some seconds."""
        now = self._clock()
        self._due = min(self._due + (now - self._latest) * self._rate, MADE_UP_SECONDS * self._rate)
        self._latest = now
        return int(self._due)

    def take(self, number: int) -> None:
        """Count that many as done."""
        self._due -= number


class Load:
    """Rows and lines within a `with` block."""

    def __init__(
        self, database_url: str, writer: LogWriter, *, rows_per_second: float, lines_per_second: float
    ) -> None:
        self._url, self._writer = database_url, writer
        self._over = Event()
        self._rows = Pace(rows_per_second)
        self._lines = {log: Pace(lines_per_second / len(LOGS)) for log in LOGS}
        self._number = 0
        self._threads = [Thread(target=work, name="load", daemon=True) for work in (self._insert, self._write)]
        self.rows = 0
        self.rotations = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _insert(self) -> None:
        keep_executing(self._url, self._over, self._statement, self._inserted)

    def _statement(self) -> str:
        self._number += 1
        statement = _PREVIEWS if self._number % PREVIEWS_SHARE == 0 else _EVENTS
        return statement.format(people=_PEOPLE, first=self.rows, last=self.rows + self._rows.due() - 1)

    def _inserted(self, rows: int) -> None:
        self._rows.take(rows)
        self.rows += rows

    def _write(self) -> None:
        while not self._over.wait(LINES_TICK_SECONDS):
            for log, pace in self._lines.items():
                lines = pace.due()
                self._writer.write(log, lines)
                pace.take(lines)
                self._rotate(log)

    def _rotate(self, log: str) -> None:
        """Rotate a log that is large, and remove old files."""
        path = self._writer.paths[log]
        with self._writer.paused():
            if path.stat().st_size < ROTATED_BYTES:
                return
            rotate(path)
            path.touch()
            self.rotations += 1
            for old in path.parent.glob(f"{path.name}.*"):
                if time.time() - old.stat().st_mtime > KEPT_SECONDS:
                    old.unlink()
