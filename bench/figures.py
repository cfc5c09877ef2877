"""The results of the bench: figures, each a measured number with its target."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self


@dataclass(frozen=True, slots=True)
class Target:
    """The bound of a figure; a value equal to the bound meets it."""

    kind: Literal["at least", "at most"]
    bound: float

    def holds(self, value: float) -> bool:
        """Return whether a value meets the bound."""
        return value >= self.bound if self.kind == "at least" else value <= self.bound


def at_least(bound: float) -> Target:
    """Return a target for which more is better."""
    return Target("at least", bound)


def at_most(bound: float) -> Target:
    """Return a target for which less is better."""
    return Target("at most", bound)


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table.

    `value` is None when it was not measured; `note` then has the reason. `samples` are the single measurements; the
    value is their median unless the note says otherwise.
    """

    part: str
    name: str
    value: float | None
    unit: str
    target: Target | None = None
    note: str = ""
    samples: tuple[float, ...] = ()

    @classmethod
    def median(
        cls, part: str, name: str, samples: Sequence[float], unit: str, target: Target | None = None, note: str = ""
    ) -> Self:
        """Return a figure with the median of its measurements; not measured when there are none."""
        value = statistics.median(samples) if samples else None
        return cls(part, name, value, unit, target, note if samples else note or "no measurement", tuple(samples))

    @property
    def verdict(self) -> str:
        """`met`, `not met`, `not measured`; empty for a figure without a target."""
        if self.value is None:
            return "not measured"
        if self.target is None:
            return ""
        return "met" if self.target.holds(self.value) else "not met"


def ratio(
    part: str,
    name: str,
    above: Figure,
    below: Figure,
    target: Target | None = None,
    note: str = "",
) -> Figure:
    """Return the ratio of `above` to `below`; not measured when either of them was not."""
    if above.value is None or below.value is None or not below.value:
        missing = above if above.value is None else below
        return Figure(part, name, None, "times", target, f"{missing.name}: {missing.note}" if missing.note else note)
    return Figure(part, name, above.value / below.value, "times", target, note)
