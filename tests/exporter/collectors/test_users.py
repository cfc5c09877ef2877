"""Plan classes, users and projects (docs/definitions.md#plan-class)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from exporter import recount
from exporter.collectors.users import Plans, Users
from tests.rows import INSTANT, NOON, collect, counted, insert, only, user, users

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)

Row = Mapping[str, Any]

RUNNING_TRIAL: Row = {"plan": "trial", "trial_ends_at": NOON + INSTANT}
EXPIRED_TRIAL: Row = {"plan": "trial", "trial_ends_at": NOON}
PRO: Row = {"plan": "pro"}
FREE: Row = {"plan": "free"}


def by_plan(database: str) -> dict[str, int]:
    return only(collect(Users(Plans()), database, now=NOON), "hivesync_users")


def class_of(connection: psycopg.Connection, database: str, rows: Sequence[Row]) -> str:
    """The class of one user with these subscriptions; fails unless there is exactly one."""
    somebody = user(connection, "somebody")
    for row in rows:
        insert(connection, "subscriptions", user_id=somebody, started_at=NOON - 90 * DAY, **row)
    counts = by_plan(database)
    assert sorted(counts.values()) == [0, 0, 0, 1]
    return next(plan for plan, number in counts.items() if number)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], "free", id="no row"),
        pytest.param([FREE], "free", id="a free row"),
        pytest.param([PRO], "paid", id="a paid plan"),
        pytest.param([{"plan": "enterprise-2027"}], "paid", id="a paid plan of a name we never heard of"),
        pytest.param([{**PRO, "status": "past_due"}], "paid", id="a payment is due"),
        pytest.param([{**PRO, "status": "canceled"}], "free", id="canceled"),
        pytest.param([{**PRO, "status": "expired"}], "free", id="expired"),
        pytest.param([{**PRO, "status": "paused"}], "free", id="a status we never heard of"),
        pytest.param([{**PRO, "ended_at": NOON + INSTANT}], "paid", id="ends in an instant"),
        pytest.param([{**PRO, "ended_at": NOON}], "free", id="ends now"),
        pytest.param([{**PRO, "ended_at": NOON - INSTANT}], "free", id="ended an instant ago"),
        pytest.param([{**PRO, "status": "past_due", "ended_at": NOON + DAY}], "paid", id="due and ends tomorrow"),
        pytest.param([{**PRO, "status": "canceled", "ended_at": NOON + DAY}], "free", id="canceled, ends tomorrow"),
        pytest.param([{**PRO, "trial_ends_at": NOON - DAY}], "paid", id="a paid plan that was a trial before"),
        pytest.param([{**FREE, "trial_ends_at": NOON - DAY}], "free", id="a free row with a trial's end"),
        pytest.param([RUNNING_TRIAL], "trial", id="a trial"),
        pytest.param([EXPIRED_TRIAL], "trial_expired", id="a trial that ends now"),
        pytest.param([{"plan": "trial", "trial_ends_at": NOON - INSTANT}], "trial_expired", id="a trial that ended"),
        pytest.param([{"plan": "trial"}], "free", id="a trial without an end"),
        pytest.param([{**RUNNING_TRIAL, "status": "canceled"}], "trial", id="a trial whose status says canceled"),
        pytest.param([{**RUNNING_TRIAL, "ended_at": NOON + INSTANT}], "trial", id="a trial stopped in an instant"),
        pytest.param([{**RUNNING_TRIAL, "ended_at": NOON}], "free", id="a trial stopped early is free until its end"),
        pytest.param([{**EXPIRED_TRIAL, "ended_at": NOON - DAY}], "trial_expired", id="... and expired from then on"),
        pytest.param([RUNNING_TRIAL, PRO], "paid", id="paid goes before trial"),
        pytest.param([EXPIRED_TRIAL, PRO], "paid", id="paid goes before trial_expired"),
        pytest.param([EXPIRED_TRIAL, RUNNING_TRIAL], "trial", id="trial goes before trial_expired"),
        pytest.param([FREE, EXPIRED_TRIAL], "trial_expired", id="trial_expired goes before free"),
        pytest.param([{**PRO, "ended_at": NOON}, RUNNING_TRIAL], "trial", id="paid once, a trial now"),
        pytest.param([{**PRO, "ended_at": NOON}, EXPIRED_TRIAL, FREE], "trial_expired", id="paid once, trial over"),
        pytest.param([{**PRO, "ended_at": NOON}, {**PRO, "plan": "premium"}], "paid", id="from one plan to another"),
        pytest.param([PRO, PRO, RUNNING_TRIAL, RUNNING_TRIAL, EXPIRED_TRIAL], "paid", id="everything twice"),
        pytest.param([{**PRO, "ended_at": "infinity"}], "paid", id="a plan that ends never"),
        pytest.param([{**PRO, "ended_at": "-infinity"}], "free", id="a plan that ended always"),
        pytest.param([{"plan": "trial", "trial_ends_at": "infinity"}], "trial", id="a trial that ends never"),
    ],
)
def test_a_user_is_of_the_first_class_that_holds(
    rows: Sequence[Row], expected: str, database: str, connection: psycopg.Connection
) -> None:
    assert class_of(connection, database, rows) == expected


def test_every_user_is_counted_once_and_every_class_is_there(database: str, connection: psycopg.Connection) -> None:
    assert by_plan(database) == {"paid": 0, "trial": 0, "trial_expired": 0, "free": 0}
    subscribers = users(connection, 10)
    for index, row in enumerate([PRO, PRO, PRO, RUNNING_TRIAL, RUNNING_TRIAL, EXPIRED_TRIAL, FREE]):
        insert(connection, "subscriptions", user_id=subscribers[index], **row)
    insert(connection, "subscriptions", user_id=subscribers[0], **EXPIRED_TRIAL)
    assert by_plan(database) == {"paid": 3, "trial": 2, "trial_expired": 1, "free": 4}


def test_a_deleted_user_is_of_no_class(database: str, connection: psycopg.Connection) -> None:
    leaver, stayer = users(connection, 2)
    for who in (leaver, stayer):
        insert(connection, "subscriptions", user_id=who, **PRO)
    connection.execute("DELETE FROM users WHERE id = %s", [leaver])
    assert by_plan(database) == {"paid": 1, "trial": 0, "trial_expired": 0, "free": 0}


def test_a_subscription_of_a_user_who_is_not_there_counts_for_nobody(
    database: str, connection: psycopg.Connection
) -> None:
    """With views in place of HiveSync's tables, no foreign key keeps users and subscriptions consistent."""
    connection.execute("ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_user_id_fkey")
    leaver, _ = users(connection, 2)
    insert(connection, "subscriptions", user_id=leaver, **PRO)
    connection.execute("DELETE FROM users WHERE id = %s", [leaver])
    assert by_plan(database) == {"paid": 0, "trial": 0, "trial_expired": 0, "free": 1}


