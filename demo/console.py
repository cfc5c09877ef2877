"""The demo's output: a line for each step of the start, notes, and one status line, in place on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

CLEAR_LINE = "\r\x1b[K"
LABEL_WIDTH = 12


class Console:
    """Standard output, shared by the main thread and the thread of the traffic."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._in_place = sys.stdout.isatty()
        self._clear = ""
        self._lock = Lock()

    @contextmanager
    def step(self, label: str, doing: str) -> Iterator[list[str]]:
        """Print a step and, after the body, its duration; the items put in the list are added to its line."""
        begun = time.monotonic()
        results: list[str] = []
        if self._in_place:
            self._write(f"{label:<{LABEL_WIDTH}} {doing} ...", in_place=True)
        yield results
        seconds = f"{time.monotonic() - begun:.1f} s"
        self.say(f"{label:<{LABEL_WIDTH}} " + ", ".join([doing, *results, seconds]))

    def say(self, text: str) -> None:
        """Print lines that stay."""
        self._write(text, in_place=False)

    def status(self, text: str) -> None:
        """Print a status line, replaced by the next one on a terminal."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        self._write(f"{minutes:>3}:{seconds:02} {text}", in_place=self._in_place)

    def _write(self, text: str, *, in_place: bool) -> None:
        with self._lock:
            print(self._clear + text, end="" if in_place else "\n", flush=True)
            self._clear = CLEAR_LINE if in_place else ""
