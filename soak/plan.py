"""The plan of a soak: the faults that one running exporter can have, in a random order, one in each interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from faults.scene import plain_exporter
from faults.table import Fault

LONGEST_HOLD_SECONDS = 10.0
SHORTEST_HOLD_SECONDS = 1.0

REPLACED = "the exporter is stopped or replaced, and its trends would begin again"
OWN = "the exporter has to be started in another way"


@dataclass(frozen=True, slots=True)
class Stroke:
    """A fault, the second of the soak in which it strikes, and the time (seconds) for which it goes on once shown."""

    at: float
    fault: Fault
    hold: float


def obstacle(fault: Fault) -> str:
    """Return the reason why a soak leaves a fault out; empty if it can strike."""
    if fault.silent:
        return REPLACED
    if fault.own is not None and fault.own is not plain_exporter:
        return OWN
    return fault.obstacle()


def left_out(table: Iterable[Fault]) -> Mapping[str, list[str]]:
    """Return the names of the faults that are left out, by reason."""
    found: dict[str, list[str]] = {}
    for fault in table:
        if reason := obstacle(fault):
            found.setdefault(reason, []).append(fault.name)
    return found


def make_plan(table: Iterable[Fault], *, seconds: float, every: float, seed: int) -> list[Stroke]:
    """Return one fault for each interval of `every` seconds but the last, at a random time of its first half. No fault
    is repeated before all others have struck."""
    random = Random(seed)
    faults = _shuffled([fault for fault in table if not obstacle(fault)], random)
    hold = min(LONGEST_HOLD_SECONDS, every / 6)
    return [
        Stroke((number + random.uniform(0, 0.5)) * every, next(faults), random.uniform(SHORTEST_HOLD_SECONDS, hold))
        for number in range(max(0, int(seconds / every) - 1))
    ]


def _shuffled(faults: list[Fault], random: Random) -> Iterator[Fault]:
    """Yield all faults in a random order, again and again."""
    while faults:
        yield from random.sample(faults, len(faults))
