"""How far a long run is: a bar at a terminal, log lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import date

import structlog

from rollup.days import Piece

WIDTH = 30
LOG_SECONDS = 5.0
"""Short runs are over before this, and say only what they did."""

LONG_DAYS = 31
"""From how many days on a piece takes long enough to read to say that it is being read."""

_log = structlog.get_logger()


class Progress:
    """Counts days; `total` of them are to come."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._done, self._clock = total, 0, clock
        self._at_terminal = sys.stderr.isatty()
        self._next_line = clock() + LOG_SECONDS
        self._drawn = False

    def reading(self, piece: Piece) -> None:
        """The rows of a piece are being read: the longest part of it."""
        if self._at_terminal:
            self._draw(f"reading {piece.first} to {piece.last} ...")
        elif len(piece.days) >= LONG_DAYS:
            _log.info("rollup.reading", first=str(piece.first), last=str(piece.last), done=self._done, of=self._total)

    def wrote(self, day: date) -> None:
        """One more day is written."""
        self._done += 1
        if self._at_terminal:
            self._draw(str(day))
        elif self._clock() >= self._next_line and self._done < self._total:
            self._next_line = self._clock() + LOG_SECONDS
            _log.info("rollup.day_written", day=str(day), done=self._done, of=self._total)

    def end(self) -> None:
        """Nothing more comes, whether all went well or not: what is printed next begins a line."""
        if self._drawn:
            print(file=sys.stderr, flush=True)
        self._drawn = False

    def _draw(self, what: str) -> None:
        filled = WIDTH * self._done // self._total
        bar = "#" * filled + "." * (WIDTH - filled)
        self._drawn = True
        print(f"\r\x1b[K[{bar}] {self._done}/{self._total} days, {what}", end="", file=sys.stderr, flush=True)
