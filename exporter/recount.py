"""The pause between two readings of tables that can only be read as a whole.

`users`, `subscriptions` and `projects` have no column that marks new rows. PostgreSQL's counters (`changes.py`) are not
timely: a session sends them when it is idle, so that a session with a long statement, or waiting inside its next
transaction, withholds them for as long as that lasts (before PostgreSQL 15, an idle session too). And the duration of a
reading depends more on other load of the machine than on the reading. The pause is therefore derived from the number of
rows alone. The collector `users` uses this module.
"""

from __future__ import annotations

from exporter.windows import MINUTE

READ_ALWAYS = 100_000
"""Number of users up to which everything is read at each refresh. At this number a reading takes about 50 ms of the
database's time."""

ROWS_A_MINUTE = 40_000
"""Rows per minute of pause, beyond that number of users."""

LONGEST = 8 * MINUTE
"""The longest pause. With the minute between two refreshes, and a second minute where a refresh comes slightly too
early, a change shows within ten minutes."""


def longest_pause(users: int) -> int:
    """Return the longest time (microseconds) between two readings for that many users, in addition to the refresh
    interval."""
    return 0 if users <= READ_ALWAYS else LONGEST


class Recount:
    """The time of the next reading. Times are microseconds of the database's clock."""

    def __init__(self) -> None:
        self._read_at: int | None = None
        self._server = 0
        self._pause = 0

    def is_due(self, now: int, server: int) -> bool:
        """Return whether to read now; to be called at every refresh. `server` is the number of the transaction's
        server: on another one, a reading is always due."""
        return self._read_at is None or server != self._server or not 0 <= now - self._read_at < self._pause

    def read(self, now: int, server: int, users: int, rows: int) -> None:
        """Note a reading of that many rows, including `users` rows of users."""
        self._read_at, self._server = now, server
        self._pause = min(rows * MINUTE // ROWS_A_MINUTE, longest_pause(users))

    def forget(self) -> None:
        """Make the next refresh read, regardless of the pause."""
        self._read_at = None
