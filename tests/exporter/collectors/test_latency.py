"""Average job latency (docs/definitions.md#job-latency)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from exporter.collectors.latency import Latency
from tests.rows import CLOCKS, INSTANT, NOON, WITHIN_A_MINUTE, collect, insert, only

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

QUEUES = pytest.mark.parametrize(("queue", "table"), [("ai", "ai_usage_events"), ("preview", "preview_jobs")])


def succeed(connection: psycopg.Connection, table: str, completed_at: datetime, took: timedelta, **more: Any) -> None:
    columns = {"status": "succeeded", "created_at": completed_at - took, "completed_at": completed_at, **more}
    insert(connection, table, **columns)


def averages(values: dict[str, Any]) -> dict[str, float]:
    return only(values, "hivesync_job_latency_average_seconds")


def left_out(values: dict[str, Any]) -> int:
    return int(values["hivesync_skipped_values{latency,negative_latency}"])


@QUEUES
def test_each_window_averages_its_own_jobs(
    queue: str, table: str, database: str, connection: psycopg.Connection
) -> None:
    succeed(connection, table, NOON - SECOND, took=10 * SECOND)
    succeed(connection, table, NOON - 10 * MINUTE, took=20 * SECOND)
    succeed(connection, table, NOON - 50 * MINUTE, took=timedelta(days=2))
    assert averages(collect(Latency(), database, now=NOON)) == {
        f"{queue},1m": 10.0,
        f"{queue},15m": 15.0,
        f"{queue},1h": (172_800 + 30) / 3,
    }


def test_the_queues_are_told_apart(database: str, connection: psycopg.Connection) -> None:
    succeed(connection, "ai_usage_events", NOON, took=3 * SECOND)
    succeed(connection, "preview_jobs", NOON - 5 * MINUTE, took=7 * SECOND)
    assert averages(collect(Latency(), database, now=NOON)) == {
        "ai,1m": 3.0,
        "ai,15m": 3.0,
        "ai,1h": 3.0,
        "preview,15m": 7.0,
        "preview,1h": 7.0,
    }


@QUEUES
@CLOCKS
def test_a_window_is_open_at_its_start_and_closed_at_now(
    queue: str, table: str, now: datetime, database: str, connection: psycopg.Connection
) -> None:
    for name, window in (("1m", MINUTE), ("15m", 15 * MINUTE), ("1h", HOUR)):
        succeed(connection, table, now + INSTANT, took=1000 * SECOND)
        succeed(connection, table, now, took=1 * SECOND)
        succeed(connection, table, now - window + INSTANT, took=2 * SECOND)
        succeed(connection, table, now - window, took=2000 * SECOND)
        assert averages(collect(Latency(), database, now=now))[f"{queue},{name}"] == 1.5
        connection.execute(f"DELETE FROM {table}".encode())


def test_a_window_without_a_succeeded_job_has_no_sample(database: str, connection: psycopg.Connection) -> None:
    assert averages(collect(Latency(), database, now=NOON)) == {}
    for status in ("queued", "running", "failed", "cancelled"):
        succeed(connection, "ai_usage_events", NOON - SECOND, took=SECOND, status=status)
    insert(connection, "ai_usage_events", status="succeeded", created_at=NOON - SECOND)
    assert averages(collect(Latency(), database, now=NOON)) == {}


def test_a_job_that_took_no_time_took_zero(database: str, connection: psycopg.Connection) -> None:
    succeed(connection, "preview_jobs", NOON - 2 * MINUTE, took=0 * SECOND)
    values = collect(Latency(), database, now=NOON)
    assert averages(values) == {"preview,15m": 0.0, "preview,1h": 0.0}
    assert left_out(values) == 0


def test_an_average_is_exact_to_the_microsecond(database: str, connection: psycopg.Connection) -> None:
    succeed(connection, "ai_usage_events", NOON, took=INSTANT)
    succeed(connection, "ai_usage_events", NOON, took=SECOND)
    assert averages(collect(Latency(), database, now=NOON))["ai,1m"] == 0.500_000_5


def test_a_job_that_ended_before_it_began_is_left_out_and_counted(
    database: str, connection: psycopg.Connection
) -> None:
    succeed(connection, "ai_usage_events", NOON - 30 * MINUTE, took=-INSTANT)
    succeed(connection, "ai_usage_events", NOON - 30 * MINUTE, took=-HOUR)
    succeed(connection, "ai_usage_events", NOON - HOUR, took=-HOUR)
    succeed(connection, "ai_usage_events", NOON - SECOND, took=-HOUR, status="failed")
    succeed(connection, "preview_jobs", NOON - SECOND, took=-SECOND)
    succeed(connection, "preview_jobs", NOON - MINUTE, took=4 * SECOND)
    values = collect(Latency(), database, now=NOON)
    assert averages(values) == {"preview,15m": 4.0, "preview,1h": 4.0}
    assert left_out(values) == 3


def test_a_job_that_was_created_never_is_left_out(database: str, connection: psycopg.Connection) -> None:
    insert(connection, "ai_usage_events", status="succeeded", created_at="-infinity", completed_at=NOON)
    succeed(connection, "ai_usage_events", NOON, took=SECOND)
    assert averages(collect(Latency(), database, now=NOON))["ai,1m"] == 1.0


def test_a_sample_and_what_was_left_out_go_with_their_window(database: str, connection: psycopg.Connection) -> None:
    collector = Latency()
    succeed(connection, "ai_usage_events", WITHIN_A_MINUTE, took=SECOND)
    succeed(connection, "ai_usage_events", WITHIN_A_MINUTE, took=-SECOND)
    seen = [
        collect(collector, database, now=WITHIN_A_MINUTE + age)
        for age in (-INSTANT, 0 * SECOND, MINUTE, 15 * MINUTE, HOUR - INSTANT, HOUR)
    ]
    assert [list(averages(values)) for values in seen] == [
        [],
        ["ai,1m", "ai,15m", "ai,1h"],
        ["ai,15m", "ai,1h"],
        ["ai,1h"],
        ["ai,1h"],
        [],
    ]
    assert [left_out(values) for values in seen] == [0, 1, 1, 1, 1, 0]


def test_a_job_counts_when_it_has_succeeded_however_long_ago_it_began(
    database: str, connection: psycopg.Connection
) -> None:
    collector = Latency()
    insert(connection, "preview_jobs", status="running", created_at=NOON - 6 * HOUR)
    assert averages(collect(collector, database, now=NOON)) == {}
    connection.execute("UPDATE preview_jobs SET status = 'succeeded', completed_at = %s", [NOON + 10 * SECOND])
    assert averages(collect(collector, database, now=NOON + 15 * SECOND))["preview,1m"] == 6 * 3600 + 10
