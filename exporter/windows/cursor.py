"""The cursor of a window: from when on the next refresh reads, so that late commits are found."""

from __future__ import annotations

from exporter.windows.units import MINUTE, RESYNC, SECOND

LATE = 5 * MINUTE
"""How late a row may be committed and still be found by reading the last minutes again; what comes later is for the
resync."""

SOMEWHAT_LATE = MINUTE
"""How late it may be and be seen by the very next refresh: a commit takes that long seldom."""

LOOK_BACK = 45 * SECOND
"""How long after a refresh that has read all that may be late the next one does. (Of one a minute, each does.)"""


class ReadCursor:
    """From when on the next refresh has to read: so far back that late commits are found, but what is later than
    SOMEWHAT_LATE not each time."""

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self._read_until = 0
        self._far = False
        self._looked_back_at = 0  # what came until then is missing only if it is late
        self.filling = True
        """Whether the next refresh is a fill. Set it to have everything read again."""

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
