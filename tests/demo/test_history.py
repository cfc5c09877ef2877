"""The made-up past: the same for one seed, complete, and consistent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg
import pytest

from demo import world
from demo.database import EXPORTER_ROLE, READING, create_role, fill_database
from demo.history import make_history
from demo.past import read_past
from demo.tables import NULL, Table
from servers.postgres import PostgresServer
from tests.demo.consistency import lies

USERS = 120
DAYS = 45
NOW = datetime(2026, 3, 18, 16, 20, tzinfo=UTC)

# The four plan classes (docs/definitions.md#plan-class), as SQL for one user.
PLAN_CLASSES = """
    SELECT CASE
        WHEN EXISTS (SELECT FROM subscriptions WHERE user_id = users.id AND plan NOT IN ('free', 'trial')
            AND status IN ('active', 'past_due') AND (ended_at IS NULL OR ended_at > now())) THEN 'paid'
        WHEN EXISTS (SELECT FROM subscriptions WHERE user_id = users.id AND plan = 'trial'
            AND (ended_at IS NULL OR ended_at > now()) AND trial_ends_at > now()) THEN 'trial'
        WHEN EXISTS (SELECT FROM subscriptions WHERE user_id = users.id AND plan = 'trial'
            AND trial_ends_at <= now()) THEN 'trial_expired'
        ELSE 'free' END AS class, count(*)
    FROM users GROUP BY class
