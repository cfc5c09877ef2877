"""The schedule by which parts of the past are re-read."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.windows.units import Part


@dataclass(frozen=True, slots=True)
class Wheel:
    """A schedule in which each part of the past is due once per `period`, so that the cost of re-reading is spread
    evenly.

    The past is cut into parts of `length`. The newest `parts` complete ones are due in turn, at times that follow from
    the clock alone.
    """

    length: int
    parts: int
    period: int

    def due(self, since: int, now: int) -> list[Part]:
        """Return the parts that became due after `since` and until `now`."""
        turn = self.period // self.parts
        newest = now // self.length - 1
        turns = range(max(since // turn, now // turn - self.parts) + 1, now // turn + 1)
        ages = {(newest - number) % self.parts for number in turns}
        return [Part((newest - age) * self.length, (newest - age + 1) * self.length) for age in sorted(ages)]
