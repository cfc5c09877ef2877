"""The turns at which parts of the past are read again."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.windows.units import Part


@dataclass(frozen=True, slots=True)
class Wheel:
    """Turns of the parts of the past, each once in a `period`, so that re-reading never costs much at once.

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
        return [Part((newest - age) * self.length, (newest - age + 1) * self.length) for age in sorted(ages)]
