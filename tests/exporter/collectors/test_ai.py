"""AI requests, requests per user, and AI errors (docs/definitions.md#ai-request, docs/definitions.md#ai-error)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from exporter.collectors.ai import Ai
from tests.rows import CLOCKS, INSTANT, NOON, WITHIN_A_MINUTE, collect, insert, only, users

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def requests(values: Mapping[str, Any]) -> dict[str, int]:
    return only(values, "hivesync_ai_requests_in_window")


def per_user(values: Mapping[str, Any]) -> dict[str, float]:
    return only(values, "hivesync_ai_requests_per_user")


def errors(values: Mapping[str, Any]) -> dict[str, int]:
    return only(values, "hivesync_ai_errors_in_window")


def ask(connection: psycopg.Connection, times: int, **columns: object) -> None:
    for _ in range(times):
        insert(connection, "ai_usage_events", **{"created_at": NOON - HOUR, **columns})


def fail(connection: psycopg.Connection, **columns: object) -> None:
    failed = {"status": "failed", "created_at": NOON - 3 * DAY, "completed_at": NOON - HOUR, "error_kind": "timeout"}
    insert(connection, "ai_usage_events", **{**failed, **columns})


@CLOCKS
def test_a_window_is_open_at_its_start_and_closed_at_now(
    now: datetime, database: str, connection: psycopg.Connection
) -> None:
    for age in (-INSTANT, 0 * DAY, MINUTE - INSTANT, MINUTE, HOUR - INSTANT, HOUR, DAY - INSTANT, DAY):
        insert(connection, "ai_usage_events", created_at=now - age)
    assert requests(collect(Ai(), database, now=now)) == {"1m": 2, "1h": 4, "24h": 6}


def test_requests_come_and_go_as_time_passes(database: str, connection: psycopg.Connection) -> None:
    collector = Ai()
    insert(connection, "ai_usage_events", created_at=WITHIN_A_MINUTE)
    seen = [
        requests(collect(collector, database, now=WITHIN_A_MINUTE + age))
        for age in (-INSTANT, 0 * DAY, MINUTE - INSTANT, MINUTE, HOUR - INSTANT, HOUR, DAY - INSTANT, DAY)
    ]
    assert [counts["1m"] for counts in seen] == [0, 1, 1, 0, 0, 0, 0, 0]
    assert [counts["1h"] for counts in seen] == [0, 1, 1, 1, 1, 0, 0, 0]
    assert [counts["24h"] for counts in seen] == [0, 1, 1, 1, 1, 1, 1, 0]


def test_a_request_from_the_future_waits_until_now_has_reached_it(
    database: str, connection: psycopg.Connection
) -> None:
    """The application server's clock is ahead by more than the span that each refresh re-reads."""
    collector = Ai()
    insert(connection, "ai_usage_events", created_at=NOON + 20 * MINUTE)
    assert requests(collect(collector, database, now=NOON))["1h"] == 0
    assert requests(collect(collector, database, now=NOON + 19 * MINUTE))["1h"] == 0
    assert requests(collect(collector, database, now=NOON + 20 * MINUTE))["1h"] == 1


def test_a_request_counts_once_whoever_made_it_and_however_it_ended(
    database: str, connection: psycopg.Connection
) -> None:
    (somebody,) = users(connection, 1)
    for status in ("queued", "running", "succeeded", "failed", "cancelled"):
        ask(connection, 1, status=status, user_id=somebody, created_at=NOON - HOUR / 2)
    ask(connection, 1, created_at=NOON - HOUR / 2)
    ask(connection, 1, created_at=NOON - 2 * DAY, status="succeeded", completed_at=NOON - SECOND)
    insert(connection, "preview_jobs", created_at=NOON - HOUR / 2)
    assert requests(collect(Ai(), database, now=NOON)) == {"1m": 0, "1h": 6, "24h": 6}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1], {"24h,median": 1.0, "24h,p90": 1.0, "24h,max": 1.0}),
        ([1, 2], {"24h,median": 1.5, "24h,p90": 1.9, "24h,max": 2.0}),
        ([3, 1, 2], {"24h,median": 2.0, "24h,p90": 2.8, "24h,max": 3.0}),
        ([10, 1, 3, 2], {"24h,median": 2.5, "24h,p90": 7.9, "24h,max": 10.0}),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 12], {"24h,median": 1.0, "24h,p90": 2.0, "24h,max": 12.0}),
    ],
)
def test_requests_a_user_are_spread_as_percentile_cont_has_it(
    counts: list[int], expected: dict[str, float], database: str, connection: psycopg.Connection
) -> None:
    *askers, _ = users(connection, len(counts) + 1)  # the last user makes no request, and does not count
    for asker, times in zip(askers, counts, strict=True):
        ask(connection, times, user_id=asker)
    ask(connection, 5)  # requests without a user
    assert per_user(collect(Ai(), database, now=NOON)) == pytest.approx(expected, rel=1e-12)


def test_while_no_user_asks_anything_there_are_no_statistics(database: str, connection: psycopg.Connection) -> None:
    users(connection, 2)
    ask(connection, 3)
    values = collect(Ai(), database, now=NOON)
    assert per_user(values) == {}
    assert requests(values)["24h"] == 3


