"""Paid plans by name, and rows of users that do not exist (docs/definitions.md#plan-class)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from exporter.collectors.activity import ACTIVE_USERS, Activity
from exporter.collectors.users import USERS, Plans, Users
from exporter.definitions import Terms, read_definitions
from exporter.spec import MetricSpec
from exporter.vocabulary import PLAN_CLASSES
from tests.rows import NOON, by_name, collect, insert, only, sources, user, users

DAY = timedelta(days=1)


def classes(database: str, *free_plans: str) -> dict[str, int]:
    """The users by plan class; fails unless the collector and the definition agree."""
    plans = Plans(free_plans) if free_plans else Plans()
    counts = only(collect(Users(plans), database, now=NOON), "hivesync_users")
    assert from_definition(database, USERS, *free_plans) == counts
    return counts


def from_definition(database: str, spec: MetricSpec, *free_plans: str) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        async with sources(database, now=NOON) as opened, opened.postgres.transaction() as transaction:
            terms = Terms(free_plans=free_plans) if free_plans else Terms()
            return by_name(await read_definitions([spec], transaction, terms))

    return only(asyncio.run(read()), spec.name)


def subscribe(connection: psycopg.Connection, *plans: str | None, **columns: object) -> list[str]:
    """Insert a user for each of these plans; returns their ids."""
    owners = users(connection, len(plans))
    for owner, plan in zip(owners, plans, strict=True):
        insert(connection, "subscriptions", user_id=owner, plan=plan, **columns)
    return owners


def test_words_of_plans_are_told_in_any_case(database: str, connection: psycopg.Connection) -> None:
    subscribe(connection, "Pro", "Trial", "Free", "Admin", trial_ends_at=NOON + 2 * DAY)
    assert classes(database) == {"paid": 1, "trial": 1, "trial_expired": 0, "free": 2}


@pytest.mark.parametrize("plan", ["", "  ", None])
def test_no_plan_is_not_a_paid_plan(plan: str | None, database: str, connection: psycopg.Connection) -> None:
    connection.execute("ALTER TABLE subscriptions ALTER plan DROP NOT NULL")
    subscribe(connection, plan)
    assert classes(database) == {"paid": 0, "trial": 0, "trial_expired": 0, "free": 1}


@pytest.mark.parametrize(
    ("free_plans", "paid"),
    [
        (("free", "admin"), 2),
        (("Free", " COMMUNITY ", "admin"), 1),
        (("community",), 3),
        (("free", "admin", "trial"), 2),
    ],
)
def test_the_plans_that_are_not_paid_are_a_setting(
    free_plans: Sequence[str], paid: int, database: str, connection: psycopg.Connection
) -> None:
    subscribe(connection, "free", "Admin", "Community", "pro")
    subscriber = user(connection, "tester")
    insert(connection, "subscriptions", user_id=subscriber, plan="trial", trial_ends_at=NOON + DAY)
    counts = classes(database, *free_plans)
    assert (counts["paid"], counts["trial"], sum(counts.values())) == (paid, 1, 5)


@pytest.mark.parametrize("written", ["\u00c9tudiant", "\u00e9tudiant", "\u00c9TUDIANT", " \u00e9Tudiant "])
@pytest.mark.parametrize("setting", ["\u00e9tudiant", "\u00c9tudiant"])
def test_free_plans_may_have_letters_beyond_ascii(
    setting: str, written: str, database: str, connection: psycopg.Connection
) -> None:
    subscribe(connection, written, "pro")
    assert classes(database, "free", setting) == {"paid": 1, "trial": 0, "trial_expired": 0, "free": 1}


def test_a_plan_never_heard_of_is_logged_once_with_its_class(database: str, connection: psycopg.Connection) -> None:
    subscribe(connection, "Pro", "premium", "free", "admin", "trial", "Business", "business ")
    subscribe_canceled = user(connection, "canceled")
    insert(connection, "subscriptions", user_id=subscribe_canceled, plan="legacy", status="canceled")
    collector = Users(Plans())
    with capture_logs() as logged:
        for days in range(3):
            collector.read_afresh()
            collect(collector, database, now=NOON + days * DAY)
    unknown = [(entry["plan"], entry["plan_class"]) for entry in logged if entry["event"] == "plan.unknown"]
    assert unknown == [("business", "paid")]


def test_plans_that_are_many_are_not_logged_without_end(database: str, connection: psycopg.Connection) -> None:
    subscribe(connection, *(f"plan-{number}" for number in range(150)))
    collector = Users(Plans())
    with capture_logs() as logged:
        for _ in range(3):
            collector.read_afresh()
            counts = only(collect(collector, database, now=NOON), "hivesync_users")
    assert counts["paid"] == 150
    assert len({entry["plan"] for entry in logged}) == len(logged) == 100


def orphan(connection: psycopg.Connection) -> None:
    """Delete all users, as a restore with triggers disabled leaves their rows behind."""
    connection.execute("ALTER TABLE users DISABLE TRIGGER ALL; DELETE FROM users; ALTER TABLE users ENABLE TRIGGER ALL")


def test_rows_of_users_that_are_not_there_belong_to_no_class(database: str, connection: psycopg.Connection) -> None:
    subscribe(connection, "pro", "premium", "free")
    insert(connection, "subscriptions", user_id=user(connection, "a"), plan="trial", trial_ends_at=NOON + DAY)
    insert(connection, "subscriptions", user_id=user(connection, "b"), plan="trial", trial_ends_at=NOON - DAY)
    orphan(connection)
    user(connection, "the only one")
    assert classes(database) == {"paid": 0, "trial": 0, "trial_expired": 0, "free": 1}
    values = collect(Users(Plans()), database, now=NOON)
    assert values["hivesync_skipped_values{users,orphan}"] == 4  # a free plan has no effect and is not read


def test_active_users_that_are_not_there_have_no_plan(database: str, connection: psycopg.Connection) -> None:
    (payer,) = subscribe(connection, "pro")
    insert(connection, "ai_usage_events", user_id=payer, created_at=NOON)
    orphan(connection)
    counts = only(collect(Activity(Plans()), database, now=NOON), "hivesync_active_users")
    assert counts == from_definition(database, ACTIVE_USERS)
    assert counts["24h,free"] == counts["30d,free"] == sum(counts.values()) / 2 == 1


def test_no_count_of_users_is_ever_negative(database: str, connection: psycopg.Connection) -> None:
    subscribe(connection, "pro", "pro", "trial", trial_ends_at=NOON - DAY)
    orphan(connection)
    assert set(classes(database)) == set(PLAN_CLASSES)
    assert min(classes(database).values()) == 0
