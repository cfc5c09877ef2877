"""The latest activity of each user, for windows of distinct users."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.windows.units import Integers
from exporter.windows.users import contained


class LatestActivity:
    """The latest activity per user: enough for distinct users over any window, because a maximum is idempotent.

    Each user has a class too: a small number without a meaning in this module.
    """

    UNCLASSED = -1

    def __init__(self) -> None:
        self._users = np.empty(0, dtype=np.int64)  # sorted
        self._times = np.empty(0, dtype=np.int64)  # parallel to _users, like the next:
        self._classes = np.empty(0, dtype=np.int8)

    @classmethod
    def of(cls, ranges: Sequence[tuple[Integers, Integers]]) -> LatestActivity:
        """Build it from the results of `latest_of` for ranges of users in ascending order."""
        latest = cls()
        if ranges:
            users, times = zip(*ranges, strict=True)
            latest._users, latest._times = np.concatenate(users), np.concatenate(times)
            latest._classes = np.full(len(latest._users), cls.UNCLASSED, dtype=np.int8)
        return latest

    def merge(self, rows: Integers) -> int:
        """Merge `rows` (shape (n, 2): user, time of an activity) into it; a user may occur more than once. Return the
        number of users that are new or have a later activity than was known."""
        return self._merge(*latest_of(rows))

    def add(self, other: LatestActivity) -> None:
        """Merge the latest activities of another part of time into it."""
        self._merge(other._users, other._times)

    def _merge(self, users: Integers, times: Integers) -> int:
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
        """Compare the known activity in `since < time <= until` with `rows`, all activities of that time, and correct
        it.

        Return (changed, vanished): the number of users with a corrected time; and the number of users whose latest
        activity no longer exists. The time of their previous activity is not known here.
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
        """Return the users (sorted) with activity after `start`."""
        users: Integers = self._users[self._times > start]
        return users

    def times_of(self, users: Integers) -> Integers:
        """Return the time of the latest activity of each of these users; -1 for an unknown user."""
        times = np.full(len(users), -1, dtype=np.int64)
        known = contained(users, self._users)
        times[known] = self._times[np.searchsorted(self._users, users[known])]
        return times

    def unclassed(self) -> Integers:
        """Return the users (sorted) without a class."""
        users: Integers = self._users[self._classes == self.UNCLASSED]
        return users

    def classify(self, users: Integers, classes: NDArray[np.int8]) -> None:
        """Set the classes of `users` (distinct). Unknown users are ignored."""
        known = contained(users, self._users)
        self._classes[np.searchsorted(self._users, users[known])] = classes[known]

    def classify_all(self, classes: NDArray[np.int8]) -> None:
        """Set the class of every user."""
        if len(classes) != len(self._users):
            raise ValueError(f"{len(classes)} classes for {len(self._users)} users")
        self._classes = classes

    def count(self, start: int, classes: int) -> Integers:
        """Return the number of users with activity after `start` in each of the classes 0, 1, ... below `classes`."""
        counts: Integers = np.bincount(self._classes[self._times > start], minlength=classes)
        return counts

    def count_between(self, start: int, end: int) -> int:
        """Return the number of users whose latest activity is after `start`, and at `end` or before."""
        return int(np.count_nonzero((self._times > start) & (self._times <= end)))

    def differing(self, other: LatestActivity, until: int) -> int:
        """Return the number of users whose latest activity until then differs from that in `other`, which knows
        more."""
        earlier = other._times <= until
        users, times = other._users[earlier], other._times[earlier]
        gone = ~contained(self._users, other._users)
        both = contained(users, self._users)
        same = times[both] == self._times[np.searchsorted(self._users, users[both])]
        return int(gone.sum()) + len(users) - int(same.sum())


def latest_of(rows: Integers) -> tuple[Integers, Integers]:
    """Return each user of `rows` (user, time) once, sorted, with the user's latest time."""
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    last = np.ones(len(rows), dtype=np.bool_)
    last[:-1] = rows[1:, 0] != rows[:-1, 0]
    return rows[last, 0], rows[last, 1]
