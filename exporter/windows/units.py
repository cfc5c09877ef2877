"""Units of time, parts of the past, and arrays: the values that the engine works on.

Times are int64 microseconds since the epoch (UTC); minutes are numbered from there. Users are 64-bit hashes made by
PostgreSQL: no identity comes here.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

RESYNC = HOUR
"""The time within which the last day is read again, for changes that re-reading the last minutes cannot see (deletions,
very late rows)."""


class Part(NamedTuple):
    """A part of time: the instants later than `start`, until `end`."""

    start: int
    end: int

    @property
    def minutes(self) -> tuple[int, int]:
        """The minutes `first < m <= last` that hold it."""
        return minute(self.start), minute(self.end)

    def cut(self, length: int) -> list[Part]:
        """The same in pieces that end at multiples of `length`, but for the last."""
        ends = range((self.start // length + 1) * length, self.end, length)
        return [Part(*piece) for piece in pairwise([self.start, *ends, self.end])]


def minute(time: int) -> int:
    """The minute that holds an instant (microseconds in, minutes since the epoch out)."""
    return -(-time // MINUTE)
