"""Where events go: standard error, one JSON object a line; for people at a terminal, the same in words.

Events say what happened to the service. That they cannot be written (a full disk, a reader that went away) is no reason
to stop.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

import structlog

STANDARD_ERROR = 2


def configure() -> None:
    """Set up structlog for the whole process, and silence what libraries would say on their own."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: _Logger(STANDARD_ERROR),
    )
    # Drivers' own messages may hold connection strings, and what they say is in our events already.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    logging.raiseExceptions = False


class _Logger:
    """Writes lines to a file descriptor, if it can: at once, as what is kept in a buffer fails again later."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def msg(self, line: str) -> None:
        """One line."""
        with suppress(OSError):
            os.write(self._descriptor, f"{line}\n".encode(errors="replace"))

    debug = info = warning = error = critical = msg
