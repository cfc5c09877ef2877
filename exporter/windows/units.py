"""Units of time and arrays that the engine counts in.

Times are int64 microseconds since the epoch (UTC); minutes are numbered from there. Users are 64-bit hashes made by
PostgreSQL: no identity comes here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

RESYNC = HOUR
"""Within what time the last day is looked at again, for what re-reading the last minutes cannot see (deletions, very
late rows)."""

Part = tuple[int, int]
"""A piece of the past that is looked at again: later than the first instant, until the second; whole minutes."""


def minute(time: int) -> int:
    """The minute that holds an instant (microseconds in, minutes since the epoch out)."""
    return -(-time // MINUTE)
