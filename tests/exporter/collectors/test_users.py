"""Plan classes, users and projects (contract §2 "plan class")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from exporter import changes
from exporter.collectors.users import Plans, Users
from exporter.sources.postgres import Transaction
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
    """The class of one user with these subscriptions, who must be in that one alone."""
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
    """Where HiveSync's tables are seen through views, nothing keeps the two in step."""
    connection.execute("ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_user_id_fkey")
    leaver, _ = users(connection, 2)
    insert(connection, "subscriptions", user_id=leaver, **PRO)
    connection.execute("DELETE FROM users WHERE id = %s", [leaver])
    assert by_plan(database) == {"paid": 0, "trial": 0, "trial_expired": 0, "free": 1}


def test_a_class_is_as_of_the_reading(database: str, connection: psycopg.Connection) -> None:
    """One collector over a trial's whole life, on to a paid plan."""
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


# ---- read when it has changed ----


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read whole, from now on."""
    read: list[str] = []

    def note(method: str) -> None:
        ask = getattr(Transaction, method)

        async def noting(transaction: Transaction, query: str, *more: Any) -> Any:
            read.extend(table for table in ("users", "subscriptions", "projects") if f"FROM {table}" in query)
            return await ask(transaction, query, *more)

        monkeypatch.setattr(Transaction, method, noting)

    note("rows")
    note("integers_in_blocks")
    monkeypatch.setattr(changes, "CHEAP", 60_000_000)  # however slow this machine is
    return read


def test_what_stands_still_is_not_read_again(
    database: str, connection: psycopg.Connection, readings: list[str]
) -> None:
    collector, somebody = Users(Plans()), user(connection, "somebody")
    counted(connection)

    def read(minutes: float) -> list[str]:
        readings.clear()
        collect(collector, database, now=NOON + minutes * MINUTE)
        return sorted(readings)

    everything = ["projects", "subscriptions", "users"]
    assert [read(0), read(1), read(2), read(3)] == [everything, everything, [], []]
    connection.execute("UPDATE users SET last_login_at = now()")
    counted(connection)
    assert read(4) == []  # a login changes no count
    for minutes, (table, columns) in enumerate(
        {"subscriptions": {"user_id": somebody, "plan": "pro"}, "projects": {"name": "new"}}.items()
    ):
        insert(connection, table, **columns)
        counted(connection)
        assert [read(5 + 4 * minutes + later) for later in range(3)] == [everything, everything, []]
    connection.execute("UPDATE subscriptions SET status = 'canceled'")
    counted(connection)
    assert [read(13), read(14), read(15)] == [everything, everything, []]
    assert read(75) == everything


def test_what_is_dear_to_read_is_at_most_ten_minutes_old(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "CHEAP", -1_000_000)  # as if all took a second more
    collector = Users(Plans())

    def shown(now: datetime) -> tuple[int, int]:
        values = collect(collector, database, now=now)
        return values["hivesync_users{paid}"], values["hivesync_projects"]

    for hours in reversed(range(changes.MEASURED)):
        assert shown(NOON - hours * timedelta(hours=1)) == (0, 0)
    insert(connection, "subscriptions", user_id=user(connection, "buyer"), plan="pro")
    insert(connection, "projects", name="new")
    counted(connection)
    seen = [shown(NOON + minutes * MINUTE) for minutes in range(11)]
    assert (seen[8], seen[10]) == ((0, 0), (1, 1))


def test_through_views_everything_is_read_at_every_look(
    database: str, connection: psycopg.Connection, readings: list[str]
) -> None:
    connection.execute("CREATE SCHEMA seen")
    for table in ("users", "subscriptions", "projects"):
        connection.execute(f"CREATE VIEW seen.{table} AS SELECT * FROM public.{table}".encode())
    collector = Users(Plans())
    url = f"{database}?options=-csearch_path%3Dseen"
    insert(connection, "projects", name="one")
    assert collect(collector, url, now=NOON)["hivesync_projects"] == 1
    insert(connection, "projects", name="two")
    readings.clear()
    assert collect(collector, url, now=NOON + MINUTE)["hivesync_projects"] == 2
    assert sorted(readings) == ["projects", "subscriptions", "users"]


def test_asked_for_afresh_it_is_counted_at_once(database: str, connection: psycopg.Connection) -> None:
    collector = Users(Plans())
    for minutes in range(3):
        collect(collector, database, now=NOON + minutes * MINUTE)
    insert(connection, "projects", name="new")
    user(connection, "newcomer")
    assert collect(collector, database, now=NOON + 2 * MINUTE)["hivesync_projects"] == 0
    collector.read_afresh()
    values = collect(collector, database, now=NOON + 2 * MINUTE)
    assert (values["hivesync_projects"], values["hivesync_users{free}"]) == (1, 1)
