"""A bound of a wait that grows with the machine's load.

`servers.child` and the tests wait for conditions, up to a bound that only a failure reaches. A bound in seconds is
reached on a busy machine too; a bound multiplied by the machine's slowness is not.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

LOOPS = 500_000
LOOP_SECONDS = 0.01
"""Seconds for that many loops on a quiet machine of the slower kind."""


def slowness() -> float:
    """Return the machine's slowness, at least 1: the number of runnable processes per processor, or the wall-clock time
    of a short loop in multiples of a quiet machine's. Measured at most once a second, which takes about a hundredth of
    a second, times the slowness."""
    return _measured(int(time.monotonic()))


class Bound:
    """A bound in seconds of a quiet machine, from now on. The slowness is measured when the bound seems to be reached,
    and each time after that."""

    def __init__(self, seconds: float) -> None:
        self._quiet_seconds = seconds
        self._slowness = 1.0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """The bound at the slowness measured so far."""
        return self._quiet_seconds * self._slowness

    @property
    def left(self) -> float:
        """The seconds until the next check of the bound."""
        return max(0.0, self._started + self.seconds - time.monotonic())

    def is_reached(self) -> bool:
        """Return whether the bound is reached even for a machine as busy as this one."""
        if not self.left:
            self._slowness = max(self._slowness, slowness())
        return not self.left


@lru_cache(maxsize=1)
def _measured(_second: int) -> float:
    processors = os.cpu_count() or 1
    return max(1.0, os.getloadavg()[0] / processors, _running() / processors, _loop_seconds() / LOOP_SECONDS)


def _running() -> int:
    """Return the number of processes and threads that run or are runnable now; the load is their average over a
    minute."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    return 0


def _loop_seconds() -> float:
    """Return the seconds of a short loop: the load is no measure of a processor with a quota, or shared between
    machines."""
    started = time.perf_counter()
    for _ in range(LOOPS):
        pass
    return time.perf_counter() - started
