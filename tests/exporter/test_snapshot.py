"""Isolation of collectors, and the log of their changes: the failures of one do not affect another."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.errors import MOST_REPEATS, CollectionFailed, MadeWay
from exporter.snapshot import (
    COLLECTOR_UP,
    DEADLINE_SECONDS,
    REFRESH_DURATION,
    REFRESH_FAILURES,
    SOURCE_LAST_SUCCESS,
    SOURCE_UP,
    Snapshot,
)
from exporter.sources import Reachability
from exporter.spec import Histogram
from tests.exporter import fakes
from tests.exporter.fakes import (
    COUNTER,
    GAUGE,
    REFRESH_SECONDS,
    Fake,
    build,
    degraded_and_recovered,
    fails,
    finds_postgres_down,
    finds_postgres_up,
    hangs,
    keep_time,
    refresh,
    run,
    values,
    works,
)

SECRET = "ada@example.org asked for: def secret(): pass"


# Isolation -------------------------------------------------------------------------------------------------------


def test_a_collector_that_raises_does_not_disturb_the_others() -> None:
    snapshot = build(Fake("before"), Fake("broken", fails(RuntimeError("no"))), Fake("after"))
    refresh(snapshot, times=3)
    assert values(snapshot, GAUGE) == {"before": 3, "after": 3}
    assert values(snapshot, COLLECTOR_UP) == {"before": 1, "broken": 0, "after": 1}
    assert values(snapshot, REFRESH_FAILURES) == {"before": 0, "broken": 3, "after": 0}


def test_what_fails_loses_its_gauges_and_keeps_its_counters() -> None:
    snapshot = build(Fake("fickle", works, fails(CollectionFailed("postgres", "undefined_table")), works))
    for gauges, counters in (({"fickle": 1}, 1), ({}, 2), ({"fickle": 3}, 3)):
        refresh(snapshot)
        assert values(snapshot, GAUGE) == gauges
        assert values(snapshot, COUNTER) == {"fickle": counters}


def test_what_a_source_feeds_is_gone_as_soon_as_anybody_finds_it_down() -> None:
    """Values of the source's other collectors are stale before their next refresh."""
    finder = Fake("finder", finds_postgres_up, finds_postgres_down, finds_postgres_up)
    waiting = Fake("waiting", periods=100, sources=("redis", "postgres"))
    unconcerned = Fake("unconcerned", periods=100, sources=("redis",))
    seen: list[dict[str, Any]] = []
    snapshot: Snapshot = build(waiting, unconcerned, finder, changed=lambda: seen.append(values(snapshot, GAUGE)))
    keep_time(snapshot, 40)
    assert seen[2:] == [
        {"waiting": 1, "unconcerned": 1, "finder": 1},
        {"unconcerned": 1},
        {"waiting": 1, "unconcerned": 1, "finder": 3},
    ]
    assert values(snapshot, COUNTER) == {"waiting": 1, "unconcerned": 1, "finder": 3}


def test_every_refresh_is_timed_the_failed_ones_too() -> None:
    snapshot = build(Fake("good"), Fake("bad", fails(ValueError("no"))))
    refresh(snapshot, times=4)
    durations = values(snapshot, REFRESH_DURATION)
    assert set(durations) == {"good", "bad"}
    for histogram in durations.values():
        assert isinstance(histogram, Histogram)
        assert histogram.buckets[-1] == ("+Inf", 4)
        assert [number for _, number in histogram.buckets] == sorted(number for _, number in histogram.buckets)
        assert histogram.total > 0


