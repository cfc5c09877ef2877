"""The writer of log lines: a bounded queue, and a thread that writes it to a file descriptor.

    events -> LogWriter (this) -> standard error

`put` never waits: not for a pipe that is not read, nor for a disk that hangs. Lines beyond the bound and lines whose
write fails are dropped and counted; `log.events_dropped` reports their number at their place among the others, once
lines are written again. A non-blocking descriptor would not do: that mode belongs to the open file, which other
processes may share, and files on disks ignore it.
"""

from __future__ import annotations

import os
import time
from queue import SimpleQueue
from threading import Event, RLock, Thread

import structlog

LINES = 1_000
"""Lines kept while they cannot be written. Once that many wait, further ones are dropped until half are written, so
that a slow reader costs few reports."""

STALLED_SECONDS = 0.5
"""Time without a written line after which a flush gives up."""

FLUSH_SECONDS = 2.0
"""The longest flush, for a reader that is slow."""


class LogWriter:
    """Lines on their way to one descriptor. The thread starts with the first line, and never keeps the process."""

    def __init__(self, descriptor: int, limit: int = LINES) -> None:
        self._descriptor, self._limit = descriptor, limit
        # Both are safe for lines put by a finalizer in the middle of a `put` of the same thread.
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()  # None: lines were dropped here
        self._lock = RLock()
        self._is_full = False
        self._dropped = self._reported = 0
        self._accepted = self._handled = 0
        self._progress = Event()
        self._mid_line = False
        self._thread: Thread | None = None
        self._log = structlog.wrap_logger(_Direct(self))

    @property
    def dropped(self) -> int:
        """The number of lines dropped since the start."""
        return self._dropped

    def put(self, line: str) -> None:
        """Queue a line, or drop it."""
        with self._lock:
            waiting = self._accepted - self._handled
            self._is_full = waiting >= self._limit or (self._is_full and waiting > self._limit // 2)
            if self._is_full:
                self._dropped += 1
                return
            if self._dropped != self._reported:
                self._enqueue(None)
            self._enqueue(f"{line}\n".encode(errors="replace"))
            if self._thread is None:
                self._thread = Thread(target=self._run, name="log writer", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Wait until everything queued is written or dropped; give up when no line is written for STALLED_SECONDS, and
        after FLUSH_SECONDS."""
        end = time.monotonic() + FLUSH_SECONDS
        while time.monotonic() < end:
            self._progress.clear()
            if self._handled == self._accepted or not self._progress.wait(STALLED_SECONDS):
                return

    def write(self, line: bytes) -> bool:
        """Write a line now. Return whether all of it was written."""
        # The rest of a line that was cut off by an error stays a line of its own.
        rest = memoryview(b"\n" + line if self._mid_line else line)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
                self._mid_line = bool(rest)
        except OSError:
            return False
        return True

    def _enqueue(self, line: bytes | None) -> None:
        self._accepted += 1
        self._queue.put(line)

    def _run(self) -> None:
        failed = False
        while True:
            line = self._queue.get()
            if line is None or failed:
                self._report()
            if line is not None:
                failed = not self.write(line)
                if failed:
                    with self._lock:
                        self._dropped += 1
            if self._queue.empty() and not failed:
                self._report()
            self._handled += 1
            self._progress.set()

    def _report(self) -> None:
        """Report dropped lines that are not reported yet."""
        count = self._dropped - self._reported
        if count and self._log.warning("log.events_dropped", count=count):
            self._reported += count


class _Direct:
    """A logger of structlog's for the thread itself: writes at once, and returns whether that worked."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def warning(self, line: str) -> bool:
        """Write one line."""
        return self._writer.write(f"{line}\n".encode(errors="replace"))
