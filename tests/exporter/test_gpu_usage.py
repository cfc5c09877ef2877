"""GPU time from heartbeat to heartbeat (docs/definitions.md#worker), without a server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.gpu_usage import Beat, GpuUsage, share_of_month, start_of_month


def utc(year: int, month: int, day: int, hour: int = 0) -> float:
    return datetime(year, month, day, hour, tzinfo=UTC).timestamp()


NOON, APRIL = utc(2026, 3, 17, 12), utc(2026, 4, 1)
SPOT = ("g5.xlarge", "spot")


def beat(worker: str, at: float, instance_type: str = "g5.xlarge", lifecycle: str = "spot") -> Beat:
    return Beat(worker, at, instance_type, lifecycle)


def after(usage: GpuUsage, *beats: Beat, now: float | None = None) -> GpuUsage:
    """The usage after these heartbeats, as of the latest of them by default."""
    return usage.after(beats, max(b.at for b in beats) if now is None else now, longest_silence=120, forgotten=86_400)


def watched(times: Iterable[float], usage: GpuUsage | None = None) -> GpuUsage:
    """The usage of one worker, updated after each of its heartbeats."""
    usage = usage or GpuUsage()
    for at in times:
        usage = after(usage, beat("gpu-1", at))
    return usage


def test_a_first_heartbeat_counts_nothing_and_makes_the_counter_known() -> None:
    assert watched([NOON]).total == {SPOT: 0.0}


def test_time_runs_from_heartbeat_to_heartbeat() -> None:
    usage = watched([NOON, NOON + 10, NOON + 15.5])
    assert usage.total == {SPOT: 15.5}
    assert usage.in_month == {SPOT: 15.5}


@pytest.mark.parametrize(("silence", "counted"), [(120.0, 120.0), (120.001, 0.0), (86_400.0, 0.0)])
def test_a_silence_longer_than_a_healthy_workers_was_seen_by_nobody(silence: float, counted: float) -> None:
    assert watched([NOON, NOON + silence]).total == {SPOT: counted}
    assert watched([NOON, NOON + silence, NOON + silence + 30]).total == {SPOT: counted + 30}


def test_the_same_heartbeat_seen_again_counts_nothing() -> None:
    assert watched([NOON, NOON + 10, NOON + 10, NOON + 10]).total == {SPOT: 10.0}


def test_a_heartbeat_older_than_the_last_counts_nothing_now_or_later() -> None:
    assert watched([NOON, NOON - 60, NOON + 10]).total == {SPOT: 10.0}


def test_every_worker_runs_its_own_time() -> None:
    usage = after(GpuUsage(), beat("a", NOON), beat("b", NOON + 5), beat("c", NOON, lifecycle="on-demand"))
    usage = after(usage, beat("a", NOON + 10), beat("b", NOON + 11), beat("c", NOON + 30, lifecycle="on-demand"))
    assert usage.total == {SPOT: 16.0, ("g5.xlarge", "on-demand"): 30.0}


def test_a_worker_that_moved_counts_for_the_instance_it_is_on() -> None:
    usage = after(watched([NOON]), beat("gpu-1", NOON + 10, "p5.48xlarge", "on-demand"))
    assert usage.total == {SPOT: 0.0, ("p5.48xlarge", "on-demand"): 10.0}


def test_this_process_clock_is_of_no_matter() -> None:
    """One update per hour or a hundred per second, before or long after: only the times in the heartbeats count."""
    often = watched([NOON])
    for look in range(100):
        often = after(often, beat("gpu-1", NOON), now=NOON + look / 100)
    often = after(often, beat("gpu-1", NOON + 60), now=NOON + 3_600)
    assert often.total == {SPOT: 60.0}


def test_a_month_has_only_what_lies_in_it() -> None:
    usage = watched([APRIL - 60, APRIL - 10])
    assert (usage.month, usage.in_month) == ("2026-03", {SPOT: 50.0})
    usage = watched([APRIL + 30], usage)
    assert (usage.month, usage.in_month) == ("2026-04", {SPOT: 30.0})
    assert usage.total == {SPOT: 90.0}


def test_a_new_month_begins_at_nothing_though_no_heartbeat_came() -> None:
    usage = watched([APRIL - 60, APRIL - 10])
    assert after(usage, now=APRIL - 0.001).in_month == {SPOT: 50.0}
    assert after(usage, now=APRIL).in_month == {}
    assert after(usage, now=APRIL).total == {SPOT: 50.0}


def test_the_heartbeat_of_a_month_that_is_over_counts_in_total_alone() -> None:
    """The first update after the end of the month."""
    usage = after(watched([APRIL - 60]), beat("gpu-1", APRIL - 10), now=APRIL + 5)
    assert usage.total == {SPOT: 50.0}
    assert sum(usage.in_month.values()) == 0.0


@pytest.mark.parametrize(("age", "remembered"), [(86_400.0, True), (86_400.001, False)])
def test_a_worker_is_remembered_for_a_day(age: float, remembered: bool) -> None:
    usage = after(watched([NOON]), now=NOON + age)
    assert ("gpu-1" in usage.last_beats) is remembered
    assert usage.total == {SPOT: 0.0}


def test_labels_are_cut_to_what_they_may_hold() -> None:
    usage = after(GpuUsage(), beat("a", NOON, "g5 {xlarge}", "x" * 300), beat("b", NOON, "\n", "é"))
    assert set(usage.total) == {("g5xlarge", "x" * 100), ("unknown", "unknown")}


def test_a_counter_that_never_forgets_has_at_most_200_series_and_other() -> None:
    usage = GpuUsage()
    for number in range(300):
        usage = after(usage, beat("a", NOON + number, f"type-{number:03}", f"life-{number:03}"))
    assert {kind for kind, _ in usage.total} == {f"type-{number:03}" for number in range(200)} | {"other"}
    assert {life for _, life in usage.total} == {f"life-{number:03}" for number in range(200)} | {"other"}
    assert sum(usage.total.values()) == 299.0
    usage = after(usage, beat("a", NOON + 310, "type-007", "life-008"))  # known words, but one pair too many
    assert len(usage.total) == 201
    assert usage.total["other", "other"] == 100.0 + 11.0


def test_what_was_seen_before_is_changed_by_nobody() -> None:
    before = watched([NOON])
    state = before.to_state()
    after(before, beat("gpu-1", NOON + 10), beat("gpu-2", NOON + 10, "p5"))
    assert before.to_state() == state
    assert before.total == {SPOT: 0.0}


beats = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.integers(0, 300), st.sampled_from(["g5", "p5"]), st.sampled_from(["spot", ""])
    ),
    max_size=20,
)


@given(beats, beats)
def test_counting_goes_on_from_what_was_saved_as_if_nothing_had_happened(
    first: list[tuple[str, int, str, str]], second: list[tuple[str, int, str, str]]
) -> None:
    usage = GpuUsage()
    for worker, at, kind, life in first:
        usage = after(usage, beat(worker, NOON + at, kind, life))
    restarted = GpuUsage.from_state(json.loads(json.dumps(usage.to_state())))
    assert restarted == usage
    for worker, at, kind, life in second:
        usage = after(usage, beat(worker, NOON + at, kind, life))
        restarted = after(restarted, beat(worker, NOON + at, kind, life))
    assert restarted == usage


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"total": [], "month": "2026-03", "in_month": []},
        {"total": [["g5", "spot"]], "month": "", "in_month": [], "last_beats": {}},
        {"total": [["g5", "spot", "long"]], "month": "", "in_month": [], "last_beats": {}},
        {"total": 7, "month": "", "in_month": [], "last_beats": {}},
        {"total": [], "month": "", "in_month": [], "last_beats": {"gpu-1": None}},
        {"total": [], "month": "", "in_month": [], "last_beats": ["gpu-1"]},
    ],
)
def test_a_state_of_another_form_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        GpuUsage.from_state(state)


@pytest.mark.parametrize(
    ("now", "start", "share"),
    [
        (utc(2026, 3, 1), utc(2026, 3, 1), 0.0),
        (utc(2026, 3, 16, 12), utc(2026, 3, 1), 0.5),
        (utc(2026, 2, 15), utc(2026, 2, 1), 0.5),
        (utc(2028, 2, 15, 12), utc(2028, 2, 1), 0.5),
        (utc(2026, 12, 16, 12), utc(2026, 12, 1), 0.5),
        (utc(2026, 4, 28), utc(2026, 4, 1), 0.9),
    ],
)
def test_the_share_of_a_month_is_that_of_its_own_length(now: float, start: float, share: float) -> None:
    assert start_of_month(now) == start
    assert share_of_month(now) == pytest.approx(share, rel=1e-12)