@CLOCKS
def test_requests_a_user_are_those_of_exactly_the_last_24_hours(
    now: datetime, database: str, connection: psycopg.Connection
) -> None:
    inside, outside, edge = users(connection, 3)
    for age in (0 * DAY, DAY - INSTANT):
        ask(connection, 1, user_id=inside, created_at=now - age)
    for age in (-INSTANT, DAY):
        ask(connection, 1, user_id=outside, created_at=now - age)
    for age in (HOUR, DAY - INSTANT, DAY, DAY + INSTANT):
        ask(connection, 2, user_id=edge, created_at=now - age)
    expected = {"24h,median": 3.0, "24h,p90": 3.8, "24h,max": 4.0}  # of 2 and 4 requests
    assert per_user(collect(Ai(), database, now=now)) == pytest.approx(expected, rel=1e-12)


def test_requests_a_user_leave_with_their_window(database: str, connection: psycopg.Connection) -> None:
    collector = Ai()
    early, late = users(connection, 2)
    ask(connection, 3, user_id=early, created_at=WITHIN_A_MINUTE - DAY + 10 * SECOND)
    ask(connection, 1, user_id=late, created_at=WITHIN_A_MINUTE)
    highest = [
        per_user(collect(collector, database, now=WITHIN_A_MINUTE + age))["24h,max"]
        for age in (0 * DAY, 10 * SECOND - INSTANT, 10 * SECOND, DAY - INSTANT)
    ]
    assert highest == [3.0, 3.0, 1.0, 1.0]
    assert per_user(collect(collector, database, now=WITHIN_A_MINUTE + DAY)) == {}


def test_errors_are_counted_by_kind_and_what_is_no_kind_is_other(database: str, connection: psycopg.Connection) -> None:
    for kind in ["provider_error"] * 3 + ["timeout"] * 2 + ["safety_rejection", None, "", "time out", "gremlins"]:
        fail(connection, error_kind=kind)
    assert errors(collect(Ai(), database, now=NOON)) == {
        "24h,provider_error": 3,
        "24h,timeout": 2,
        "24h,safety_rejection": 1,
        "24h,other": 4,
    }


def test_without_errors_every_kind_is_zero(database: str, connection: psycopg.Connection) -> None:
    ask(connection, 2, status="succeeded", completed_at=NOON - HOUR)
    assert errors(collect(Ai(), database, now=NOON)) == {
        "24h,provider_error": 0,
        "24h,timeout": 0,
        "24h,safety_rejection": 0,
        "24h,other": 0,
    }


@pytest.mark.parametrize(
    "columns",
    [
        {"completed_at": None, "created_at": NOON - HOUR},
        {"completed_at": NOON + INSTANT, "created_at": NOON - HOUR},
        {"completed_at": NOON - DAY, "created_at": NOON - DAY},
        {"status": "succeeded"},
        {"status": "cancelled"},
        {"status": "running"},
    ],
    ids=["not completed", "completes in an instant", "completed 24 h ago", "succeeded", "cancelled", "running"],
)
def test_what_is_not_a_failure_in_the_window_is_no_error(
    columns: dict[str, object], database: str, connection: psycopg.Connection
) -> None:
    fail(connection, **columns)
    assert sum(errors(collect(Ai(), database, now=NOON)).values()) == 0


@CLOCKS
def test_errors_are_those_of_exactly_the_last_24_hours_by_their_completion(
    now: datetime, database: str, connection: psycopg.Connection
) -> None:
    for age in (-INSTANT, 0 * DAY, DAY - INSTANT, DAY):
        fail(connection, completed_at=now - age)
    assert errors(collect(Ai(), database, now=now))["24h,timeout"] == 2


def test_a_request_that_fails_later_is_an_error_then(database: str, connection: psycopg.Connection) -> None:
    collector = Ai()
    ask(connection, 1, created_at=NOON - 2 * DAY)
    assert errors(collect(collector, database, now=NOON))["24h,timeout"] == 0
    connection.execute(
        "UPDATE ai_usage_events SET status = 'failed', error_kind = 'timeout', completed_at = %s", [NOON + MINUTE]
    )
    assert errors(collect(collector, database, now=NOON + MINUTE))["24h,timeout"] == 1
    assert errors(collect(collector, database, now=NOON + MINUTE + DAY))["24h,timeout"] == 0


def test_rows_committed_a_minute_late_count_at_once_and_five_late_in_a_minute(
    database: str, connection: psycopg.Connection
) -> None:
    collector, now = Ai(), NOON
    collect(collector, database, now=now)
    for _ in range(8):
        before = now
        now += 15 * SECOND
        ask(connection, 1, created_at=before - MINUTE + INSTANT)
        ask(connection, 1, created_at=before - 5 * MINUTE + INSTANT)
        seen = requests(collect(collector, database, now=now))["1h"]
        assert seen >= requests(collect(Ai(), database, now=now))["1h"] - 2
        if now in (NOON + 45 * SECOND, NOON + 90 * SECOND):
            assert seen == requests(collect(Ai(), database, now=now))["1h"]
