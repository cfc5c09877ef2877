"""A bound of a wait that grows with the machine's load.

`servers.child` and the tests wait for conditions, up to a bound that only a failure reaches. A bound in seconds is
reached by a busy machine too; multiplied by that machine's slowness it is not.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

LOOPS = 500_000
LOOP_SECONDS = 0.01
"""The time of that many loops on a quiet machine of the slower kind."""


def slowness() -> float:
    """At least 1: the processes that want to run per processor, or the time of a short loop by the clock, in times of
    a quiet machine's. Measured once a second, which takes about a hundredth of one, times the slowness."""
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
        """The bound, as far as it is known."""
        return self._quiet_seconds * self._slowness

    @property
    def left(self) -> float:
        """The seconds until the bound has to be looked at again."""
        return max(0.0, self._started + self.seconds - time.monotonic())

    def is_reached(self) -> bool:
        """Whether the bound is reached even for a machine as busy as this one."""
        if not self.left:
            self._slowness = max(self._slowness, slowness())
        return not self.left


@lru_cache(maxsize=1)
def _measured(_second: int) -> float:
    processors = os.cpu_count() or 1
    return max(1.0, os.getloadavg()[0] / processors, _running() / processors, _loop_seconds() / LOOP_SECONDS)


def _running() -> int:
    """The processes and threads that run or want to run now; the load is their average over a minute."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    return 0


def _loop_seconds() -> float:
    """The time of a short loop: of a processor with a quota, or shared with other machines, the load says nothing."""
    started = time.perf_counter()
    for _ in range(LOOPS):
        pass
    return time.perf_counter() - started
