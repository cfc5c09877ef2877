"""Units of time, parts of the past, and arrays: the values of the engine.

Times are int64 microseconds since the epoch (UTC); minutes are numbered from the epoch. Users are 64-bit hashes made by
PostgreSQL: no identity reaches the engine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

RESYNC = HOUR
"""The time within which the last day is re-read, for changes that re-reading the last minutes cannot find (deletions,
very late rows)."""


class Part(NamedTuple):
    """A part of time: the instants after `start`, up to and including `end`."""

    start: int
    end: int

    @property
    def minutes(self) -> tuple[int, int]:
        """The minutes `first < m <= last` that hold the part."""
        return minute(self.start), minute(self.end)


def minute(time: int) -> int:
    """Return the minute that holds an instant (microseconds to minutes since the epoch)."""
    return -(-time // MINUTE)
