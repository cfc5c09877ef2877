"""The latest activity of each user, for windows of distinct users."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.windows.units import Integers
from exporter.windows.users import contained


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
