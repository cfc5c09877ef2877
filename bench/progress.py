"""The progress of the bench: a line per completed stage, with its seconds; on a terminal also a live line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from demo.console import Console


class Progress:
    """Standard output during a run of the bench."""

    def __init__(self) -> None:
        self._console = Console()
        self._interrupted = False

    def interrupt(self) -> None:
        """End the run: now, or at the next stage where Python cannot raise (within a destructor it only prints)."""
        self._interrupted = True
        raise KeyboardInterrupt

    @contextmanager
    def stage(self, part: str, doing: str) -> Iterator[list[str]]:
        """Show a stage during the body; the items put in the list are added to its line."""
        if self._interrupted:
            raise KeyboardInterrupt
        over = Event()
        clock = Thread(target=self._tick, args=(f"{part}: {doing}", over), daemon=True)
        with self._console.step(part, doing) as results:
            clock.start()
            try:
                yield results
            finally:
                over.set()
                clock.join()

    def say(self, text: str) -> None:
        """Print lines that stay."""
        self._console.say(text)

    def _tick(self, doing: str, over: Event) -> None:
        while not over.wait(1.0):
            if sys.stdout.isatty():
                self._console.status(doing)
