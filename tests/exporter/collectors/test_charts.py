"""A week of hours, against plain SQL."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from exporter.collectors.charts import Charts, Hours
from tests.rows import INSTANT, NOON, WITHIN_A_MINUTE, collect, insert

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def hours(collector: Charts, database: str, now: datetime) -> Hours:
    assert collect(collector, database, now=now) == {}
    assert collector.content is not None
    return collector.content


def from_scratch(connection: psycopg.Connection, ends: list[int]) -> tuple[list[int], list[float | None]]:
    """Number of requests and mean latency of the hour up to each of these times."""
    requests, latency = [], []
    for end in ends:
        until = datetime.fromtimestamp(end, UTC)
        row = connection.execute(
            "SELECT count(*) FILTER (WHERE created_at > %(since)s AND created_at <= %(until)s),"
            " avg(extract(epoch from completed_at - created_at))"
            " FILTER (WHERE status = 'succeeded' AND completed_at > %(since)s AND completed_at <= %(until)s)"
            " FROM ai_usage_events",
            {"since": until - HOUR, "until": until},
        ).fetchone()
        assert row is not None
        requests.append(row[0])
        latency.append(None if row[1] is None else float(row[1]))
    return requests, latency


@pytest.mark.parametrize("now", [NOON, WITHIN_A_MINUTE], ids=["on a minute", "within a minute"])
@pytest.mark.parametrize(("step", "points"), [(15, 24), (60, 24), (60, 168)])
def test_every_hour_is_as_plain_sql_counts_it(
    now: datetime, step: int, points: int, database: str, connection: psycopg.Connection
) -> None:
    chance, collector = random.Random(3), Charts()
    for _ in range(300):
        created = now - timedelta(seconds=chance.randrange(0, 8 * 86_400), microseconds=chance.randrange(1_000_000))
        done = created + timedelta(seconds=chance.randrange(1, 5_000))
        status = chance.choice(("succeeded", "failed", "queued"))
        insert(connection, "ai_usage_events", created_at=created, completed_at=done, status=status)
    for at in (now, now + 61 * MINUTE):
        found = hours(collector, database, at)
        ends = found.ending(step, points)
        assert len(ends) == points
        assert at.timestamp() - 120 <= ends[-1] < at.timestamp()
        requests, latency = from_scratch(connection, ends)
        assert sum(requests) > 0
        assert found.requests_per_hour(step, points) == requests
        assert found.latency_seconds(step, points) == pytest.approx(latency, nan_ok=False)
        if points < 168:
            requests, latency = from_scratch(connection, [end - 86_400 for end in ends])
            assert found.requests_per_hour(step, points, 1440) == requests
            assert found.latency_seconds(step, points, 1440) == pytest.approx(latency, nan_ok=False)


def test_a_span_is_known_as_far_back_as_the_sums_reach(database: str, connection: psycopg.Connection) -> None:
    end = NOON - MINUTE
    for at in (end - 7 * DAY, end - 7 * DAY - HOUR + INSTANT, end - 2 * DAY + INSTANT, end - DAY, end):
        insert(connection, "ai_usage_events", created_at=at, completed_at=at + 4 * MINUTE / 60, status="succeeded")
    found = hours(Charts(), database, NOON)
    assert found.requests_in(60, 10_080) == 2
    assert found.requests_in(61, 10_080) is found.latency_in(61, 10_080) is None
    assert (found.requests_in(1440), found.requests_in(1440, 1440)) == (1, 2)
    assert (found.latency_in(60, 10_080), found.latency_in(60, 3000)) == (4.0, None)


def test_an_hour_is_open_at_its_start_and_closed_at_its_end(database: str, connection: psycopg.Connection) -> None:
    end = NOON - MINUTE
    for at in (end - HOUR, end - HOUR + INSTANT, end, end + INSTANT):
        insert(connection, "ai_usage_events", created_at=at)
    assert hours(Charts(), database, NOON).requests_per_hour(60, 1) == [2]


def test_an_hour_in_which_no_job_succeeded_has_no_latency(database: str) -> None:
    assert hours(Charts(), database, NOON).latency_seconds(60, 24) == [None] * 24


def test_what_came_late_is_found_within_a_day(database: str, connection: psycopg.Connection) -> None:
    collector = Charts()
    hours(collector, database, NOON)
    insert(connection, "ai_usage_events", created_at=NOON - 3 * DAY)
    assert not any(hours(collector, database, NOON + MINUTE).requests_per_hour(60, 168))
    for passed in range(1, 49):
        found = hours(collector, database, NOON + passed * HOUR / 2)
    assert found.requests_in(10_080) == 1
