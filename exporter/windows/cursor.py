"""The read cursor of a window: the time from which the next refresh reads, so that late commits are found."""

from __future__ import annotations

from exporter.windows.units import MINUTE, RESYNC, SECOND

LATE = 5 * MINUTE
"""Longest delay between a row's time and its commit at which re-reading the last minutes still finds the row. The
resync finds later commits."""

SOMEWHAT_LATE = MINUTE
"""Longest delay at which the very next refresh finds the row. Most commits are faster."""

LOOK_BACK = 45 * SECOND
"""Least time between two refreshes that re-read LATE. (A collector refreshed once a minute does so at each refresh.)"""


class ReadCursor:
    """The time from which the next refresh reads: far enough back for late commits. Commits later than SOMEWHAT_LATE
    are not looked for at each refresh."""

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self._read_until = 0
        self._far = False
        self._looked_back_at = 0  # rows up to this time are missing only if committed late
        self.filling = True
        """Whether the next refresh is a fill. Set it to re-read the whole window."""

    def since(self, now: int) -> tuple[int, bool]:
        """Return (start, fill): read the rows newer than `start`; on a fill, discard all rows held before.

        A fill is due when `filling` is set, after a gap of RESYNC or of the whole window, and after the clock went
        back.
        """
        if self.filling or not self._read_until <= now < self._read_until + min(self._horizon, RESYNC):
            self.filling = True  # stays set until the fill has worked
            return now - self._horizon, True
        self._far = self._far or now - self._looked_back_at >= LOOK_BACK
        start = self._looked_back_at - LATE if self._far else self._read_until - SOMEWHAT_LATE
        return start - start % MINUTE, False

    def advance(self, now: int, fill: bool) -> None:
        """Note that everything until `now` has been read; to be called only once the windows hold it."""
        self._read_until = now
        if fill:
            self.filling = False
        if fill or self._far:
            self._looked_back_at, self._far = now, False

    def look_back(self) -> None:
        """Make the next refresh re-read everything within LATE."""
        self._far = True
