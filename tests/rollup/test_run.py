"""Real runs: repeated, late, two at once, killed, with and without Prometheus."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from rollup import days
from servers.prometheus import PrometheusServer
from tests.rollup.rolling import DAY, Command, end, midnight, plainly, stored, today
from tests.rollup.test_queue_depth import openmetrics
from tests.rows import INSTANT, insert, user, users
from tests.waiting import patience, until

SOURCE = "prometheus"
LOCKS = (
    "SELECT * FROM pg_stat_activity JOIN pg_locks USING (pid)"
    " WHERE relation = 'usage_analytics_daily'::regclass AND mode = 'ShareUpdateExclusiveLock'"
)
"""Query for the sessions that hold the roll-up's lock."""


def seed(connection: psycopg.Connection, ago: int) -> None:
    """Insert activity on most of the last `ago` days, and today."""
    ids = users(connection, 5)
    now = today(connection)
    for number in range(ago, -1, -1):
        at = midnight(now - number * DAY)
        if number % 4 != 3:
            insert(connection, "sessions", user_id=ids[number % 5], created_at=at)
            insert(connection, "ai_usage_events", user_id=ids[number % 3], created_at=at)
            done = {"status": "succeeded", "created_at": at, "completed_at": at + timedelta(seconds=number + 0.5)}
            insert(connection, "preview_jobs", user_id=ids[number % 2], **done)


def versions(connection: psycopg.Connection) -> dict[object, tuple[object, ...]]:
    """The version of each day's row: its transaction and position."""
    return {
        row[0]: row[1:] for row in connection.execute("SELECT date, xmin::text, ctid::text FROM usage_analytics_daily")
    }


def test_a_first_run_fills_every_day_from_the_first_activity_to_today(
    rollup: Command, connection: psycopg.Connection
) -> None:
    seed(connection, 45)
    ran = rollup()
    now = today(connection)
    assert ran.status == 0
    assert stored(connection) == plainly(connection, days.span(now - 45 * DAY, now))
    (done,) = ran.said("rollup.finished")
    assert (done["days"], done["first"], done["last"]) == (46, str(now - 45 * DAY), str(now))


def test_a_run_again_changes_no_value_and_writes_the_recent_days_only(
    rollup: Command, connection: psycopg.Connection
) -> None:
    seed(connection, 20)
    assert rollup().status == 0
    rows, before = stored(connection), versions(connection)
    for _ in range(2):
        assert rollup().status == 0
        assert stored(connection) == rows
    after = versions(connection)
    assert {day for day in before if before[day] != after[day]} == set(
        days.span(today(connection) - 3 * DAY, today(connection))
    )
    assert rollup("--from", str(today(connection) - 20 * DAY)).status == 0
    assert stored(connection) == rows


def test_a_day_that_is_missing_is_filled_wherever_it_is(rollup: Command, connection: psycopg.Connection) -> None:
    seed(connection, 90)
    assert rollup().status == 0
    rows = stored(connection)
    now = today(connection)
    connection.execute("DELETE FROM usage_analytics_daily WHERE date IN (%s, %s)", (now - 40 * DAY, now - 80 * DAY))
    ran = rollup()
    assert ran.said("rollup.finished")[0]["days"] == 6
    assert stored(connection) == rows


def test_no_activity_at_all_writes_nothing_and_is_no_error(rollup: Command, connection: psycopg.Connection) -> None:
    ran = rollup()
    assert (ran.status, stored(connection)) == (0, [])
    assert ran.said("rollup.finished")[0]["days"] == 0
    assert ran.said("system.analytics.degraded") == []


def test_rows_up_to_three_days_late_are_in_the_next_run_others_in_a_range(
    rollup: Command, connection: psycopg.Connection
) -> None:
    seed(connection, 40)
    assert rollup().status == 0
    now = today(connection)
    late = user(connection, "late")
    insert(connection, "ai_usage_events", user_id=late, created_at=midnight(now - 3 * DAY))
    assert rollup().status == 0
    assert stored(connection) == plainly(connection, days.span(now - 40 * DAY, now))
    insert(
        connection, "ai_usage_events", user_id=user(connection, "later"), created_at=midnight(now - 3 * DAY) - INSTANT
    )
    before = {row.date: row for row in stored(connection)}
    assert rollup().status == 0
    after = {row.date: row for row in stored(connection)}
    assert after[now - 4 * DAY] == before[now - 4 * DAY]
    assert rollup("--from", str(now - 4 * DAY)).status == 0
    assert stored(connection) == plainly(connection, days.span(now - 40 * DAY, now))


