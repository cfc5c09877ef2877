"""Sliding windows that are cheap to keep: the reason why a refresh reads new rows only (house: "Sliding windows").

Time is cut into minutes. Minute `m` holds the instants in `((m-1) min, m min]`, so that a window, open at its start
and closed at now, is a run of whole minutes plus one edge: the part of a minute at its start. A refresh re-reads the
minutes that late commits can still change and replaces them whole; re-reading is idempotent, so nothing is counted
twice or lost. The edge is read too, exactly, so that every window is exact to the microsecond. What changes behind
that is found by looking at the past again, a part at a time (`Wheel`).

Before this on the way: `sliding.py` and the collectors, which read rows. Here is no I/O and no clock: all times are
parameters, int64 microseconds since the epoch (UTC). Users are 64-bit hashes made by PostgreSQL; no identity comes
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

LATE = 5 * MINUTE
"""How late a row may be committed and still be found by reading the last minutes again; what comes later is for the
resync."""

SOMEWHAT_LATE = MINUTE
"""How late it may be and be seen by the very next refresh: a commit takes that long seldom."""

LOOK_BACK = 45 * SECOND
"""How long after a refresh that has read all that may be late the next one does. (Of one a minute, each does.)"""

RESYNC = HOUR
"""Within what time the last day is looked at again, for what re-reading the last minutes cannot see (deletions, very
late rows)."""


def minute(time: int) -> int:
    """The minute that holds an instant (microseconds in, minutes since the epoch out)."""
    return -(-time // MINUTE)


class ReadCursor:
    """From when on the next refresh has to read: so far back that late commits are found, but what is later than
    SOMEWHAT_LATE not each time."""

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self._read_until = 0
        self._far = False
        self._looked_back_at = 0  # what came until then is missing only if it is late
        self.filling = True
        """Whether the next refresh is a fill. Set it to have everything read anew."""

    def since(self, now: int) -> tuple[int, bool]:
        """(start, fill): read what is newer than `start`; on a fill, forget all that was there before.

        Apart from when `filling` is set it fills after a gap that is worth a resync, and when the clock went back.
        """
        if self.filling or not self._read_until <= now < self._read_until + min(self._horizon, RESYNC):
            self.filling = True  # until it worked
            return now - self._horizon, True
        self._far = self._far or now - self._looked_back_at >= LOOK_BACK
        start = self._looked_back_at - LATE if self._far else self._read_until - SOMEWHAT_LATE
        return start - start % MINUTE, False

    def advance(self, now: int, fill: bool) -> None:
        """Note that everything until `now` has been read; call it only once the windows hold it."""
        self._read_until = now
        if fill:
            self.filling = False
        if fill or self._far:
            self._looked_back_at, self._far = now, False

    def look_back(self) -> None:
        """Have the next refresh read all that may be late."""
        self._far = True


Part = tuple[int, int]
"""A piece of the past that is looked at again: later than the first instant, until the second; whole minutes."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """Looks at the past again, a part at a time and each once in a `period`, so that it never costs much at once.

    The past is cut into parts of `length`, and the newest `parts` of them that are over take turns, at times that
    follow from the clock alone.
    """

    length: int
    parts: int
    period: int

    def due(self, since: int, now: int) -> list[Part]:
        """The parts whose turn came later than `since` and until `now`."""
        turn = self.period // self.parts
        newest = now // self.length - 1
        turns = range(max(since // turn, now // turn - self.parts) + 1, now // turn + 1)
        ages = {(newest - number) % self.parts for number in turns}
        return [((newest - age) * self.length, (newest - age + 1) * self.length) for age in sorted(ages)]


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
                self._minutes[int(group[0, 0])] = (group[:, 1].copy(), group[:, 2].astype(np.int32))
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

    def counts(self) -> tuple[Integers, Integers]:
        """The users (sorted) with a count above 0, and those counts."""
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
    """A count a user over a window of which no part is kept: what enters it and what leaves it is told from outside."""

    users: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Sorted, unique."""

    counts: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Parallel to it, none of them 0."""

    @classmethod
    def of(cls, blocks: Sequence[Integers]) -> UserTotals:
        """The totals of rows (shape (n, 2): user, count), in any order."""
        rows = np.concatenate([np.empty((0, 2), dtype=np.int64), *blocks])
        users, where = np.unique(rows[:, 0], return_inverse=True)
        counts = np.zeros(len(users), dtype=np.int64)
        np.add.at(counts, where, rows[:, 1])
        counted = counts != 0
        return cls(users[counted], counts[counted])

    def moved(self, gained: Integers, lost: Integers) -> UserTotals:
        """The totals after rows (shape (n, 2): user, count) came in and rows fell out."""
        change = self.of([gained, lost * (1, -1)])
        return self._with(change.users, change.counts)

    def largest(self, size: int, users: Integers, counts: Integers) -> Integers:
        """The `size` largest, with the `counts` of `users` (sorted, unique) added to them: (user, count), largest
        first, of alike ones the one with the least hash."""
        totals = self._with(users, counts)
        if len(totals.counts) > size:
            least = np.partition(totals.counts, -size)[-size]
            first = totals.counts >= least
            totals = UserTotals(totals.users[first], totals.counts[first])
        order = np.lexsort((totals.users, -totals.counts))[:size]
        return np.stack((totals.users[order], totals.counts[order]), axis=1)

    def _with(self, users: Integers, counts: Integers) -> UserTotals:
        """The totals with these added, of users sorted and unique: what is new is put in, nothing is sorted anew."""
        known = contained(users, self.users)
        where = np.searchsorted(self.users, users[~known])
        all_users = np.insert(self.users, where, users[~known])
        totals = np.insert(self.counts, where, 0)
        totals[np.searchsorted(all_users, users)] += counts
        if not totals.all():
            all_users, totals = all_users[totals != 0], totals[totals != 0]
        return UserTotals(all_users, totals)


class LatestActivity:
    """When each user was last active: enough for distinct users over any window, because a maximum is idempotent.

    Each user has a class too, a small number that is kept here and means nothing here.
    """

    UNCLASSED = -1

    def __init__(self) -> None:
        self._users = np.empty(0, dtype=np.int64)  # sorted
        self._times = np.empty(0, dtype=np.int64)  # parallel to _users, as is:
        self._classes = np.empty(0, dtype=np.int8)

    @classmethod
    def of(cls, ranges: Sequence[tuple[Integers, Integers]]) -> LatestActivity:
        """What `latest_of` makes of ranges of users that ascend."""
        latest = cls()
        if ranges:
            users, times = zip(*ranges, strict=True)
            latest._users, latest._times = np.concatenate(users), np.concatenate(times)
            latest._classes = np.full(len(latest._users), cls.UNCLASSED, dtype=np.int8)
        return latest

    def merge(self, rows: Integers) -> int:
        """Take in `rows` (shape (n, 2): user, time of an activity); a user may occur more than once. Returns how many
        users are new or were active later than was known."""
        users, times = latest_of(rows)
        new = ~contained(users, self._users)
        if new.any():
            where = np.searchsorted(self._users, users[new])
            self._users = np.insert(self._users, where, users[new])
            self._times = np.insert(self._times, where, np.iinfo(np.int64).min)
            self._classes = np.insert(self._classes, where, self.UNCLASSED)
        where = np.searchsorted(self._users, users)
        later = times > self._times[where]
        self._times[where[later]] = times[later]
        return int(later.sum())

    def check(self, since: int, until: int, rows: Integers) -> tuple[int, int]:
        """Hold what is known of `since < time <= until` against `rows`, all activities of that time, and mend it.

        Returns (changed, vanished): users who are known better now; and users whose latest activity is no longer
        there. When those were active before that cannot be told from here.
        """
        users, times = latest_of(rows)
        known = np.flatnonzero((self._times > since) & (self._times <= until))
        there = contained(self._users[known], users)
        known = known[there]
        earlier = np.minimum(self._times[known], times[np.searchsorted(users, self._users[known])])
        lowered = int((earlier < self._times[known]).sum())
        self._times[known] = earlier
        return lowered + self.merge(rows), int((~there).sum())

    def forget(self, until: int) -> None:
        """Drop users whose latest activity is not after `until`."""
        kept = self._times > until
        if not kept.all():
            self._users, self._times, self._classes = self._users[kept], self._times[kept], self._classes[kept]

    def since(self, start: int) -> Integers:
        """The users (sorted) with activity after `start`."""
        users: Integers = self._users[self._times > start]
        return users

    def times_of(self, users: Integers) -> Integers:
        """When each of these users was last active; -1 for one who is not known here."""
        times = np.full(len(users), -1, dtype=np.int64)
        known = contained(users, self._users)
        times[known] = self._times[np.searchsorted(self._users, users[known])]
        return times

    def unclassed(self) -> Integers:
        """The users (sorted) who have no class yet."""
        users: Integers = self._users[self._classes == self.UNCLASSED]
        return users

    def classify(self, users: Integers, classes: NDArray[np.int8]) -> None:
        """Set the classes of those of `users` (distinct) who are known here."""
        known = contained(users, self._users)
        self._classes[np.searchsorted(self._users, users[known])] = classes[known]

    def classify_all(self, classes: NDArray[np.int8]) -> None:
        """Set the class of every user."""
        if len(classes) != len(self._users):
            raise ValueError(f"{len(classes)} classes for {len(self._users)} users")
        self._classes = classes

    def count(self, start: int, classes: int) -> Integers:
        """How many users with activity after `start` are in each of the classes 0, 1, ... below `classes`."""
        counts: Integers = np.bincount(self._classes[self._times > start], minlength=classes)
        return counts

    def differing(self, other: LatestActivity, until: int) -> int:
        """How many users were, until then, last active at another time than `other` has it, which knows more."""
        earlier = other._times <= until
        users, times = other._users[earlier], other._times[earlier]
        gone = ~contained(self._users, other._users)
        both = contained(users, self._users)
        same = times[both] == self._times[np.searchsorted(self._users, users[both])]
        return int(gone.sum()) + len(users) - int(same.sum())


def latest_of(rows: Integers) -> tuple[Integers, Integers]:
    """Each user of `rows` (user, time) once, sorted, and the latest of the user's times."""
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    last = np.ones(len(rows), dtype=np.bool_)
    last[:-1] = rows[1:, 0] != rows[:-1, 0]
    return rows[last, 0], rows[last, 1]


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
