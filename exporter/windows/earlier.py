"""Distinct users of a window that ended some time ago: the same window, before."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.windows.latest import LatestActivity
from exporter.windows.units import Integers, Part


class EarlierActivity:
    """The latest activity per user within a window that ends `delay` before now. It is read like a window that ends
    now: rows that enter it by the passing of time are read at that time, and changed parts of the past again."""

    def __init__(self, length: int, delay: int) -> None:
        """Both in microseconds."""
        self._length, self._delay = length, delay
        self._latest = LatestActivity()
        self._until = 0

    def window(self, now: int) -> Part:
        """Return the window as of `now`."""
        return Part(now - self._delay - self._length, now - self._delay)

    def entering(self, now: int) -> Part:
        """Return the part that enters the window by `now`."""
        return Part(self._until, now - self._delay)

    def within(self, part: Part, now: int) -> Part | None:
        """Return a part of the past up to the end of the window; None where it is outside the window."""
        start, end = self.window(now)
        cut = Part(part.start, min(part.end, end))
        return cut if max(cut.start, start) < cut.end else None

    def fill(self, latest: LatestActivity, now: int) -> None:
        """Replace everything by the latest activities of the window as of `now`."""
        self._latest, self._until = latest, now - self._delay

    def move(self, entering: Integers, reread: Sequence[tuple[Part, Integers]], now: int) -> tuple[int, int]:
        """Move the window on to `now`: add the activities of `entering`, and correct those of the parts read again (as
        `within` returns them). Return (changed, vanished) as `LatestActivity.check` does."""
        self._latest.merge(entering)
        checked = [self._latest.check(*part, rows) for part, rows in reread]
        self._latest.forget(self.window(now).start)
        self._until = now - self._delay
        return sum(changed for changed, _ in checked), sum(vanished for _, vanished in checked)

    def count(self) -> int:
        """Return the number of users."""
        return len(self._latest.since(0))
