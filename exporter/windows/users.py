"""Counts per user, for windows whose distribution over users is shown; and sets of users as sorted arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exporter.windows.units import Integers


class UserCounts:
    """A count per user over a sliding set of minutes. The cost of an update is that of the rows added and removed."""

    def __init__(self) -> None:
        self.since = 0
        """The minute up to which rows were dropped."""
        self._users = np.empty(0, dtype=np.int64)  # sorted
        self._counts = np.empty(0, dtype=np.int64)  # parallel to _users; 0 for users to be dropped
        self._minutes: dict[int, tuple[Integers, Integers]] = {}

    def replace(self, since: int, until: int, rows: Integers) -> None:
        """Set the minutes `since < m <= until` to `rows` (shape (n, 3): minute, user, count)."""
        for old in [m for m in self._minutes if since < m <= until]:
            self._take(old)
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        first_of_minute = np.flatnonzero(np.diff(rows[:, 0])) + 1
        for group in np.split(rows, first_of_minute):
            if len(group):
                self._minutes[int(group[0, 0])] = (group[:, 1].copy(), group[:, 2].astype(np.int32))
        self._add(rows[:, 1], rows[:, 2])

    def forget(self, until: int) -> None:
        """Drop the minutes `m <= until`: the window has left them."""
        self.since = until
        for old in [m for m in self._minutes if m <= until]:
            self._take(old)

    def with_edge(self, edge: Integers) -> Integers:
        """Return the counts above 0, one per user, including those of `edge` (shape (n, 2): user, count), which is not
        kept."""
        self._add(edge[:, 0], edge[:, 1])
        counts = self._counts[self._counts > 0]
        self._add(edge[:, 0], -edge[:, 1])
        return counts

    def counts(self) -> tuple[Integers, Integers]:
        """Return the users (sorted) with a count above 0, and those counts."""
        counted = self._counts > 0
        return self._users[counted], self._counts[counted]

    def _take(self, minute: int) -> None:
        users, counts = self._minutes.pop(minute)
        self._add(users, -counts)

    def _add(self, users: Integers, counts: NDArray[np.signedinteger]) -> None:
        new = _absent(users, self._users)
        if len(new):
            where = np.searchsorted(self._users, new)
            self._users = np.insert(self._users, where, new)
            self._counts = np.insert(self._counts, where, 0)
        np.add.at(self._counts, np.searchsorted(self._users, users), counts)
        if np.count_nonzero(self._counts) < len(self._counts) // 2:
            kept = self._counts > 0
            self._users, self._counts = self._users[kept], self._counts[kept]


@dataclass(frozen=True, slots=True)
class UserTotals:
    """A count per user over a window that is not kept by minute: the caller passes the rows that enter and leave the
    window."""

    users: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Sorted, unique."""

    counts: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Parallel to `users`, none of them 0."""

    @classmethod
    def of(cls, blocks: Sequence[Integers]) -> UserTotals:
        """Return the totals of rows (shape (n, 2): user, count), in any order."""
        rows = np.concatenate([np.empty((0, 2), dtype=np.int64), *blocks])
        users, where = np.unique(rows[:, 0], return_inverse=True)
        counts = np.zeros(len(users), dtype=np.int64)
        np.add.at(counts, where, rows[:, 1])
        counted = counts != 0
        return cls(users[counted], counts[counted])

    def moved(self, gained: Integers, lost: Integers) -> UserTotals:
        """Return the totals with the gained rows added and the lost rows subtracted (both of shape (n, 2): user,
        count)."""
        return self.plus([gained, lost * (1, -1)])

    def plus(self, blocks: Sequence[Integers]) -> UserTotals:
        """Return the totals with rows (shape (n, 2): user, count) added, in any order."""
        change = self.of(blocks)
        return self._with(change.users, change.counts)

    def largest(self, size: int, users: Integers, counts: Integers) -> Integers:
        """Return the `size` largest totals, with the `counts` of `users` (sorted, unique) added: rows of (user, count),
        largest first, ties by the smaller hash."""
        totals = self._with(users, counts)
        if len(totals.counts) > size:
            least = np.partition(totals.counts, -size)[-size]
            first = totals.counts >= least
            totals = UserTotals(totals.users[first], totals.counts[first])
        order = np.lexsort((totals.users, -totals.counts))[:size]
        return np.stack((totals.users[order], totals.counts[order]), axis=1)

    def _with(self, users: Integers, counts: Integers) -> UserTotals:
        """Return the totals with these counts of users (sorted, unique) added: new users are inserted, so no sort is
        needed."""
        known = contained(users, self.users)
        where = np.searchsorted(self.users, users[~known])
        all_users = np.insert(self.users, where, users[~known])
        totals = np.insert(self.counts, where, 0)
        totals[np.searchsorted(all_users, users)] += counts
        if not totals.all():
            all_users, totals = all_users[totals != 0], totals[totals != 0]
        return UserTotals(all_users, totals)


def contained(values: Integers, known: Integers) -> NDArray[np.bool_]:
    """Return, per element of `values`, whether it is in `known` (sorted, unique). The cost is one search per value, so
    that a few values in many are cheap."""
    if not len(known):
        return np.zeros(len(values), dtype=np.bool_)
    where = np.minimum(np.searchsorted(known, values), len(known) - 1)
    found: NDArray[np.bool_] = known[where] == values
    return found


def _absent(values: Integers, known: Integers) -> Integers:
    """Return the distinct `values` that are not in `known` (sorted, unique), sorted."""
    values = np.unique(values)
    return values[~contained(values, known)]


def percentile(counts: Integers, fraction: float) -> float:
    """Return PostgreSQL's `percentile_cont(fraction)` of a non-empty set, to the same bits: linear between
    neighbours."""
    rank = fraction * (len(counts) - 1)
    below = int(rank)
    above = min(below + 1, len(counts) - 1)
    low, high = np.partition(counts, (below, above))[[below, above]].tolist()
    return float(low + (rank - below) * (high - low))
