"""The pause between two readings of tables that can only be read whole.

`users`, `subscriptions` and `projects` do not say which of their rows are new. PostgreSQL's counters (`changes.py`) do
not say it in time: a session sends them when it is idle, so that one that goes on with a long statement, or waits
inside its next transaction, keeps them back for as long as that lasts (before PostgreSQL 15, an idle session too). And
the duration of a reading says more of the machine's other work than of the reading. So the pause follows from the
number of rows alone. The collector `users` stands behind this.
"""

from __future__ import annotations

from exporter.windows import MINUTE

READ_ALWAYS = 100_000
"""Users up to whom everything is read at each look. At so many that takes about 50 ms of the database's time."""

ROWS_A_MINUTE = 40_000
"""Beyond that, a minute of pause for so many rows."""

LONGEST = 8 * MINUTE
"""The longest pause. With the minute between two looks, and a second one where a look comes a moment too early, a
change shows within ten minutes."""


def longest_pause(users: int) -> int:
    """The longest time (microseconds) between two readings, beside that between two looks, of so many users."""
    return 0 if users <= READ_ALWAYS else LONGEST


class Recount:
    """The time of the next reading. Times are microseconds, of the database's clock."""

    def __init__(self) -> None:
        self._read_at: int | None = None
        self._pause = 0

    def is_due(self, now: int) -> bool:
        """Whether to read now; asked at every look."""
        return self._read_at is None or not 0 <= now - self._read_at < self._pause

    def read(self, now: int, users: int, rows: int) -> None:
        """Note a reading of that many rows, of which `users` are users."""
        self._read_at = now
        self._pause = min(rows * MINUTE // ROWS_A_MINUTE, longest_pause(users))

    def forget(self) -> None:
        """Read at the next look, whatever the pause."""
        self._read_at = None
