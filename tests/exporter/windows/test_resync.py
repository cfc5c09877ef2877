"""Changes older than the re-read minutes, found by checking the past: within a time, at a cost, and with an account.

Time passes in steps of a minute, so that no gap is a reason to refill the windows: every correction is that of a
resync.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from exporter.collector import Collector, Sources
from exporter.collectors.activity import Activity
from exporter.collectors.ai import Ai
from exporter.collectors.cost import TokenCost
from exporter.collectors.latency import Latency
from exporter.collectors.previews import Previews
from exporter.collectors.users import Plans
from exporter.definitions import Terms, read_definitions
from exporter.prices import Prices
from exporter.sources.postgres import Transaction
from exporter.verify import TOLERANCE
from exporter.windows.resync import UNEXPLAINED_ROWS
from tests.rows import NOON, by_name, counted, insert, sources, user, users

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PRICES = Prices.model_validate({"models": {"gpt-4.1": {"prompt": 2, "completion": 8}}})


class Watched:
    """A filled collector, refreshed every minute."""

    def __init__(self, collector: Collector, opened: Sources) -> None:
        self._collector, self._sources = collector, opened
        self.now = NOON
        self.shown: dict[str, Any] = {}

    async def refresh(self, after: timedelta = MINUTE) -> None:
        self.now += after
        self._sources.postgres.fixed_now = self.now
        self.shown = by_name(
            [s for s in await self._collector.refresh(self._sources) if s.spec.name != "hivesync_skipped_values"]
        )

    async def truth(self) -> dict[str, Any]:
        async with self._sources.postgres.transaction(fill=True) as transaction:
            return by_name(await read_definitions(self._collector.specs, transaction, Terms(PRICES)))

    async def is_right(self) -> bool:
        return self.shown == pytest.approx(await self.truth(), rel=TOLERANCE)

    async def minutes_until_right(self, at_most: int = 70) -> int:
        for minutes in range(1, at_most + 1):
            await self.refresh()
            if await self.is_right():
                return minutes
        raise AssertionError(f"wrong after {at_most} minutes: {self.shown} for {await self.truth()}")

    def told(self) -> dict[str, int]:
        """`hivesync_resyncs_total` by result, and `corrections`."""
        values = by_name(self._collector.counters())  # type: ignore[attr-defined]
        name = self._collector.name
        told = {
            result: values[f"hivesync_resyncs_total{{{name},{result}}}"] for result in ("filled", "reread", "skipped")
        }
        return told | {"corrections": values[f"hivesync_resync_corrections_total{{{name}}}"]}


@asynccontextmanager
async def watched(collector: Collector, database: str) -> AsyncIterator[Watched]:
    async with sources(database, now=NOON) as opened:
        watching = Watched(collector, opened)
        await watching.refresh(timedelta(0))
        assert await watching.is_right()
        yield watching


def job(
    connection: psycopg.Connection, at: datetime, who: str | None, table: str = "ai_usage_events", took: int = 20
) -> str:
    tokens = {"model": "gpt-4.1", "prompt_tokens": 100, "completion_tokens": 10} if table == "ai_usage_events" else {}
    columns = {"created_at": at, "completed_at": at + timedelta(seconds=took), "status": "succeeded", "user_id": who}
    return insert(connection, table, **columns, **tokens)


COLLECTORS: dict[str, Callable[[], Collector]] = {
    "activity": lambda: Activity(Plans()),
    "ai": Ai,
    "previews": Previews,
    "latency": Latency,
    "cost": lambda: TokenCost(PRICES),
}

RECENT = [("activity", 20), ("ai", 20), ("previews", 20), ("latency", 0.5), ("cost", 20)]


@pytest.mark.parametrize(("name", "hours"), RECENT)
@pytest.mark.parametrize("what", ["deleted", "late"])
def test_what_changed_in_the_last_day_is_right_within_the_hour(
    what: str, name: str, hours: float, database: str, connection: psycopg.Connection
) -> None:
    table = "preview_jobs" if name == "previews" else "ai_usage_events"
    gone, stays, comes = users(connection, 3)
    at = NOON - hours * HOUR
    row = job(connection, at, gone, table)
    job(connection, at - MINUTE, stays, table, took=30)
    if name == "ai":
        job(connection, at - MINUTE, gone)  # so that the requests per user change

    async def scenario() -> None:
        async with watched(COLLECTORS[name](), database) as watching:
            if what == "deleted":
                connection.execute(f"DELETE FROM {table} WHERE id = %s".encode(), [row])
            else:
                job(connection, at, comes, table, took=40)
            counted(connection)
            await watching.refresh(timedelta(0))
            before = watching.told()["corrections"]
            assert not await watching.is_right()
            assert await watching.minutes_until_right(18 if name == "latency" else 64)
            assert watching.told()["corrections"] - before == {"cost": 110}.get(name, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["activity", "cost"])
@pytest.mark.parametrize("what", ["a deletion", "an import", "a deleted user", "a truncated table"])
def test_what_the_counters_show_is_right_within_the_hour_however_old_it_is(
    what: str, name: str, database: str, connection: psycopg.Connection
) -> None:
    gone, stays = users(connection, 2)
    old = NOON - 10 * DAY
    job(connection, old, gone)
    job(connection, old - DAY, stays)

    async def scenario() -> None:
        async with watched(COLLECTORS[name](), database) as watching:
            match what:
                case "a deletion":
                    connection.execute("DELETE FROM ai_usage_events WHERE user_id = %s", [gone])
                case "an import":
                    for number in range(UNEXPLAINED_ROWS + 1):
                        job(connection, old + number * MINUTE, user(connection, f"imported-{number}"))
                case "a deleted user":
                    connection.execute("DELETE FROM ai_usage_events WHERE user_id = %s", [gone])
                    connection.execute("DELETE FROM users WHERE id = %s", [gone])
                case _:
                    connection.execute("TRUNCATE ai_usage_events")
            counted(connection)
            assert await watching.minutes_until_right() <= 64
            assert watching.told()["filled"] == 2
            expected = {"an import": UNEXPLAINED_ROWS + 1, "a truncated table": 2}.get(what, 1)
            assert watching.told()["corrections"] == expected * (110 if name == "cost" else 1)

    asyncio.run(scenario())


def test_a_user_whose_rows_lost_their_owner_is_found_by_the_deletion(
    database: str, connection: psycopg.Connection
) -> None:
    (leaver,) = users(connection, 1)
    insert(connection, "sessions", user_id=leaver, created_at=NOON - 12 * DAY)
    insert(connection, "sessions", user_id=leaver, created_at=NOON - 2 * HOUR)

    async def scenario() -> None:
        async with watched(Activity(Plans()), database) as watching:
            connection.execute("DELETE FROM users WHERE id = %s", [leaver])
            counted(connection)
            assert await watching.minutes_until_right() <= 64

    asyncio.run(scenario())


def test_a_latest_activity_that_is_no_longer_there_is_a_reason_to_fill(
    database: str, connection: psycopg.Connection
) -> None:
    """Without a deletion: the row moves to another user, and the earlier activity of its user is unknown."""
    giver, taker = users(connection, 2)
    insert(connection, "sessions", user_id=giver, created_at=NOON - 12 * DAY)
    row = insert(connection, "sessions", user_id=giver, created_at=NOON - 2 * HOUR)

    async def scenario() -> None:
        async with watched(Activity(Plans()), database) as watching:
            connection.execute("UPDATE sessions SET user_id = %s WHERE id = %s", [taker, row])
            counted(connection)
            assert await watching.minutes_until_right() <= 64
            assert watching.shown["hivesync_active_users{24h,free}"] == 1
            assert watching.shown["hivesync_active_users{30d,free}"] == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["activity", "cost"])
@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_what_no_counter_shows_is_right_within_a_day(
    busy: bool, name: str, database: str, connection: psycopg.Connection
) -> None:
    somebody, other = users(connection, 2)
    row = job(connection, NOON - 10 * DAY, somebody)

    async def scenario() -> None:
        async with watched(COLLECTORS[name](), database) as watching:
            job(connection, NOON - 10 * DAY, other)
            connection.execute("UPDATE ai_usage_events SET prompt_tokens = 7 WHERE id = %s", [row])
            counted(connection)
            for _ in range(24 * 6 + 1):
                if busy:
                    connection.execute("UPDATE ai_usage_events SET provider = 'somebody'")
                    counted(connection)
                await watching.refresh(10 * MINUTE)
            assert await watching.is_right()
            assert watching.told()["filled"] == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("name", COLLECTORS)
def test_only_parts_in_which_something_was_written_are_read_again(
    name: str, database: str, connection: psycopg.Connection
) -> None:
    table, somebody = "preview_jobs" if name == "previews" else "ai_usage_events", user(connection, "somebody")
    for number in range(1, 27 * 6):
        job(connection, NOON - number * 10 * MINUTE, somebody, table)
    counted(connection)
    parts = {"latency": 7}.get(name, 25)  # parts per hour

    async def scenario() -> None:
        async with watched(COLLECTORS[name](), database) as watching:
            before = watching.told()
            for refreshes in (60, 60, 60):  # in the last hour the counters do not change, and no part is checked
                for _ in range(refreshes):
                    await watching.refresh()
                told = watching.told()
                assert told["reread"] == before["reread"]
                assert told["skipped"] - before["skipped"] >= parts // 2 - 1
                before = told
            connection.execute("UPDATE ai_usage_events SET provider = 'x'; UPDATE preview_jobs SET error_kind = NULL")
            counted(connection)
            for _ in range(60):
                await watching.refresh()
            told = watching.told()
            if name != "latency":  # its last hour has no rows by then
                assert told["reread"] - before["reread"] >= 21
            before = told
            for _ in range(60):
                connection.execute(
                    "UPDATE ai_usage_events SET provider = 'y' WHERE created_at < %s", [NOON - 26 * HOUR]
                )
                counted(connection)
                await watching.refresh()
            told = watching.told()
            assert told["reread"] - before["reread"] <= (2 if name in {"activity", "cost"} else 0)
            assert (told["filled"], told["corrections"]) == (1, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", COLLECTORS)
def test_where_changes_are_unknown_everything_is_right_within_the_hour(
    name: str, database: str, connection: psycopg.Connection
) -> None:
    table = "preview_jobs" if name == "previews" else "ai_usage_events"
    connection.execute("CREATE SCHEMA seen")
    for view in ("users", "subscriptions", "sessions", "ai_usage_events", "preview_jobs"):
        connection.execute(f"CREATE VIEW seen.{view} AS SELECT * FROM public.{view}".encode())
    gone, stays = users(connection, 2)
    age = {"activity": 10 * DAY, "cost": 10 * DAY, "latency": 40 * MINUTE}.get(name, 20 * HOUR)
    row = job(connection, NOON - age, gone, table)
    job(connection, NOON - age, stays, table, took=30)

    async def scenario() -> None:
        async with watched(COLLECTORS[name](), f"{database}?options=-csearch_path%3Dseen") as watching:
            connection.execute(f"DELETE FROM {table} WHERE id = %s".encode(), [row])
            assert await watching.minutes_until_right() <= 64
            for _ in range(130):
                await watching.refresh()
            assert watching.told()["skipped"] == 0

    asyncio.run(scenario())


def test_a_correction_is_told_once_and_what_is_new_is_none(database: str, connection: psycopg.Connection) -> None:
    somebody = user(connection, "somebody")

    async def scenario() -> None:
        async with watched(Ai(), database) as watching:
            for _ in range(130):
                job(connection, watching.now + timedelta(seconds=40), somebody)
                job(connection, watching.now - 4 * MINUTE, somebody)  # late, but read by the next refresh
                await watching.refresh()
                assert await watching.is_right()
            assert watching.told()["corrections"] == 0
            for _ in range(3):
                job(connection, watching.now - HOUR, somebody)
            counted(connection)
            for _ in range(130):
                await watching.refresh()
            assert watching.told()["corrections"] == 3

    asyncio.run(scenario())


def test_what_the_counters_showed_to_a_refresh_that_failed_is_not_forgotten(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(connection, NOON - 10 * DAY, user(connection, "somebody"))
    integers = Transaction.integers

    async def fail(transaction: Transaction, query: str, columns: int, parameters: Any = None) -> Any:
        del columns, parameters
        await transaction.rows("SELECT 1 / 0")
        raise AssertionError(query)

    async def scenario() -> None:
        async with watched(Activity(Plans()), database) as watching:
            for _ in range(40):
                await watching.refresh()
            connection.execute("DELETE FROM ai_usage_events")
            counted(connection)
            monkeypatch.setattr(Transaction, "integers", fail)
            for _ in range(40):
                with pytest.raises(Exception, match="division_by_zero"):
                    await watching.refresh()
            monkeypatch.setattr(Transaction, "integers", integers)
            assert await watching.minutes_until_right() <= 3

    asyncio.run(scenario())


def test_a_refresh_that_fails_leaves_its_turn_to_the_next(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(connection, NOON - 20 * HOUR, user(connection, "somebody"), "preview_jobs")
    integers = Transaction.integers

    async def fail(transaction: Transaction, query: str, columns: int, parameters: Any = None) -> Any:
        del columns, parameters
        await transaction.rows("SELECT 1 / 0")
        raise AssertionError(query)

    async def scenario() -> None:
        async with watched(Previews(), database) as watching:
            connection.execute("DELETE FROM preview_jobs")
            counted(connection)
            monkeypatch.setattr(Transaction, "integers", fail)
            for _ in range(50):
                with pytest.raises(Exception, match="division_by_zero"):
                    await watching.refresh()
            monkeypatch.setattr(Transaction, "integers", integers)
            assert await watching.minutes_until_right() <= 14
            assert watching.told()["filled"] == 1

    asyncio.run(scenario())
