"""Sums by minute, for windows of counts and totals."""

from __future__ import annotations

import numpy as np

from exporter.windows.units import Integers


class MinuteSums:
    """`width` int64 sums a minute, in a ring of `span` minutes."""

    def __init__(self, span: int, width: int) -> None:
        self._span = span
        self._sums = np.zeros((span, width), dtype=np.int64)

    def replace(self, since: int, until: int, rows: Integers) -> Integers:
        """Set the minutes `since < m <= until` to `rows` (shape (n, 1 + width): minute, sums); those without a row to
        0. Returns by how much each of the sums has changed, minutes added up without their sign."""
        since = max(since, until - self._span)
        new = np.zeros((max(0, until - since), self._sums.shape[1]), dtype=np.int64)
        rows = rows[(rows[:, 0] > since) & (rows[:, 0] <= until)]
        np.add.at(new, rows[:, 0] - since - 1, rows[:, 1:])
        where = np.arange(since + 1, until + 1) % self._span
        changed: Integers = np.abs(new - self._sums[where]).sum(axis=0)
        self._sums[where] = new
        return changed

    def each(self, since: int, until: int) -> Integers:
        """The sums of each of the minutes `since < m <= until`, at most `span` of them: shape (minutes, width)."""
        if until - since > self._span:
            raise ValueError(f"{until - since} minutes asked of a ring of {self._span}")
        return self._sums[np.arange(since + 1, until + 1) % self._span]

    def total(self, since: int, until: int) -> Integers:
        """The sums over the minutes `since < m <= until`, at most `span` of them."""
        total: Integers = self.each(since, until).sum(axis=0)
        return total
