"""Counters of logs from a restart to the next: state that is lost, of an older version or cannot be saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from exporter.collectors.logs import ai_log
from exporter.errors import CollectionFailed, SourceUnavailable
from tests.exporter.collectors.logs.counting import LINES, Setup, WatchedState, append, counted, values


def test_counting_goes_on_after_a_restart(setup: Setup) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, {"event": "ai.requested"})
    setup.refresh(collector)
    append(setup.ai, {"event": "ai.requested"}, b"x")
    again = ai_log(setup.state())
    assert counted(again) == counted(collector)
    setup.refresh(again)
    assert counted(again)[LINES, "ai-events", "ok"] == 2
    assert counted(again)[LINES, "ai-events", "malformed"] == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda state: [],
        lambda state: {},
        lambda state: {**state, "position": {"tracks": [1]}},
        lambda state: {**state, "position": 5},
        lambda state: {**state, "events": None},
        lambda state: {**state, "events": {"ai.requested": "5"}},
        lambda state: {**state, "results": {"ok": -1}},
        lambda state: {**state, "kinds": {"timeout": True}},
        lambda state: {**state, "kinds": {"timeout": 1.5}},
    ],
)
def test_a_state_that_makes_no_sense_is_set_aside(setup: Setup, change: Callable[[Any], Any]) -> None:
    append(setup.ai, {"event": "ai.requested"})
    setup.refresh(ai_log(setup.state()))
    file = setup.state()
    file.path.write_bytes(orjson.dumps(change(orjson.loads(file.path.read_bytes()))))
    with capture_logs() as logged:
        collector = ai_log(file)
    assert counted(collector) == {}
    assert [entry["event"] for entry in logged] == ["state.corrupt"]
    assert file.path.with_name("ai-events.corrupt").exists()
    setup.refresh(collector)
    assert counted(collector)[LINES, "ai-events", "ok"] == 1


def test_a_label_that_an_older_state_did_not_know_starts_at_0(setup: Setup) -> None:
    append(setup.ai, {"event": "ai.requested"})
    setup.refresh(ai_log(setup.state()))
    file = setup.state()
    state = orjson.loads(file.path.read_bytes())
    del state["events"]["ai.completed"]
    state["events"]["ai.forgotten"] = 5
    file.path.write_bytes(orjson.dumps(state))
    shown = values(ai_log(file).counters())
    assert shown["hivesync_ai_log_events_total", "ai.completed"] == 0
    assert shown["hivesync_ai_log_events_total", "ai.requested"] == 1
    assert ("hivesync_ai_log_events_total", "ai.forgotten") not in shown


def test_counters_stay_while_the_log_cannot_be_read(setup: Setup) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, {"event": "ai.requested"})
    setup.refresh(collector)
    before = values(collector.counters())
    setup.ai.close()
    setup.ai.path.unlink()
    setup.refresh(collector)  # notices the missing file
    with pytest.raises(SourceUnavailable, match="ai_events_log: missing"):
        setup.refresh(collector)
    assert values(collector.counters()) == before


def test_counts_are_saved_before_they_are_shown(setup: Setup, state: WatchedState) -> None:
    state.collector = collector = ai_log(state)
    for _ in range(3):
        append(setup.ai, {"event": "ai.requested"})
        setup.refresh(collector)
    assert (state.shown, state.saved) == ([0, 1, 2], [1, 2, 3])


def test_nothing_is_saved_when_nothing_is_new(setup: Setup, state: WatchedState) -> None:
    state.collector = collector = ai_log(state)
    append(setup.ai, {"event": "ai.requested"})
    for _ in range(3):
        setup.refresh(collector)
    assert state.saved == [1]


def test_what_cannot_be_saved_is_not_shown_and_counted_later(setup: Setup, state: WatchedState) -> None:
    state.collector = collector = ai_log(state)
    append(setup.ai, {"event": "ai.requested"})
    setup.refresh(collector)
    append(setup.ai, {"event": "ai.requested"}, {"event": "ai.requested"})
    state.fails = True
    for _ in range(2):
        with pytest.raises(CollectionFailed) as error:
            setup.refresh(collector)
    assert (error.value.source, error.value.kind, error.value.detail) == (
        "ai_events_log",
        "state_unwritable",
        str(state.path),
    )
    assert setup.ai.reachability.up
    assert counted(collector)[LINES, "ai-events", "ok"] == 1
    state.fails = False
    setup.refresh(collector)
    assert counted(collector)[LINES, "ai-events", "ok"] == 3