"""


@pytest.fixture(scope="module")
def past(postgres_server: PostgresServer) -> Iterator[psycopg.Connection]:
    """A connection to a database filled with a past up to its own clock."""
    name = f"past_{uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE hivesync".encode())
        fill_database(postgres_server.url_of(name), users=USERS, days=DAYS, seed=1)
        with psycopg.connect(postgres_server.url_of(name), autocommit=True) as connection:
            yield connection
        server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def column(connection: psycopg.Connection, query: str) -> set[Any]:
    """The values of a query with one column."""
    return {value for (value,) in connection.execute(query.encode())}


def rows_of(tables: tuple[Table, ...]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """All rows of these tables."""
    return [(table.name, list(table.rows())) for table in tables]


@cache
def columns_of(name: str) -> dict[str, list[str]]:
    """All columns of one table of the past up to NOW."""
    tables = [table for table in make_history(USERS, DAYS, 1, NOW) if table.name == name]
    return {
        column: [text for table in tables for text in np.asarray(table.columns[column]).tolist()]
        for column in tables[0].columns
    }


def test_the_same_seed_makes_the_same_past_and_another_seed_another() -> None:
    past = rows_of(make_history(USERS, DAYS, 1, NOW))
    assert len(past) == 7
    assert all(rows for _, rows in past)
    assert rows_of(make_history(USERS, DAYS, 1, NOW)) == past
    assert all(theirs != ours for theirs, ours in zip(rows_of(make_history(USERS, DAYS, 2, NOW)), past, strict=True))


def test_nothing_in_it_is_a_lie(past: psycopg.Connection) -> None:
    assert lies(past) == []


def test_it_lasts_as_long_as_asked_and_goes_on_to_this_moment(past: psycopg.Connection) -> None:
    for table in ("sessions", "ai_usage_events", "preview_jobs"):
        query = f"SELECT now() - min(created_at), now() - max(created_at) FROM {table}"
        ((first, last),) = past.execute(query.encode()).fetchall()
        assert timedelta(days=DAYS - 1) < first < timedelta(days=DAYS, minutes=5)
        assert last < timedelta(hours=2)


@pytest.mark.parametrize("users", [10, USERS])
def test_every_plan_class_has_users(connection: psycopg.Connection, database: str, users: int) -> None:
    fill_database(database, users=users, days=2, seed=1)
    classes: dict[str, int] = dict(connection.execute(PLAN_CLASSES).fetchall())
    assert classes.keys() == {"paid", "trial", "trial_expired", "free"}
    assert sum(classes.values()) == users


def test_every_plan_status_device_and_kind_of_session_is_there() -> None:
    subscriptions = columns_of("subscriptions")
    assert set(subscriptions["plan"]) == {"free", "trial", "pro", "premium"}
    assert set(subscriptions["status"]) == {"active", "past_due", "canceled", "expired"}
    assert set(subscriptions["user_id"]) < set(columns_of("users")["id"])
    assert set(columns_of("sessions")["device_type"]) == {"desktop", "ipad", "phone", NULL}
    assert set(columns_of("sessions")["kind"]) == {"app", "live_view"}


@pytest.mark.parametrize(
    ("table", "errors"),
    [
        ("ai_usage_events", {"provider_error", "timeout", "safety_rejection"}),
        ("preview_jobs", {"build_error", "timeout", "worker_lost"}),
    ],
)
def test_every_outcome_of_a_job_is_there(table: str, errors: set[str]) -> None:
    jobs = columns_of(table)
    assert set(jobs["status"]) >= {"succeeded", "failed", "cancelled"}
    assert set(jobs["error_kind"]) == errors | {NULL}
    assert NULL in jobs["user_id"]


def test_work_is_under_way_and_waits_at_the_end() -> None:
    statuses = {status for table in ("ai_usage_events", "preview_jobs") for status in columns_of(table)["status"]}
    assert statuses >= {"queued", "running"}


def test_every_model_is_used_and_one_of_them_is_local() -> None:
    events = columns_of("ai_usage_events")
    assert set(events["model"]) == {model.name for model in world.MODELS} >= {"gpt-4.1", "gpt-4.1-mini"}
    assert set(events["provider"]) == {"openai", "local"}


def test_some_are_online_and_some_left_without_a_word() -> None:
    sessions = columns_of("sessions")
    beats = zip(sessions["last_heartbeat_at"], sessions["ended_at"], strict=True)
    ages = [NOW - datetime.fromisoformat(beat) for beat, ended in beats if ended == NULL]
    assert sum(age < timedelta(minutes=2) for age in ages) > 10
    assert sum(age > timedelta(minutes=2) for age in ages) > 100


def test_the_busiest_hour_is_in_the_afternoon_and_weekends_are_quieter() -> None:
    times = [datetime.fromisoformat(text) for text in columns_of("ai_usage_events")["created_at"]]
    hours = Counter(time.hour for time in times)
    (busiest, most), *_, (_, least) = hours.most_common()
    assert 13 <= busiest <= 17
    assert most > 2 * least
    weekdays = Counter(time.weekday() for time in times if time > NOW - timedelta(days=28))
    assert max(weekdays[5], weekdays[6]) < min(weekdays[day] for day in range(5))


def test_it_grows() -> None:
    times = [datetime.fromisoformat(text) for text in columns_of("ai_usage_events")["created_at"]]
    weeks = Counter((NOW - time).days // 7 for time in times)
    assert weeks[0] + weeks[1] > 1.1 * (weeks[4] + weeks[5])


def test_few_users_do_most_of_it(past: psycopg.Connection) -> None:
    query = "SELECT count(*) FROM ai_usage_events WHERE user_id IS NOT NULL GROUP BY user_id ORDER BY 1 DESC"
    counts = [count for (count,) in past.execute(query)]
    assert sum(counts[: USERS // 10]) > 0.4 * sum(counts)


def test_the_exporters_role_may_read_every_table_and_write_none(
    postgres_server: PostgresServer, database: str, connection: psycopg.Connection
) -> None:
    create_role(connection, EXPORTER_ROLE)
    connection.execute(READING)
    name = connection.info.dbname
    try:
        with psycopg.connect(postgres_server.url_of(name, EXPORTER_ROLE), autocommit=True) as exporter:
            tables = column(connection, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            assert len(tables) == 7
            for table in sorted(tables):
                exporter.execute(f"SELECT FROM {table}".encode())
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    exporter.execute(f"DELETE FROM {table}".encode())
    finally:
        connection.execute(f"DROP OWNED BY {EXPORTER_ROLE}; DROP ROLE {EXPORTER_ROLE}".encode())


def test_metrics_without_rows_have_a_past_of_two_days(
    past: psycopg.Connection, postgres_server: PostgresServer
) -> None:
    series = {(one.spec.name, *one.labels): one.points for one in read_past(postgres_server.url_of(past.info.dbname))}
    devices = [series["hivesync_online_devices", name] for name in ("desktop", "ipad", "phone", "unknown")]
    (now,) = past.execute("SELECT now()").fetchone() or ()
    moments = sorted(series["hivesync_online_users",])
    assert all(sorted(points) == moments for points in series.values())
    assert {after - before for before, after in pairwise(moments)} == {timedelta(minutes=4)}
    assert moments[0] <= now - timedelta(days=2) + timedelta(minutes=4)
    assert timedelta(minutes=5) <= now - moments[-1] < timedelta(minutes=10), "no sample outlives its successor"
    assert sum(series["hivesync_online_users",].values()) > len(moments)
    assert max(series["hivesync_queue_depth", "ai", "default"].values()) > 0
    assert set(series["hivesync_worker_healthy", "cpu-3", "cpu"].values()) == {1}
    for at in moments[::50]:
        (online,) = past.execute(
            """SELECT count(*) FROM sessions WHERE created_at <= %s
               AND (ended_at > %s OR ended_at IS NULL AND last_heartbeat_at > %s - interval '2 minutes')""",
            (at, at, at),
        ).fetchone() or (None,)
        assert sum(points[at] for points in devices) == online
