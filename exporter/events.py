"""Where events go: standard error, one JSON object a line; for people at a terminal, the same in words.

Events say what happened to the service. That they cannot be written (a full disk, a reader that went away) is no reason
to stop.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO

import structlog


def configure() -> None:
    """Set up structlog for the whole process, and silence what libraries would say on their own."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: _Logger(sys.stderr),
    )
    # Drivers' own messages may hold connection strings, and what they say is in our events already.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    logging.raiseExceptions = False


class _Logger:
    """Writes lines, if that can be done."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """One line."""
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg
