"""The progress of a long run: a bar at a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import date

import structlog

from rollup.days import Piece

WIDTH = 30
LOG_SECONDS = 5.0
"""Seconds between log lines; a shorter run logs its result only."""

LONG_DAYS = 31
"""Least number of days of a piece whose reading is logged, because it takes long."""

_log = structlog.get_logger()


class Progress:
    """A counter of written days, out of `total`."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._done, self._clock = total, 0, clock
        self._at_terminal = sys.stderr.isatty()
        self._next_line = clock() + LOG_SECONDS
        self._drawn = False

    def reading(self, piece: Piece) -> None:
        """Show that the rows of a piece are being read: the longest part of its work."""
        if self._at_terminal:
            self._draw(f"reading {piece.first} to {piece.last} ...")
        elif len(piece.days) >= LONG_DAYS:
            _log.info("rollup.reading", first=str(piece.first), last=str(piece.last), done=self._done, of=self._total)

    def wrote(self, day: date) -> None:
        """Count one more written day."""
        self._done += 1
        if self._at_terminal:
            self._draw(str(day))
        elif self._clock() >= self._next_line and self._done < self._total:
            self._next_line = self._clock() + LOG_SECONDS
            _log.info("rollup.day_written", day=str(day), done=self._done, of=self._total)

    def end(self) -> None:
        """End the display, after success or failure, so that the next output begins a line."""
        if self._drawn:
            print(file=sys.stderr, flush=True)
        self._drawn = False

    def _draw(self, what: str) -> None:
        filled = WIDTH * self._done // self._total
        bar = "#" * filled + "." * (WIDTH - filled)
        self._drawn = True
        print(f"\r\x1b[K[{bar}] {self._done}/{self._total} days, {what}", end="", file=sys.stderr, flush=True)
