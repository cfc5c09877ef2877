"""The process itself: its standard streams, and the signals that must not end it."""

from __future__ import annotations

import os
import signal
import sys


def prepare() -> None:
    """Prepare a process that may have been started with closed standard streams, and ignore SIGUSR1 and SIGUSR2, which
    would end it. To be called before any file or socket is opened: it would take the place of a closed stream, and
    receive the log."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
