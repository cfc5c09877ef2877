"""The days on which each user was active, as bits: 16 bytes per user, and any number of days from the same rows.

`window.py` reads the users of a day, and asks for the users of a day or of the 30 days that end with it. Pure
arithmetic; days are numbered from the epoch. A user is a 64-bit hash made by PostgreSQL.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exporter.windows import Integers, contained

BITS = 64
"""Days that a mask can hold: the bit of a day is its number modulo 64."""

Masks = NDArray[np.uint64]


class DayMasks:
    """The users of a run of fewer than `BITS` days."""

    def __init__(self) -> None:
        self._users = np.empty(0, dtype=np.int64)  # sorted
        self._masks = np.empty(0, dtype=np.uint64)  # parallel to _users, none of them 0
        self._first: int | None = None

    def add(self, day: int, users: Integers) -> None:
        """Add users (in any order, repeated or not) to a day."""
        users = np.unique(users)
        self.merge(users, np.full(len(users), _bits(day, day)))

    def merge(self, users: Integers, masks: Masks) -> None:
        """Add users (in any order, each once) to the days of their masks."""
        order = np.argsort(users)
        users, masks = users[order], masks[order]
        if not len(self._users):
            self._users, self._masks = users, masks
            return
        new = ~contained(users, self._users)
        where = np.searchsorted(self._users, users[new])
        self._users = np.insert(self._users, where, users[new])
        self._masks = np.insert(self._masks, where, np.uint64(0))
        self._masks[np.searchsorted(self._users, users)] |= masks

    def replace(self, day: int, users: Integers) -> None:
        """Set the users of a day to exactly these."""
        self._clear(_bits(day, day))
        self.add(day, users)
        self._drop()

    def forget(self, first: int) -> None:
        """Drop the days before `first`, which may then be used by days to come."""
        if self._first is not None and first > self._first:
            self._clear(_bits(self._first, min(first - 1, self._first + BITS - 1)))
            self._drop()
        self._first = first

    def count(self, first: int, last: int) -> int:
        """Return the number of users of the days from `first` to `last`, both included."""
        return int(np.count_nonzero(self._masks & _bits(first, last)))

    def _clear(self, bits: np.uint64) -> None:
        self._masks &= ~bits

    def _drop(self) -> None:
        kept = self._masks != 0
        if not kept.all():
            self._users, self._masks = self._users[kept], self._masks[kept]


def _bits(first: int, last: int) -> np.uint64:
    """Return the bits of the days from `first` to `last`."""
    bits = 0
    for day in range(first, last + 1):
        bits |= 1 << day % BITS
    return np.uint64(bits)
