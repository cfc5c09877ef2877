"""Sliding windows that are cheap to keep: the reason why a refresh reads new rows only (house: "Sliding windows").

Time is cut into minutes. Minute `m` holds the instants in `((m-1) min, m min]`, so that a window, open at its start
and closed at now, is a run of whole minutes plus one edge: the part of a minute at its start. A refresh re-reads the
minutes that late commits can still change and replaces them whole; re-reading is idempotent, so nothing is counted
twice or lost. The edge is read too, exactly, so that every window is exact to the microsecond.

Before this on the way: `sliding.py` and the collectors, which read rows. Here is no I/O and no clock: all times are
parameters, int64 microseconds since the epoch (UTC). Users are 64-bit hashes made by PostgreSQL; no identity comes
here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

LATE = 5 * MINUTE
"""How late a row may be committed and still be seen by the next refresh; what comes later is for the resync."""

RESYNC = HOUR
"""How often everything is read anew, for what re-reading the last minutes cannot see (deletions, very late rows)."""


def minute(time: int) -> int:
    """The minute that holds an instant (microseconds in, minutes since the epoch out)."""
    return -(-time // MINUTE)


class ReadCursor:
    """From when on the next refresh has to read."""

    def __init__(self, horizon: int, late: int = LATE, resync: int = RESYNC) -> None:
        self._horizon, self._late, self._resync = horizon, late, resync
        self._read_until = self._filled_at = 0
        self.filling = True
        """Whether the next refresh is a fill: at first, and again once a RESYNC."""

    def since(self, now: int) -> tuple[int, bool]:
        """(start, fill): read what is newer than `start`; on a fill, forget all that was there before.

        Apart from when `filling` is set it fills after a gap that is worth a resync, and when the clock went back.
        """
        if self.filling or not self._read_until <= now < self._read_until + min(self._horizon, self._resync):
            self.filling = True  # until it worked
            return now - self._horizon, True
        start = self._read_until - self._late
        return start - start % MINUTE, False

    def advance(self, now: int, fill: bool) -> None:
        """Note that everything until `now` has been read; call it only once the windows hold it."""
        self._read_until = now
        if fill:
            self._filled_at = now
        self.filling = now - self._filled_at >= self._resync


class MinuteSums:
    """`width` int64 sums a minute, in a ring of `span` minutes."""

    def __init__(self, span: int, width: int) -> None:
        self._span = span
        self._sums = np.zeros((span, width), dtype=np.int64)

    def replace(self, since: int, until: int, rows: Integers) -> None:
        """Set the minutes `since < m <= until` to `rows` (shape (n, 1 + width): minute, sums); those without a row to
        0."""
        since = max(since, until - self._span)
        self._sums[np.arange(since + 1, until + 1) % self._span] = 0
        rows = rows[(rows[:, 0] > since) & (rows[:, 0] <= until)]
        np.add.at(self._sums, rows[:, 0] % self._span, rows[:, 1:])

    def total(self, since: int, until: int) -> Integers:
        """The sums over the minutes `since < m <= until`, at most `span` of them."""
        if until - since > self._span:
            raise ValueError(f"{until - since} minutes asked of a ring of {self._span}")
        total: Integers = self._sums[np.arange(since + 1, until + 1) % self._span].sum(axis=0)
        return total


class UserCounts:
    """A count a user, over a sliding set of minutes: adding and taking away cost what is new, not what is there."""

    def __init__(self) -> None:
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
                self._minutes[int(group[0, 0])] = (group[:, 1].copy(), group[:, 2].copy())
        self._add(rows[:, 1], rows[:, 2])

    def forget(self, until: int) -> None:
        """Drop the minutes `m <= until`: the window has left them."""
        for old in [m for m in self._minutes if m <= until]:
            self._take(old)

    def with_edge(self, edge: Integers) -> Integers:
        """The counts above 0, one a user, with those of `edge` (shape (n, 2): user, count) added for this once."""
        self._add(edge[:, 0], edge[:, 1])
        counts = self._counts[self._counts > 0]
        self._add(edge[:, 0], -edge[:, 1])
        return counts

    def _take(self, minute: int) -> None:
        users, counts = self._minutes.pop(minute)
        self._add(users, -counts)

    def _add(self, users: Integers, counts: Integers) -> None:
        new = _absent(users, self._users)
        if len(new):
            where = np.searchsorted(self._users, new)
            self._users = np.insert(self._users, where, new)
            self._counts = np.insert(self._counts, where, 0)
        np.add.at(self._counts, np.searchsorted(self._users, users), counts)
        if np.count_nonzero(self._counts) < len(self._counts) // 2:
            kept = self._counts > 0
            self._users, self._counts = self._users[kept], self._counts[kept]


class LatestActivity:
    """When each user was last active: enough for distinct users over any window, because a maximum is idempotent."""

    def __init__(self) -> None:
        self._users = np.empty(0, dtype=np.int64)  # sorted
        self._times = np.empty(0, dtype=np.int64)  # parallel to _users

    def merge(self, rows: Integers) -> None:
        """Take in `rows` (shape (n, 2): user, time of an activity); a user may occur more than once."""
        new = _absent(rows[:, 0], self._users)
        if len(new):
            where = np.searchsorted(self._users, new)
            self._users = np.insert(self._users, where, new)
            self._times = np.insert(self._times, where, np.iinfo(np.int64).min)
        np.maximum.at(self._times, np.searchsorted(self._users, rows[:, 0]), rows[:, 1])

    def forget(self, until: int) -> None:
        """Drop users whose latest activity is not after `until`."""
        kept = self._times > until
        if not kept.all():
            self._users, self._times = self._users[kept], self._times[kept]

    def since(self, start: int) -> Integers:
        """The users (sorted) with activity after `start`."""
        users: Integers = self._users[self._times > start]
        return users


def contained(values: Integers, known: Integers) -> NDArray[np.bool_]:
    """Which of `values` are in `known` (sorted, unique): a search for each value, so that few in many are cheap."""
    if not len(known):
        return np.zeros(len(values), dtype=np.bool_)
    where = np.minimum(np.searchsorted(known, values), len(known) - 1)
    found: NDArray[np.bool_] = known[where] == values
    return found


def _absent(values: Integers, known: Integers) -> Integers:
    """The distinct `values` that are not in `known` (sorted, unique), sorted."""
    values = np.unique(values)
    return values[~contained(values, known)]


def percentile(counts: Integers, fraction: float) -> float:
    """PostgreSQL's `percentile_cont(fraction)` over a non-empty set, to the same bits: linear between neighbours."""
    rank = fraction * (len(counts) - 1)
    below = int(rank)
    above = min(below + 1, len(counts) - 1)
    low, high = np.partition(counts, (below, above))[[below, above]].tolist()
    return float(low + (rank - below) * (high - low))
