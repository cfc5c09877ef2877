"""Changes between working and failing in the log: one event each, and few of a subject that flaps."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter.transitions import SPACING_SECONDS, Transitions

REFRESH_SECONDS = 15.0
KEPT = {"system.analytics.degraded": "degraded", "system.analytics.recovered": "recovered"}


class Source:
    """A source that is looked at every 15 s."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._transitions = Transitions(REFRESH_SECONDS, lambda: self.now)

    def look(self, states: str) -> list[tuple[str, int]]:
        """The events of these looks (`-`: it fails), each with the number of pairs left out."""
        with capture_logs() as logs:
            for state in states:
                self._transitions.note("redis", {"source": "redis"}, {"kind": "refused"} if state == "-" else None)
                self.now += REFRESH_SECONDS
        return [told(event) for event in logs]


def told(event: MutableMapping[str, Any]) -> tuple[str, int]:
    assert event["source"] == "redis"
    assert ("kind" in event) is (event["event"] == "system.analytics.degraded")
    return KEPT[event["event"]], event.get("left_out", 0)


@pytest.mark.parametrize(
    ("states", "events"),
    [
        ("++++", []),
        ("----", [("degraded", 0)]),
        ("+-+", [("degraded", 0), ("recovered", 0)]),
        ("-++++-", [("degraded", 0), ("recovered", 0), ("degraded", 0)]),
        ("-+-+", [("degraded", 0), ("recovered", 0)]),
        ("-+-+++", [("degraded", 0), ("recovered", 0), ("recovered", 1)]),
        ("-+---+", [("degraded", 0), ("recovered", 0), ("degraded", 0), ("recovered", 0)]),
        ("-+-+-+-+-", [("degraded", 0), ("recovered", 0), ("degraded", 1), ("recovered", 0), ("degraded", 1)]),
    ],
)
def test_each_change_is_an_event_and_pairs_within_a_minute_are_counted(
    states: str, events: Sequence[tuple[str, int]]
) -> None:
    assert Source().look(states) == events


@given(st.text(alphabet="+-", max_size=60))
def test_no_pair_is_lost_and_the_last_event_is_the_state(states: str) -> None:
    source = Source()
    events = source.look(states)
    end = states[-1:] or "+"
    events += source.look(end * 6)
    failures = ("+" + states).count("+-")
    degraded = sum(what == "degraded" for what, _ in events)
    assert degraded + sum(left_out for _, left_out in events) == failures
    assert degraded <= 1 + len(states + "-" * 6) * REFRESH_SECONDS / SPACING_SECONDS
    if events:
        assert events[-1][0] == ("degraded" if end == "-" else "recovered")