def test_a_deleted_user_is_no_longer_counted_once_the_day_is_written_anew(
    rollup: Command, connection: psycopg.Connection
) -> None:
    now = today(connection)
    leaving = user(connection, "leaving")
    for number in (0, 10):
        insert(connection, "ai_usage_events", user_id=leaving, created_at=midnight(now - number * DAY))
    assert rollup().status == 0
    connection.execute("DELETE FROM users")
    assert rollup().status == 0
    rows = {row.date: row for row in stored(connection)}
    assert (rows[now].dau, rows[now].mau, rows[now].ai_requests) == (0, 0, 1)
    assert (rows[now - 10 * DAY].dau, rows[now - 10 * DAY].mau) == (1, 1)
    assert rollup("--from", str(now - 10 * DAY)).status == 0
    assert {(row.dau, row.mau) for row in stored(connection)} == {(0, 0)}


def test_rows_that_are_gone_do_not_take_their_days_along(rollup: Command, connection: psycopg.Connection) -> None:
    """After HiveSync deletes old rows, the written days stay as they are."""
    seed(connection, 60)
    assert rollup().status == 0
    rows = {row.date: row for row in stored(connection)}
    now = today(connection)
    for table in ("sessions", "ai_usage_events", "preview_jobs"):
        connection.execute(f"DELETE FROM {table} WHERE created_at < %s".encode(), (midnight(now - 33 * DAY),))
    assert rollup().status == 0
    assert {row.date: row for row in stored(connection)} == rows
    refused = rollup("--from", str(now - 60 * DAY), "--to", str(now - 40 * DAY))
    assert (refused.status, {row.date: row for row in stored(connection)}) == (2, rows)


# ---- one at a time ----


def waiting(connection: psycopg.Connection, what: str) -> bool:
    """Whether the roll-up waits for a lock in such a statement."""
    query = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND application_name = 'hivesync-analytics-rollup' AND query LIKE %s"
    )
    return connection.execute(query, (f"%{what}%",)).fetchone() is not None


@contextmanager
def stuck(rollup: Command, connection: psycopg.Connection, database: str) -> Iterator[subprocess.Popen[bytes]]:
    """A roll-up process that has written the first days, and waits for a row locked by the test."""
    now = today(connection)
    connection.execute("INSERT INTO usage_analytics_daily VALUES (%s, 0, 0, 0, 0, NULL, 77)", (now - 2 * DAY,))
    with psycopg.connect(database) as ours:
        ours.execute("SELECT FROM usage_analytics_daily FOR UPDATE")
        process = rollup.start()
        try:
            until(lambda: waiting(connection, "INSERT INTO usage_analytics_daily"), "the roll-up waits for our row")
            yield process
        finally:
            end([process])


def test_killed_in_the_middle_it_leaves_whole_days_and_the_next_run_completes_them(
    rollup: Command, connection: psycopg.Connection, database: str
) -> None:
    seed(connection, 12)
    now = today(connection)
    with stuck(rollup, connection, database) as process:
        process.kill()
        assert process.wait() == -9
        # The locked row is unchanged; the rows before it are complete.
        written = [row for row in stored(connection) if row.date != now - 2 * DAY]
        assert written == plainly(connection, days.span(now - 12 * DAY, now - 3 * DAY))
    ran = rollup()
    assert ran.status == 0
    rows = stored(connection)
    assert [row.max_queue_depth for row in rows if row.date == now - 2 * DAY] == [77]
    connection.execute("UPDATE usage_analytics_daily SET max_queue_depth = NULL")
    assert stored(connection) == plainly(connection, days.span(now - 12 * DAY, now))


