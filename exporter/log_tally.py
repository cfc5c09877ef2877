"""The counts of a log's lines up to a position in it, as they are kept in the state directory.

log_lines (counts of a batch) -> Tally (this) -> collectors/logs.py, which saves it and shows it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from exporter.labels import OTHER, closed
from exporter.log_lines import Counted
from exporter.sources.jsonl import Position, Slice

MOST_LINES = 2**53
"""A count beyond which Prometheus' numbers do not hold one more."""

RESULTS = ("ok", "malformed", "unknown_event")


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts up to a position in the log; the position is None before the first read.

    `left` is the number of bytes to be read before the counts are shown: the size of the log when this process first
    saw it; None before that. It does not grow, so that the counts of a log that grows faster than it is read are shown
    too.
    """

    position: Position | None
    events: Mapping[str, int]
    kinds: Mapping[str, int]
    results: Mapping[str, int]
    late: int
    left: int | None

    @property
    def is_shown(self) -> bool:
        """Whether the end was reached once."""
        return self.left == 0

    def plus(self, counted: Counted, *, late: bool) -> Tally:
        """Return the tally with the lines of a batch counted; the position is still the previous one."""
        events, kinds, results = dict(self.events), dict(self.kinds), dict(self.results)
        for event, times in counted.events.items():
            if event in events:
                events[event] += times
                results["ok"] += times
            else:
                results["unknown_event"] += times
        for kind, times in counted.kinds.items():
            kinds[closed(kind, kinds)] += times
        results["malformed"] += counted.malformed
        lines = counted.events.total() + counted.malformed
        return replace(self, events=events, kinds=kinds, results=results, late=self.late + lines * late)

    def at(self, found: Slice) -> Tally:
        """Return the tally after a slice whose lines are counted: with the number of its oversized lines, and its
        position."""
        malformed = self.results["malformed"] + found.oversized
        left = self.left
        if not found.more:
            left = 0
        elif left != 0:
            left = found.unread_bytes if left is None else max(0, left - sum(map(len, found.pieces)))
        return replace(self, position=found.position, results={**self.results, "malformed": malformed}, left=left)

    def to_state(self) -> dict[str, Any]:
        """Return the tally as JSON for the state directory."""
        return {
            "position": None if self.position is None else self.position.to_state(),
            "events": self.events,
            "kinds": self.kinds,
            "results": self.results,
            "late": self.late,
            "is_shown": self.is_shown,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], known_events: Sequence[str], known_kinds: Sequence[str]) -> Tally:
        """Restore a result of `to_state`. Raises KeyError, TypeError or ValueError on anything else."""
        return cls(
            position=None if state["position"] is None else Position.from_state(state["position"]),
            events=_counts(state["events"], known_events),
            kinds=_counts(state["kinds"], (*known_kinds, OTHER)),
            results=_counts(state["results"], RESULTS),
            late=_counts(state, ("late",))["late"],
            left=_left(state),
        )

    @classmethod
    def empty(cls, known_events: Sequence[str], known_kinds: Sequence[str]) -> Tally:
        """Return the tally before any reading, all counts 0."""
        return cls(
            position=None,
            events=dict.fromkeys(known_events, 0),
            kinds=dict.fromkeys((*known_kinds, OTHER), 0),
            results=dict.fromkeys(RESULTS, 0),
            late=0,
            left=None,
        )


def _left(state: Mapping[str, Any]) -> int | None:
    """Return 0 where the counts were shown already (always the case in older versions); else None, so that the process
    starts with the end that it finds."""
    is_shown = state.get("is_shown", True)
    if type(is_shown) is not bool:
        raise ValueError("neither shown nor not")
    return 0 if is_shown else None


def _counts(state: Any, names: Iterable[str]) -> dict[str, int]:
    """Return the counts of these names; a count that is missing, as in older versions, is 0."""
    if not isinstance(state, dict):
        raise TypeError("no counts")
    counts = {name: state.get(name, 0) for name in names}
    if any(type(count) is not int or not 0 <= count <= MOST_LINES for count in counts.values()):
        raise ValueError("not a count")
    return counts