def test_a_class_is_as_of_the_reading(database: str, connection: psycopg.Connection) -> None:
    """One collector over the whole life of a trial, up to a paid plan."""
    collector, somebody = Users(Plans()), user(connection, "somebody")
    insert(connection, "subscriptions", user_id=somebody, plan="trial", trial_ends_at=NOON + DAY)

    def now_is(now: Any) -> str:
        counts = only(collect(collector, database, now=now), "hivesync_users")
        return next(plan for plan, number in counts.items() if number)

    assert now_is(NOON) == "trial"
    assert now_is(NOON + DAY - INSTANT) == "trial"
    assert now_is(NOON + DAY) == "trial_expired"
    insert(connection, "subscriptions", user_id=somebody, plan="pro", ended_at=NOON + 3 * DAY)
    counted(connection)
    assert now_is(NOON + DAY + MINUTE) == "paid"
    assert now_is(NOON + 3 * DAY) == "trial_expired"


def test_projects_are_counted_with_and_without_an_owner(database: str, connection: psycopg.Connection) -> None:
    assert collect(Users(Plans()), database)["hivesync_projects"] == 0
    owner = user(connection, "owner")
    for name in ("one", "two"):
        insert(connection, "projects", name=name, owner_id=owner)
    insert(connection, "projects", name="nobody's")
    assert collect(Users(Plans()), database)["hivesync_projects"] == 3
    connection.execute("DELETE FROM users")
    assert collect(Users(Plans()), database)["hivesync_projects"] == 3


# ---- re-reading, by the number of rows ----


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few users, treated as more than 100,000."""
    monkeypatch.setattr(recount, "READ_ALWAYS", 0)
    monkeypatch.setattr(recount, "ROWS_A_MINUTE", 1)


def test_up_to_many_users_every_refresh_shows_them_as_they_are(database: str, connection: psycopg.Connection) -> None:
    """Even within an instant, before PostgreSQL has updated the counters of the tables."""
    collector = Users(Plans())
    for number, somebody in enumerate(users(connection, 3)):
        insert(connection, "projects", name="new")
        insert(connection, "subscriptions", user_id=somebody, **PRO)
        values = collect(collector, database, now=NOON + number * INSTANT)
        assert (values["hivesync_projects"], values["hivesync_users{paid}"]) == (number + 1, number + 1)
        assert (collector.behind, collector.promised_age(60)) == (0, 75)


@pytest.mark.usefixtures("many")
def test_very_many_users_are_shown_as_they_were_at_most_ten_minutes_ago(
    database: str, connection: psycopg.Connection
) -> None:
    collector = Users(Plans())
    buyer, *_ = users(connection, 8)

    def shown(minutes: int) -> tuple[int, int, float]:
        values = collect(collector, database, now=NOON + minutes * MINUTE)
        return values["hivesync_users{paid}"], values["hivesync_projects"], collector.behind

    assert shown(0) == (0, 0, 0)
    insert(connection, "subscriptions", user_id=buyer, plan="pro")
    insert(connection, "projects", name="new")
    seen = [shown(minutes) for minutes in range(1, 9)]
    assert seen == [(0, 0, 60 * minutes) for minutes in range(1, 8)] + [(1, 1, 0)]
    assert collector.promised_age(60) == 8 * 60 + 75 < 600


@pytest.mark.usefixtures("many")
def test_asked_for_afresh_it_is_counted_at_once(database: str, connection: psycopg.Connection) -> None:
    collector = Users(Plans())
    users(connection, 8)
    collect(collector, database, now=NOON)
    insert(connection, "projects", name="new")
    user(connection, "newcomer")
    assert collect(collector, database, now=NOON + MINUTE)["hivesync_projects"] == 0
    collector.read_afresh()
    values = collect(collector, database, now=NOON + MINUTE)
    assert (values["hivesync_projects"], values["hivesync_users{free}"]) == (1, 9)
