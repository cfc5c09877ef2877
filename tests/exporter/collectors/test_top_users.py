"""The users with the most AI requests, against plain SQL."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta

import psycopg
import pytest

from exporter.collectors import top_users
from exporter.collectors.activity import Activity
from exporter.collectors.ai import Ai
from exporter.collectors.top_users import TopUser, TopUsers
from exporter.collectors.users import Plans, Users
from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources.postgres import microseconds
from exporter.windows.latest import LatestActivity
from exporter.windows.shared import SharedWindow
from exporter.windows.users import UserCounts
from tests.rows import NO_DATABASE, NOON, collect, insert, sources, user, users

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def shared() -> tuple[SharedWindow[UserCounts], SharedWindow[LatestActivity]]:
    return SharedWindow(Ai.name), SharedWindow(Activity.name)


class Table:
    """The collector and those that keep its windows, refreshed together as in the exporter."""

    def __init__(self, database: str) -> None:
        self._database = database
        plans = Plans()
        by_user, last_seen = shared()
        self.collector = TopUsers(by_user, last_seen, plans)
        self._all = (Users(plans), Activity(plans, last_seen), Ai(by_user), self.collector)

    def at(self, now: datetime) -> tuple[TopUser, ...]:
        async def refresh() -> None:
            async with sources(self._database, now=now) as opened:
                for collector in self._all:
                    assert collector is not self.collector or await collector.refresh(opened) == []
                    if collector is not self.collector:
                        await collector.refresh(opened)

        asyncio.run(refresh())
        assert self.collector.content is not None
        return self.collector.content


@pytest.fixture
def table(database: str) -> Table:
    return Table(database)


def ask(connection: psycopg.Connection, who: str, times: int, at: datetime) -> None:
    for _ in range(times):
        insert(connection, "ai_usage_events", user_id=who, created_at=at)


def from_scratch(connection: psycopg.Connection, now: datetime) -> dict[str, int]:
    """Requests by user id in the last seven days, with the start rounded to the minute."""
    minute = now - 7 * DAY
    start = minute if not minute.second and not minute.microsecond else minute.replace(second=0, microsecond=0) + MINUTE
    return dict(
        connection.execute(
            "SELECT user_id::text, count(*) FROM ai_usage_events WHERE created_at > %s AND created_at <= %s"
            " AND user_id IS NOT NULL GROUP BY 1",
            [start, now],
        ).fetchall()
    )


def counts(rows: tuple[TopUser, ...]) -> dict[str, int]:
    return {row.user_id: row.ai_requests for row in rows}


def test_a_row_says_who_of_which_plan_was_last_seen_when_and_asked_how_often(
    table: Table, connection: psycopg.Connection
) -> None:
    ada = user(connection, "ada")
    insert(connection, "subscriptions", user_id=ada, plan="pro", started_at=NOON - 9 * DAY)
    ask(connection, ada, 3, NOON - 2 * HOUR)
    ask(connection, ada, 2, NOON - 3 * DAY)
    insert(connection, "sessions", user_id=ada, created_at=NOON - HOUR, last_heartbeat_at=NOON)
    assert table.at(NOON) == (TopUser(ada, "ada", "paid", microseconds(NOON - HOUR), 5),)


def test_who_has_no_user_name_is_shown_by_e_mail(table: Table, connection: psycopg.Connection) -> None:
    for name in (None, ""):
        ask(connection, insert(connection, "users", email=f"{name}@example.org", username=name), 1, NOON - HOUR)
    assert sorted(row.user for row in table.at(NOON)) == ["@example.org", "None@example.org"]


def test_the_twenty_who_asked_most_are_shown_most_first(table: Table, connection: psycopg.Connection) -> None:
    for number, who in enumerate(users(connection, 25), start=1):
        ask(connection, who, number, NOON - (number % 6) * DAY - HOUR)
    rows = table.at(NOON)
    assert [row.ai_requests for row in rows] == list(range(25, 5, -1))


def test_nobody_asked_anything(table: Table, connection: psycopg.Connection) -> None:
    insert(connection, "ai_usage_events", created_at=NOON - HOUR)
    assert table.at(NOON) == ()


def test_requests_come_age_and_go_as_time_passes(table: Table, connection: psycopg.Connection) -> None:
    """A collector that only reads entering and leaving rows, at odd steps, equals plain SQL each time."""
    chance, now = random.Random(5), NOON
    everybody = users(connection, 12)
    for _ in range(400):
        ask(connection, chance.choice(everybody), 1, NOON - timedelta(seconds=chance.randrange(0, 8 * 86_400)))
    for _ in range(60):
        step = chance.choice((15, 61, 900, 7_000, 17_000))
        now += timedelta(seconds=step)
        for who in chance.sample(everybody, 4):
            late = timedelta(seconds=chance.randrange(0, min(4 * step, 200)))
            ask(connection, who, chance.randrange(1, 4), now - late)
        assert counts(table.at(now)) == from_scratch(connection, now)
    assert now > NOON + 2 * DAY


def test_a_refresh_reads_only_what_enters_and_leaves(
    table: Table, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(connection, user(connection, "ada"), 2, NOON - 2 * DAY)
    table.at(NOON)

    async def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(TopUsers, "_count", never)
    assert [row.ai_requests for row in table.at(NOON + MINUTE)] == [2]


def test_what_late_and_deleted_rows_left_is_gone_a_day_later(table: Table, connection: psycopg.Connection) -> None:
    ada, bob = users(connection, 2)
    ask(connection, ada, 3, NOON - 3 * DAY)
    table.at(NOON)
    connection.execute("DELETE FROM ai_usage_events WHERE user_id = %s", [ada])
    ask(connection, bob, 2, NOON - 3 * DAY)
    assert counts(table.at(NOON + HOUR)) == {ada: 3}
    assert counts(table.at(NOON + DAY + HOUR)) == {bob: 2}


def test_rows_that_leave_and_were_never_counted_show_no_user(table: Table, connection: psycopg.Connection) -> None:
    (late,) = users(connection, 1)
    assert table.at(NOON) == ()
    ask(connection, late, 1, NOON - 7 * DAY + 2 * MINUTE)
    assert table.at(NOON + 5 * MINUTE) == ()


def test_who_was_deleted_is_not_shown(table: Table, connection: psycopg.Connection) -> None:
    ada, bob = users(connection, 2)
    ask(connection, ada, 3, NOON - 3 * DAY)
    ask(connection, bob, 1, NOON - HOUR)
    assert list(counts(table.at(NOON))) == [ada, bob]
    connection.execute("DELETE FROM users WHERE id = %s", [ada])
    assert list(counts(table.at(NOON + MINUTE))) == [bob]


def test_ids_with_quotes_and_backslashes_are_found(database: str, connection: psycopg.Connection) -> None:
    for table, column in (("users", "id"), ("ai_usage_events", "user_id")):
        for constraint in connection.execute(
            "SELECT conname, conrelid::regclass::text FROM pg_constraint WHERE confrelid = 'users'::regclass"
        ).fetchall():
            connection.execute(f"ALTER TABLE {constraint[1]} DROP CONSTRAINT {constraint[0]}".encode())
        connection.execute(f"ALTER TABLE {table} ALTER {column} TYPE text".encode())
    odd = "a\"b\\c,{d}' e"
    insert(connection, "users", id=odd, email="odd@example.org", username="odd")
    ask(connection, odd, 2, NOON - HOUR)
    plans = Plans()
    by_user, last_seen = shared()
    connection.execute("ALTER TABLE sessions ALTER user_id TYPE text")
    connection.execute("ALTER TABLE preview_jobs ALTER user_id TYPE text")
    connection.execute("ALTER TABLE subscriptions ALTER user_id TYPE text")
    collector = TopUsers(by_user, last_seen, plans)
    for each in (Activity(plans, last_seen), Ai(by_user), collector):
        collect(each, database, now=NOON)
    assert collector.content is not None
    assert [(row.user_id, row.user, row.ai_requests) for row in collector.content] == [(odd, "odd", 2)]


def test_without_the_windows_it_needs_it_fails_after_a_while(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_users, "READY_SECONDS", 0.01)
    with pytest.raises(CollectionFailed, match="windows_not_filled"):
        collect(TopUsers(*shared(), Plans()), database)


def test_where_postgresql_is_down_that_is_said_at_once() -> None:
    with pytest.raises(SourceUnavailable):
        collect(TopUsers(*shared(), Plans()), NO_DATABASE)
