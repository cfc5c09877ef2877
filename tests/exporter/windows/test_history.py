"""The plan of each reading, and the account of it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import psycopg
import pytest

from exporter.collector import Sources
from exporter.sources.postgres import microseconds
from exporter.windows import DAY, MINUTE, Part
from exporter.windows.cursor import SOMEWHAT_LATE
from exporter.windows.history import History, ReadPlan
from exporter.windows.versions import TimedRows
from tests.rows import NOON, by_name, counted, insert, sources

ROWS = [TimedRows("preview_jobs", "preview_jobs.created_at")]
STEP = timedelta(minutes=1)


async def read(history: History, opened: Sources, now: datetime) -> ReadPlan:
    """The plan of one reading without corrections."""
    opened.postgres.fixed_now = now
    async with history.reading(opened.postgres) as plan:
        pass
    return plan


def account(history: History) -> dict[str, float]:
    return {name.partition("{")[2][:-1]: value for name, value in by_name(history.counters()).items()}


def test_the_first_plan_is_a_fill_and_the_next_reads_the_last_minutes(database: str) -> None:
    history = History("it", DAY, ROWS)

    async def scenario() -> None:
        async with sources(database) as opened:
            now = microseconds(NOON)
            first = await read(history, opened, NOON)
            assert (first.fill, first.corrects, first.new) == (True, False, Part(now - DAY, now))
            second = await read(history, opened, NOON + timedelta(seconds=15))
            assert (second.fill, second.new) == (False, Part(now - SOMEWHAT_LATE, now + 15_000_000))
            assert second.begin == now + 15_000_000 - DAY

    asyncio.run(scenario())


def test_a_body_that_fails_leaves_the_history_as_it_was(database: str) -> None:
    history = History("it", DAY, ROWS)

    async def scenario() -> None:
        async with sources(database, now=NOON) as opened:
            with pytest.raises(ValueError, match="of its own"):
                async with history.reading(opened.postgres):
                    raise ValueError("of its own")
            assert account(history)["it,filled"] == 0
            assert (await read(history, opened, NOON)).fill
            assert account(history)["it,filled"] == 1

    asyncio.run(scenario())


def test_parts_are_rechecked_only_where_rows_have_changed(database: str, connection: psycopg.Connection) -> None:
    history = History("it", DAY, ROWS)
    for hours in range(1, 20):
        insert(connection, "preview_jobs", created_at=NOON - timedelta(hours=hours, minutes=-1))
    late = NOON - timedelta(hours=5, minutes=30)

    async def parts_of_an_hour(opened: Sources, start: datetime) -> list[Part]:
        parts: list[Part] = []
        for step in range(1, 61):
            parts += (await read(history, opened, start + step * STEP)).recheck
        return parts

    async def scenario() -> None:
        async with sources(database) as opened:
            await read(history, opened, NOON)
            assert await parts_of_an_hour(opened, NOON) == []
            before = account(history)["it,skipped"]
            assert before >= 24
            insert(connection, "preview_jobs", created_at=late)
            counted(connection)
            parts = await parts_of_an_hour(opened, NOON + timedelta(hours=1))
            assert len(set(parts)) == 1
            assert parts[0].start < microseconds(late) <= parts[0].end
            assert account(history)["it,reread"] == len(parts)

    asyncio.run(scenario())


def test_a_part_that_the_body_did_not_read_is_not_noted(database: str, connection: psycopg.Connection) -> None:
    history = History("it", DAY, ROWS)

    async def scenario() -> None:
        async with sources(database) as opened:
            await read(history, opened, NOON)
            insert(connection, "preview_jobs", created_at=NOON - timedelta(hours=5, minutes=30))
            counted(connection)
            seen = 0
            for step in range(1, 125):  # two turns of each hour
                opened.postgres.fixed_now = NOON + step * STEP
                async with history.reading(opened.postgres) as plan:
                    seen += len(plan.recheck)
                    plan.recheck = []
            assert seen >= 2
            assert account(history)["it,reread"] == 0

    asyncio.run(scenario())


def test_a_window_that_begins_with_the_calendar_is_planned_from_there(database: str) -> None:
    def midnight(now: datetime) -> int:
        return microseconds(now.replace(hour=0, minute=0, second=0, microsecond=0)) - 1

    history = History("it", DAY, ROWS, begins=midnight)

    async def scenario() -> None:
        async with sources(database) as opened:
            plan = await read(history, opened, NOON)
            assert plan.new == Part(midnight(NOON), microseconds(NOON))
            assert plan.begin == midnight(NOON)
            assert (await read(history, opened, NOON + timedelta(hours=13))).begin == midnight(NOON + timedelta(days=1))

    asyncio.run(scenario())


def test_a_doubt_is_a_fill_that_corrects_an_hour_after_the_last(database: str) -> None:
    history = History("it", 2 * DAY, ROWS)

    async def scenario() -> None:
        async with sources(database) as opened:
            await read(history, opened, NOON)
            opened.postgres.fixed_now = NOON + STEP
            async with history.reading(opened.postgres) as plan:
                plan.doubtful = True
            plans = [await read(history, opened, NOON + step * STEP) for step in range(2, 63)]
            fills = [plan for plan in plans if plan.fill]
            assert [(plan.now - microseconds(NOON)) // MINUTE for plan in fills] == [61]
            assert all(plan.corrects for plan in fills)

    asyncio.run(scenario())


def test_without_rows_nothing_of_the_past_is_checked(database: str) -> None:
    history = History("it", DAY, [], hourly=False)

    async def scenario() -> None:
        async with sources(database) as opened:
            plans = [await read(history, opened, NOON + step * STEP) for step in range(100)]
            assert [plan.recheck for plan in plans] == [[]] * 100
            assert [plan.fill for plan in plans] == [True] + [False] * 99

    asyncio.run(scenario())
