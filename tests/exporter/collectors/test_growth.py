"""New, returning and lost users, ended trials and paid plans, and the month (docs/definitions.md#growth)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from exporter import recount
from exporter.collectors.activity import Activity, Before
from exporter.collectors.cost import TokenCost
from exporter.collectors.growth import Growth
from exporter.collectors.users import Plans, Users
from tests.rows import CLOCKS, INSTANT, NOON, collect, insert, only, user, users

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MONTH = 30 * DAY
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)

TRIALS, PAID = "hivesync_trials_ended_in_window", "hivesync_paid_plans_ended_in_window"
UNDATED = "hivesync_skipped_values{growth,undated_end}"


def growth(database: str, now: datetime = NOON, collector: Growth | None = None) -> dict[str, Any]:
    return collect(collector or Growth(Plans()), database, now=now)


def ended(metric: str, database: str, now: datetime = NOON, collector: Growth | None = None) -> dict[str, int]:
    """Users by their class, without zeros."""
    counts = only(growth(database, now, collector), metric)
    assert len(counts) == 4
    return {labels.removeprefix("30d,"): number for labels, number in counts.items() if number}


def before(database: str, now: datetime = NOON, collector: Activity | None = None) -> tuple[int, int]:
    """Returning and lost users."""
    found = only(collect(collector or Activity(Plans()), database, now=now), "hivesync_previously_active_users")
    return found["30d,returning"], found["30d,lost"]


@CLOCKS
def test_a_user_is_new_from_the_instant_of_creation_until_the_windows_length(
    now: datetime, database: str, connection: psycopg.Connection
) -> None:
    insert(connection, "users", email="new", created_at=now)
    collector = Growth(Plans())
    for age, expected in (
        (-INSTANT, (0, 0, 0)),
        (0 * DAY, (1, 1, 1)),
        (DAY - INSTANT, (1, 1, 1)),
        (DAY, (0, 1, 1)),
        (7 * DAY, (0, 0, 1)),
        (MONTH - INSTANT, (0, 0, 1)),
        (MONTH, (0, 0, 0)),
    ):
        found = only(growth(database, now + age, collector), "hivesync_new_users_in_window")
        assert tuple(found.values()) == expected, age


def test_a_deleted_user_is_no_new_user(database: str, connection: psycopg.Connection) -> None:
    for name, created_at in (("a", NOON - HOUR), ("b", NOON - HOUR), ("c", "infinity"), ("d", "-infinity")):
        insert(connection, "users", email=name, created_at=created_at)
    connection.execute("DELETE FROM users WHERE email = 'a'")
    assert set(only(growth(database), "hivesync_new_users_in_window").values()) == {1}


def test_users_leave_the_windows_on_the_instant_between_two_readings(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "READ_ALWAYS", 0)  # as with more than 100,000 users
    monkeypatch.setattr(recount, "ROWS_A_MINUTE", 1)
    plans = Plans()
    people, collector = Users(plans), Growth(plans)
    for number in range(8):
        insert(connection, "users", email=str(number), created_at=NOON - DAY + 90 * number * timedelta(seconds=1))
    (trial,) = users(connection, 1)
    insert(connection, "subscriptions", user_id=trial, plan="trial", trial_ends_at=NOON + 150 * timedelta(seconds=1))
    for minutes in range(6):
        now = NOON + minutes * MINUTE
        collect(people, database, now=now)
        found = growth(database, now, collector)
        assert collector.behind == 60 * minutes
        left = 1 + minutes * 60 // 90
        assert found["hivesync_new_users_in_window{24h}"] == 8 - left
        assert found[f"{TRIALS}{{30d,trial_expired}}"] == (minutes >= 3)


@pytest.mark.parametrize(
    ("trial_ends_at", "ended_at", "end"),
    [(HOUR, None, HOUR), (None, HOUR, HOUR), (2 * DAY, HOUR, 2 * DAY), (HOUR, 2 * DAY, 2 * DAY)],
    ids=["it ran out", "given up, without an end", "ran out, closed later", "given up before its end"],
)
def test_a_trial_ends_at_the_earlier_of_its_times(
    trial_ends_at: timedelta | None,
    ended_at: timedelta | None,
    end: timedelta,
    database: str,
    connection: psycopg.Connection,
) -> None:
    """Times are ages."""
    insert(
        connection,
        "subscriptions",
        user_id=user(connection, "tester"),
        plan=" Trial ",
        status="canceled",
        trial_ends_at=None if trial_ends_at is None else NOON - trial_ends_at,
        ended_at=None if ended_at is None else NOON - ended_at,
    )
    at = NOON - end
    assert ended(TRIALS, database, at - INSTANT) == {}
    assert sum(ended(TRIALS, database, at).values()) == 1
    collector = Growth(Plans())  # reads once for both
    assert sum(ended(TRIALS, database, at + MONTH - INSTANT, collector).values()) == 1
    assert ended(TRIALS, database, at + MONTH, collector) == {}


def test_a_trial_is_converted_if_its_user_is_paid_now(database: str, connection: psycopg.Connection) -> None:
    converted, lapsed, running, early = users(connection, 4)
    for who in (converted, lapsed, running):
        for days in (3, 5):  # several trials of one user are one
            insert(connection, "subscriptions", user_id=who, plan="trial", trial_ends_at=NOON - days * DAY)
    insert(connection, "subscriptions", user_id=converted, plan="pro", status="past_due")
    insert(connection, "subscriptions", user_id=lapsed, plan="pro", ended_at=NOON)
    insert(connection, "subscriptions", user_id=running, plan="trial", trial_ends_at=NOON + DAY)
    insert(connection, "subscriptions", user_id=early, plan="trial", trial_ends_at=NOON + DAY, ended_at=NOON - DAY)
    assert ended(TRIALS, database) == {"paid": 1, "trial": 1, "trial_expired": 1, "free": 1}


def test_a_paid_plan_is_lost_if_its_user_has_no_other(database: str, connection: psycopg.Connection) -> None:
    changed, left, tester, old, later = users(connection, 5)
    for who, at in ((changed, NOON), (left, NOON - DAY), (left, NOON - 2 * DAY), (tester, NOON - DAY)):
        insert(connection, "subscriptions", user_id=who, plan="pro", status="canceled", ended_at=at)
    insert(connection, "subscriptions", user_id=changed, plan="premium")
    insert(connection, "subscriptions", user_id=tester, plan="trial", trial_ends_at=NOON + DAY)
    insert(connection, "subscriptions", user_id=old, plan="pro", ended_at=NOON - MONTH)
    insert(connection, "subscriptions", user_id=later, plan="pro", status="canceled", ended_at=NOON + INSTANT)
    insert(connection, "subscriptions", user_id=later, plan="free", ended_at=NOON - DAY)
    collector = Growth(Plans())
    assert ended(PAID, database, NOON, collector) == {"paid": 1, "trial": 1, "free": 1}
    assert ended(PAID, database, NOON + INSTANT, collector) == {"paid": 1, "trial": 1, "free": 2}


def test_an_end_without_a_time_is_counted_apart(database: str, connection: psycopg.Connection) -> None:
    who = user(connection, "who")
    for plan, status in (("trial", "expired"), ("pro", "canceled"), ("pro", "active"), ("free", "canceled"), ("", "x")):
        insert(connection, "subscriptions", user_id=who, plan=plan, status=status)
    found = growth(database)
    assert found[UNDATED] == 2
    assert set(only(found, TRIALS).values()) == set(only(found, PAID).values()) == {0}


def test_an_orphan_has_no_end(database: str, connection: psycopg.Connection) -> None:
    connection.execute("SET session_replication_role = replica")
    missing = "00000000-0000-0000-0000-000000000000"
    insert(connection, "subscriptions", user_id=missing, plan="pro", status="canceled", ended_at=NOON - DAY)
    insert(connection, "subscriptions", user_id=missing, plan="trial", trial_ends_at=NOON - DAY)
    assert (ended(TRIALS, database), ended(PAID, database)) == ({}, {})


@pytest.mark.parametrize("lacking", ["subscriptions.trial_ends_at", "subscriptions.ended_at"])
def test_ends_that_cannot_be_known_are_not_counted_as_undated(
    lacking: str, database: str, connection: psycopg.Connection
) -> None:
    column = lacking.partition(".")[2]
    connection.execute(f"ALTER TABLE subscriptions DROP COLUMN {column}".encode())
    who = user(connection, "who")
    insert(connection, "subscriptions", user_id=who, plan="trial", status="expired")
    insert(connection, "subscriptions", user_id=who, plan="pro", status="canceled")
    assert growth(database, NOON, Growth(Plans(not_provided=[lacking])))[UNDATED] == 1


@CLOCKS
def test_a_user_of_the_30_days_before_is_lost_until_the_next_activity(
    now: datetime, database: str, connection: psycopg.Connection
) -> None:
    """As the windows move, with one reading of the history."""
    quiet, back = users(connection, 2)
    for who in (quiet, back):
        insert(connection, "sessions", user_id=who, created_at=now - MONTH)
    collector = Activity(Plans())
    assert before(database, now - INSTANT, collector) == (0, 0)
    assert before(database, now, collector) == (0, 2)
    insert(connection, "preview_jobs", user_id=back, created_at=now + MINUTE)
    assert before(database, now + MINUTE - INSTANT, collector) == (0, 2)
    assert before(database, now + MINUTE, collector) == (1, 1)
    assert before(database, now + MONTH - INSTANT) == (1, 1)
    assert before(database, now + MONTH) == (0, 0)


def test_users_before_are_those_of_the_window_before(database: str, connection: psycopg.Connection) -> None:
    daily, monthly, late = users(connection, 3)
    insert(connection, "ai_usage_events", user_id=daily, created_at=NOON - DAY)
    insert(connection, "ai_usage_events", user_id=daily, created_at=NOON - HOUR)
    insert(connection, "ai_usage_events", user_id=monthly, created_at=NOON - 40 * DAY)
    collector = Activity(Plans())
    before(database, NOON - MINUTE, collector)
    assert collector.content == Before(daily=0, monthly=1)
    before(database, NOON, collector)
    assert collector.content == Before(daily=1, monthly=1)
    insert(connection, "sessions", user_id=late, created_at=NOON - 40 * DAY)
    for halves in range(1, 49):  # the check of the past takes a day
        before(database, NOON + halves * HOUR / 2, collector)
    assert collector.content == Before(daily=1, monthly=2)


def test_a_row_deleted_from_the_window_before_is_gone_with_the_check_of_the_past(
    database: str, connection: psycopg.Connection
) -> None:
    (who,) = users(connection, 1)
    insert(connection, "sessions", user_id=who, created_at=NOON - 40 * DAY)
    insert(connection, "sessions", user_id=who, created_at=NOON - HOUR)
    collector = Activity(Plans())
    assert before(database, NOON, collector) == (1, 0)
    connection.execute("DELETE FROM sessions WHERE created_at < %s", [NOON - DAY])
    before(database, NOON + HOUR, collector)
    assert before(database, NOON + HOUR + MINUTE, collector) == (0, 0)


def test_the_month_begins_with_its_first_instant(database: str, connection: psycopg.Connection) -> None:
    first, last = users(connection, 2)
    insert(connection, "sessions", user_id=first, created_at=MIDNIGHT)
    insert(connection, "sessions", user_id=last, created_at=MIDNIGHT - INSTANT)
    insert(connection, "ai_usage_events", created_at=MIDNIGHT - DAY, completed_at=MIDNIGHT, status="failed")
    insert(connection, "ai_usage_events", created_at=MIDNIGHT - DAY, completed_at=MIDNIGHT - INSTANT)
    for now, active, requests in (
        (MIDNIGHT - INSTANT, 1, 1),
        (MIDNIGHT, 1, 1),
        (MIDNIGHT + 31 * DAY - INSTANT, 1, 1),
        (MIDNIGHT + 31 * DAY, 0, 0),
    ):
        found = collect(Activity(Plans()), database, now=now) | collect(TokenCost(None), database, now=now)
        assert found["hivesync_active_users_month_to_date"] == active, now
        assert found["hivesync_ai_requests_ended_month_to_date"] == requests, now
