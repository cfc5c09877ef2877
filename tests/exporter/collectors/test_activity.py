"""DAU and MAU by plan class (docs/definitions.md#activity, docs/definitions.md#active-users)."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg
import pytest

from exporter import recount
from exporter.collectors.activity import Activity
from exporter.collectors.users import Plans, Users
from tests.rows import CLOCKS, INSTANT, NOON, collect, insert, only, user, users

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

ACTIVITIES = pytest.mark.parametrize("table", ["sessions", "ai_usage_events", "preview_jobs"])


def active(database: str, now: datetime = NOON, collector: Activity | None = None) -> dict[str, int]:
    """Active users by `window,plan`, without zeros."""
    counts = only(collect(collector or Activity(Plans()), database, now=now), "hivesync_active_users")
    assert len(counts) == 8
    return {labels: number for labels, number in counts.items() if number}


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("sessions", {"kind": "app"}),
        ("sessions", {"kind": "live_view"}),
        ("ai_usage_events", {}),
        ("preview_jobs", {}),
    ],
    ids=["login", "live view join", "ai request", "preview request"],
)
def test_every_kind_of_activity_makes_a_user_active(
    table: str, kind: dict[str, str], database: str, connection: psycopg.Connection
) -> None:
    somebody, _ = users(connection, 2)
    insert(connection, table, user_id=somebody, created_at=NOON - HOUR, **kind)
    assert active(database) == {"24h,free": 1, "30d,free": 1}


@ACTIVITIES
@CLOCKS
def test_a_window_is_open_at_its_start_and_closed_at_now(
    table: str, now: datetime, database: str, connection: psycopg.Connection
) -> None:
    somebody = user(connection, "somebody")
    for age, expected in (
        (-INSTANT, {}),
        (0 * DAY, {"24h,free": 1, "30d,free": 1}),
        (DAY - INSTANT, {"24h,free": 1, "30d,free": 1}),
        (DAY, {"30d,free": 1}),
        (30 * DAY - INSTANT, {"30d,free": 1}),
        (30 * DAY, {}),
    ):
        insert(connection, table, user_id=somebody, created_at=now - age)
        assert active(database, now) == expected, age
        connection.execute(f"DELETE FROM {table}".encode())


@CLOCKS
def test_a_user_enters_and_leaves_the_windows_on_the_instant(
    now: datetime, database: str, connection: psycopg.Connection
) -> None:
    collector = Activity(Plans())
    insert(connection, "preview_jobs", user_id=user(connection, "somebody"), created_at=now)
    assert active(database, now - INSTANT, collector) == {}
    assert active(database, now, collector) == {"24h,free": 1, "30d,free": 1}
    assert active(database, now + DAY - INSTANT, collector) == {"24h,free": 1, "30d,free": 1}
    assert active(database, now + DAY, collector) == {"30d,free": 1}
    assert active(database, now + 30 * DAY - INSTANT, collector) == {"30d,free": 1}
    assert active(database, now + 30 * DAY, collector) == {}


def test_a_user_with_many_activities_is_one(database: str, connection: psycopg.Connection) -> None:
    somebody, somebody_else = users(connection, 2)
    for table in ("sessions", "ai_usage_events", "preview_jobs"):
        for age in (MINUTE, HOUR, 3 * DAY):
            insert(connection, table, user_id=somebody, created_at=NOON - age)
    insert(connection, "sessions", user_id=somebody_else, created_at=NOON - 3 * DAY)
    assert active(database) == {"24h,free": 1, "30d,free": 2}


@ACTIVITIES
def test_a_row_without_a_user_makes_nobody_active(table: str, database: str, connection: psycopg.Connection) -> None:
    insert(connection, table, created_at=NOON - HOUR)
    assert active(database) == {}


def test_what_is_not_a_login_or_a_request_makes_nobody_active(database: str, connection: psycopg.Connection) -> None:
    """A row in `users`, a heartbeat of an old session and the end of an old job are no activity."""
    sleeper = user(connection, "sleeper")
    connection.execute("UPDATE users SET created_at = %(now)s, last_login_at = %(now)s", {"now": NOON})
    insert(connection, "sessions", user_id=sleeper, created_at=NOON - 40 * DAY, last_heartbeat_at=NOON)
    insert(connection, "ai_usage_events", user_id=sleeper, created_at=NOON - 40 * DAY, completed_at=NOON)
    insert(connection, "subscriptions", user_id=sleeper, plan="pro", started_at=NOON)
    assert active(database) == {}


def test_active_users_are_split_by_their_class_as_of_now(database: str, connection: psycopg.Connection) -> None:
    """The plan class at the time of the activity does not matter."""
    payer, tester, tired, free, none, absent = users(connection, 6)
    insert(connection, "subscriptions", user_id=payer, plan="pro", started_at=NOON - SECOND)
    insert(connection, "subscriptions", user_id=tester, plan="trial", trial_ends_at=NOON + SECOND)
    insert(connection, "subscriptions", user_id=tired, plan="trial", trial_ends_at=NOON - SECOND)
    insert(connection, "subscriptions", user_id=free, plan="free")
    insert(connection, "subscriptions", user_id=absent, plan="pro")
    for somebody, age in ((payer, DAY), (tester, HOUR), (tired, HOUR), (free, HOUR), (none, 2 * DAY)):
        insert(connection, "ai_usage_events", user_id=somebody, created_at=NOON - age)
    assert active(database) == {
        "24h,trial": 1,
        "24h,trial_expired": 1,
        "24h,free": 1,
        "30d,paid": 1,
        "30d,trial": 1,
        "30d,trial_expired": 1,
        "30d,free": 2,
    }


def test_a_trial_ends_on_the_instant_between_two_readings_of_the_plans(
    database: str, connection: psycopg.Connection
) -> None:
    collector, tester = Activity(Plans()), user(connection, "tester")
    insert(connection, "subscriptions", user_id=tester, plan="trial", trial_ends_at=NOON + 30 * SECOND)
    insert(connection, "sessions", user_id=tester, created_at=NOON - HOUR)
    assert active(database, NOON, collector) == {"24h,trial": 1, "30d,trial": 1}
    assert active(database, NOON + 30 * SECOND - INSTANT, collector) == {"24h,trial": 1, "30d,trial": 1}
    assert active(database, NOON + 30 * SECOND, collector) == {"24h,trial_expired": 1, "30d,trial_expired": 1}


def test_a_new_subscription_is_seen_within_two_minutes(database: str, connection: psycopg.Connection) -> None:
    collector, buyer = Activity(Plans()), user(connection, "buyer")
    insert(connection, "sessions", user_id=buyer, created_at=NOON - HOUR)
    assert active(database, NOON, collector) == {"24h,free": 1, "30d,free": 1}
    insert(connection, "subscriptions", user_id=buyer, plan="pro")
    assert active(database, NOON + 2 * MINUTE, collector) == {"24h,paid": 1, "30d,paid": 1}


def test_a_split_by_plan_is_as_old_as_the_reading_of_the_plans(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "READ_ALWAYS", 0)  # as with more than 100,000 users
    monkeypatch.setattr(recount, "ROWS_A_MINUTE", 1)
    users(connection, 8)
    plans = Plans()
    people, collector = Users(plans), Activity(plans)
    for minutes in range(10):
        now = NOON + minutes * MINUTE
        collect(people, database, now=now)
        active(database, now, collector)
        assert collector.behind == 60 * (minutes % 8)
    assert collector.promised_age(60) == 600


def test_an_activity_committed_almost_five_minutes_late_is_seen(database: str, connection: psycopg.Connection) -> None:
    collector, slow = Activity(Plans()), user(connection, "slow")
    assert active(database, NOON, collector) == {}
    insert(connection, "sessions", user_id=slow, created_at=NOON - 5 * MINUTE + INSTANT)
    assert active(database, NOON + MINUTE, collector) == {"24h,free": 1, "30d,free": 1}


def test_a_deleted_user_is_gone_with_the_hourly_resync(database: str, connection: psycopg.Connection) -> None:
    collector = Activity(Plans())
    leaver, stayer = users(connection, 2)
    for somebody in (leaver, stayer):
        insert(connection, "sessions", user_id=somebody, created_at=NOON - HOUR)
    insert(connection, "subscriptions", user_id=leaver, plan="pro")
    assert active(database, NOON, collector) == {"24h,paid": 1, "24h,free": 1, "30d,paid": 1, "30d,free": 1}
    connection.execute("DELETE FROM users WHERE id = %s", [leaver])
    active(database, NOON + HOUR, collector)
    assert active(database, NOON + HOUR + 15 * SECOND, collector) == {"24h,free": 1, "30d,free": 1}
    assert active(database) == {"24h,free": 1, "30d,free": 1}
