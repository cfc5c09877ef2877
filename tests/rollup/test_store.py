"""Storing a day: whole, repeatable, and with a queue depth that never falls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from rollup import store
from rollup.connection import connected
from rollup.daily import Row
from rollup.errors import RunFailed
from tests.rollup.rolling import DAY, stored

D = date(2026, 3, 17)
ROW = Row(D, 1, 2, 3, 4, 5.5, 6)


def do(database: str, what: Callable[[AsyncConnection[Any]], Awaitable[Any]]) -> Any:
    async def done() -> Any:
        async with connected(database) as connection:
            return await what(connection)

    return asyncio.run(done())


def write(database: str, row: Row) -> None:
    do(database, lambda connection: store.write(connection, row))


def test_a_day_is_written_anew_as_a_whole(database: str, connection: psycopg.Connection) -> None:
    other = Row(D + DAY, 9, 9, 9, 9, 9.0, 9)
    later = Row(D, 10, 20, 30, 40, None, 7)
    for row in (other, ROW, later):
        write(database, row)
    assert stored(connection) == [later, other]


def test_the_depth_is_never_lowered(database: str, connection: psycopg.Connection) -> None:
    for before, then, after in ((6, 5, 6), (6, None, 6), (None, 0, 0), (5, 6, 6), (None, None, None)):
        connection.execute("DELETE FROM usage_analytics_daily")
        write(database, replace(ROW, max_queue_depth=before))
        write(database, replace(ROW, max_queue_depth=then))
        assert stored(connection) == [replace(ROW, max_queue_depth=after)]


def test_a_depth_that_comes_later_raises_its_day_and_makes_none(database: str, connection: psycopg.Connection) -> None:
    write(database, replace(ROW, max_queue_depth=None))
    for depth, expected in ((3, 3), (2, 3), (8, 8)):
        do(database, partial(store.write_depth, day=D, depth=depth))
        assert stored(connection) == [replace(ROW, max_queue_depth=expected)]
    do(database, lambda connection: store.write_depth(connection, D + DAY, 9))
    assert len(stored(connection)) == 1


def test_days_that_python_has_no_date_for_are_left_alone(database: str, connection: psycopg.Connection) -> None:
    write(database, ROW)
    for day in ("infinity", "-infinity", "0044-03-15 BC", "12026-01-01"):
        connection.execute("INSERT INTO usage_analytics_daily VALUES (%s, 0, 0, 0, 0, NULL, NULL)", (day,))
    assert do(database, store.read_depths) == {D: 6}


def test_more_than_the_table_holds_is_an_error_that_names_no_value(
    database: str, connection: psycopg.Connection
) -> None:
    with pytest.raises(RunFailed) as failed:
        write(database, replace(ROW, dau=2**31))
    assert str(failed.value) == "PostgreSQL: numeric_value_out_of_range"
    assert stored(connection) == []