def test_a_duration_is_counted_in_every_bucket_it_is_not_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.25 s is a bound: a bucket includes its upper bound."""
    readings = count(0, 0.25)
    monkeypatch.setattr("exporter.snapshot.time.perf_counter", lambda: next(readings))
    snapshot = build(Fake("quarter"))
    refresh(snapshot, times=2)
    histogram = values(snapshot, REFRESH_DURATION)["quarter"]
    assert {bound for bound, number in histogram.buckets if number == 0} == {"0.005", "0.01", "0.025", "0.05", "0.1"}
    assert {number for bound, number in histogram.buckets if bound in {"0.25", "60.0", "+Inf"}} == {2}
    assert histogram.total == 0.5


def test_nothing_is_said_of_a_collector_or_source_before_it_was_tried() -> None:
    snapshot = build(Fake("slow"))
    assert not snapshot.view().ready
    assert values(snapshot, COLLECTOR_UP) == values(snapshot, SOURCE_UP) == values(snapshot, SOURCE_LAST_SUCCESS) == {}


def test_it_is_ready_once_every_collector_has_tried_whatever_came_of_it() -> None:
    snapshot = build(Fake("good"), Fake("bad", fails(ValueError("no")), sources=("redis",)))
    run(snapshot.refresh_all("postgres"))
    assert not snapshot.view().ready
    refresh(snapshot)
    assert snapshot.view().ready


def test_a_source_says_when_it_was_last_reached_also_while_it_is_down() -> None:
    other = build()
    other.sources.postgres.reachability = Reachability("postgres", clock=lambda: 1_000.0)
    asks = Fake("asks", finds_postgres_up, finds_postgres_down)
    snapshot = Snapshot([asks], other.sources, REFRESH_SECONDS, clock=lambda: 2_000.0)
    for up in (1, 0):
        refresh(snapshot)
        assert values(snapshot, SOURCE_UP) == {"postgres": up}
        assert values(snapshot, SOURCE_LAST_SUCCESS) == {"postgres": 1_000.0}
        assert snapshot.view().collectors[0].last_success == 2_000.0


def test_a_collector_that_hangs_is_cancelled_at_the_deadline_and_the_others_go_on() -> None:
    hanging, other = Fake("hangs", hangs), Fake("other")
    snapshot = build(hanging, other)
    with capture_logs() as logged:
        keep_time(snapshot, DEADLINE_SECONDS - 1)
        assert values(snapshot, COLLECTOR_UP) == {"other": 1}
        before = other.refreshes
        keep_time(snapshot, 2 * DEADLINE_SECONDS + 2 * REFRESH_SECONDS)
    assert values(snapshot, COLLECTOR_UP) == {"hangs": 0, "other": 1}
    assert values(snapshot, REFRESH_FAILURES) == {"hangs": 2, "other": 0}
    assert other.refreshes - before == 2 * DEADLINE_SECONDS // REFRESH_SECONDS + 2
    assert [(event["collector"], event["kind"]) for event in logged] == [("hangs", "TimeoutError")]


def test_whoever_looks_is_told_of_every_refresh_once_it_can_be_seen() -> None:
    seen: list[dict[str, Any]] = []
    snapshot: Snapshot = build(Fake("one"), Fake("two"), changed=lambda: seen.append(values(snapshot, GAUGE)))
    refresh(snapshot, times=2)
    assert seen == [{"one": 1}, {"one": 1, "two": 1}, {"one": 2, "two": 1}, {"one": 2, "two": 2}]


# The log ---------------------------------------------------------------------------------------------------------


def test_each_change_of_a_collector_is_logged_exactly_once() -> None:
    missing = fails(CollectionFailed("postgres", "undefined_table", 'relation "projects" does not exist'))
    snapshot = build(Fake("users", works, missing, missing, missing, works, works, missing, works), seconds=0.0)
    with capture_logs() as logged:
        refresh(snapshot, times=8)
    assert degraded_and_recovered(logged) == [("degraded", "users"), ("recovered", "users")] * 2
    assert logged[0] == {
        "event": "system.analytics.degraded",
        "log_level": "warning",
        "collector": "users",
        "source": "postgres",
        "kind": "undefined_table",
        "detail": 'relation "projects" does not exist',
    }
    assert logged[1]["source"] == "postgres"


def test_another_kind_of_failure_is_no_other_line_it_was_degraded_already() -> None:
    first, second = (fails(CollectionFailed("postgres", kind)) for kind in ("undefined_table", "statement_timeout"))
    with capture_logs() as logged:
        refresh(build(Fake("users", first, first, second, first, works)), times=5)
    assert degraded_and_recovered(logged) == [("degraded", "users"), ("recovered", "users")]
    assert logged[0]["kind"] == "undefined_table"


def test_a_source_that_is_down_is_logged_once_and_not_once_a_collector() -> None:
    steps = (finds_postgres_up, finds_postgres_down, finds_postgres_down, finds_postgres_up, finds_postgres_up)
    snapshot = build(*(Fake(name, *steps) for name in ("users", "ai", "latency")))
    with capture_logs() as logged:
        refresh(snapshot, times=5)
    assert degraded_and_recovered(logged) == [("degraded", "postgres"), ("recovered", "postgres")]
    assert logged[0]["kind"] == "refused"
    assert values(snapshot, REFRESH_FAILURES) == {"users": 2, "ai": 2, "latency": 2}


def test_a_source_that_was_never_there_is_logged_once_too() -> None:
    snapshot = build(*(Fake(name, finds_postgres_down) for name in ("users", "ai")))
    with capture_logs() as logged:
        refresh(snapshot, times=3)
    assert degraded_and_recovered(logged) == [("degraded", "postgres")]


def test_an_outage_in_between_does_not_hide_that_a_collector_recovered() -> None:
    missing = fails(CollectionFailed("postgres", "undefined_table"))
    snapshot = build(Fake("users", finds_postgres_up, missing, finds_postgres_down, finds_postgres_up))
    with capture_logs() as logged:
        refresh(snapshot, times=4)
    changes = degraded_and_recovered(logged)
    assert changes[:2] == [("degraded", "users"), ("degraded", "postgres")]
    assert set(changes[2:]) == {("recovered", "users"), ("recovered", "postgres")}
    assert len(changes) == 4


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), KeyError(SECRET), UnicodeDecodeError("utf-8", b"x", 0, 1, SECRET)]
)
def test_the_message_of_an_unexpected_exception_never_reaches_the_log(error: Exception) -> None:
    snapshot = build(Fake("users", fails(error)))
    with capture_logs() as logged:
        refresh(snapshot)
    (event,) = logged
    assert (event["kind"], event["log_level"]) == (type(error).__name__, "warning")
    assert Path(fakes.__file__).name in event["where"]
    assert not [word for word in ("ada", "example.org", "secret") if word in f"{event}{snapshot.view()}"]


def test_a_refresh_that_made_way_is_repeated_and_no_failure() -> None:
    made_way = fails(MadeWay("postgres"))
    fake = Fake("reading", made_way, made_way, works)
    snapshot = build(fake)
    with capture_logs() as logged:
        refresh(snapshot)
    assert fake.refreshes == 3
    assert degraded_and_recovered(logged) == []
    assert values(snapshot, COLLECTOR_UP) == {"reading": 1}


def test_one_that_must_make_way_again_and_again_fails() -> None:
    fake = Fake("reading", fails(MadeWay("postgres")))
    snapshot = build(fake)
    with capture_logs() as logged:
        refresh(snapshot)
    assert fake.refreshes == MOST_REPEATS + 1
    assert [line["kind"] for line in logged] == ["made_way"]