def test_a_killed_roll_up_holds_up_nobody(rollup: Command, connection: psycopg.Connection, database: str) -> None:
    """The lock is free even while PostgreSQL still works on the last statement."""
    seed(connection, 5)
    with stuck(rollup, connection, database) as process:
        process.kill()
        process.wait()
        until(
            lambda: connection.execute(LOCKS.replace("*", "count(*)").encode()).fetchone() == (0,),
            "nobody holds the lock",
            within=3,
        )
        assert waiting(connection, "INSERT INTO usage_analytics_daily")


def test_a_row_that_somebody_holds_ends_the_run_and_not_the_table(
    rollup: Command, connection: psycopg.Connection, database: str
) -> None:
    seed(connection, 2)
    with stuck(rollup, connection, database) as process:
        assert process.wait(patience()) == 1
        assert b"PostgreSQL: lock_not_available" in rollup.log.read_bytes()
    assert rollup().status == 0
    assert len(stored(connection)) == 3


def test_while_it_waits_its_lock_holds_back_no_vacuum(
    rollup: Command, connection: psycopg.Connection, database: str
) -> None:
    seed(connection, 2)
    with stuck(rollup, connection, database):
        holder = connection.execute(LOCKS.replace("*", "state, backend_xmin, backend_xid").encode()).fetchall()
        assert holder == [("idle in transaction", None, None)]


# ---- the queue's depth ----


@pytest.fixture
def depths(connection: psycopg.Connection, tmp_path: Path) -> PrometheusServer:
    """A Prometheus with a depth for each of the last 9 days and today; not started."""
    server = PrometheusServer(tmp_path / "prometheus", retention="100y")
    now = today(connection)
    labels = '{queue="ai",name="default"}'
    ((moment,),) = connection.execute("SELECT now()").fetchall()
    assert isinstance(moment, datetime)
    samples = [(midnight(now - number * DAY), 10 + number) for number in range(9, -1, -1)]
    (tmp_path / "past.om").write_text(openmetrics(hivesync_queue_depth={labels: samples}))
    command = ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=2560h", "openmetrics"]
    subprocess.run([*command, str(tmp_path / "past.om"), str(server.data)], check=True, capture_output=True)
    return server


@pytest.mark.prometheus
def test_depths_are_filled_in_by_a_later_run_and_never_lowered(
    rollup: Command, connection: psycopg.Connection, depths: PrometheusServer
) -> None:
    seed(connection, 30)
    now = today(connection)
    ran = rollup(prometheus_url=depths.url)
    assert ran.status == 0
    assert [event["kind"] for event in ran.said("system.analytics.degraded")] == ["refused"]
    assert {row.max_queue_depth for row in stored(connection)} == {None}
    connection.execute("UPDATE usage_analytics_daily SET max_queue_depth = 1000 WHERE date = %s", (now - 2 * DAY,))
    connection.execute("UPDATE usage_analytics_daily SET max_queue_depth = 3 WHERE date = %s", (now - 1 * DAY,))
    counted = [(row.date, row.dau, row.mau, row.avg_latency_ms) for row in stored(connection)]
    with depths:
        ran = rollup(prometheus_url=depths.url)
        assert (ran.status, ran.said("system.analytics.degraded")) == (0, [])
    expected = {now - number * DAY: 10 + number for number in range(10)} | {now - 2 * DAY: 1000}
    found = {row.date: row.max_queue_depth for row in stored(connection)}
    assert found == {day: expected.get(day) for day in days.span(now - 30 * DAY, now)}
    ran = rollup(prometheus_url=depths.url)
    assert (ran.status, len(ran.said("system.analytics.degraded"))) == (0, 1)
    assert {row.date: row.max_queue_depth for row in stored(connection)} == found
    assert [(row.date, row.dau, row.mau, row.avg_latency_ms) for row in stored(connection)] == counted


def test_without_prometheus_it_says_so_once_and_all_else_is_written(
    rollup: Command, connection: psycopg.Connection
) -> None:
    seed(connection, 100)
    for url, kind in (("", "not_configured"), ("http://127.0.0.1:1", "refused")):
        connection.execute("DELETE FROM usage_analytics_daily")
        ran = rollup(prometheus_url=url)
        assert ran.status == 0
        said = ran.said("system.analytics.degraded")
        assert [(event["source"], event["kind"], event["metric"]) for event in said] == [
            (SOURCE, kind, "max_queue_depth")
        ]
        assert len(stored(connection)) == 101
