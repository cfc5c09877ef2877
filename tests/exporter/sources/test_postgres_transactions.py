"""Transactions of PostgreSQL: one clock, one snapshot, exact times, and integers as arrays."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from exporter.errors import CollectionFailed
from exporter.sources import postgres as source
from exporter.sources.postgres import Row, Transaction, microseconds, moment
from tests.exporter.sources.postgres_asking import ask, opened, read
from tests.rows import NOON, user


def test_now_is_the_databases_clock_and_the_same_for_the_whole_transaction(database: str) -> None:
    async def compare(transaction: Transaction) -> None:
        ((told,),) = await transaction.rows("SELECT now()")
        assert transaction.now == told
        assert transaction.now.tzinfo == UTC
        assert moment(transaction.now_us) == told
        await transaction.rows("SELECT pg_sleep(0.01)")
        assert await transaction.rows("SELECT %(now)s = now()") == [(True,)]

    ask(database, compare)


def test_a_clock_that_a_test_has_fixed_is_the_transactions(database: str) -> None:
    async def told(transaction: Transaction) -> Any:
        return transaction.now, await transaction.rows("SELECT %(now)s::timestamptz")

    assert ask(database, told, NOON) == (NOON, [(NOON,)])


def test_a_transaction_sees_one_snapshot(database: str, connection: psycopg.Connection) -> None:
    async def twice(transaction: Transaction) -> list[Row]:
        before = await transaction.rows("SELECT count(*) FROM users")
        user(connection, "newcomer")
        return before + await transaction.rows("SELECT count(*) FROM users")

    assert ask(database, twice) == [(0,), (0,)]


@pytest.mark.parametrize("timezone", ["Pacific/Auckland", "America/St_Johns"])
def test_days_and_times_are_utc_whatever_the_databases_time_zone(
    timezone: str, database: str, connection: psycopg.Connection
) -> None:
    name = conninfo_to_dict(database)["dbname"]
    connection.execute(sql.SQL("ALTER DATABASE {} SET timezone = {}").format(sql.Identifier(str(name)), timezone))
    query = "SELECT date_trunc('day', timestamptz '2026-03-17 23:30:00 UTC'), '2026-03-17 23:30'::timestamptz"
    midnight = datetime(2026, 3, 17, tzinfo=UTC)
    assert ask(database, lambda t: t.rows(query)) == [(midnight, midnight + timedelta(hours=23, minutes=30))]


def test_many_integers_come_as_one_array(database: str) -> None:
    async def arrays(transaction: Transaction) -> list[list[list[int]]]:
        queries = {
            "SELECT n, -n FROM generate_series(1::bigint, 3) AS n ORDER BY n": 2,
            "SELECT 9223372036854775807, -9223372036854775807 - 1, 0::bigint": 3,
            "SELECT 1::bigint WHERE false": 1,
            "SELECT 1::bigint, 2::bigint WHERE %(now)s IS NULL": 2,
        }
        return [(await transaction.integers(query, columns)).tolist() for query, columns in queries.items()]

    assert ask(database, arrays) == [[[1, -1], [2, -2], [3, -3]], [[2**63 - 1, -(2**63), 0]], [], []]


def test_many_integers_come_in_blocks_that_ascend(database: str) -> None:
    query = "SELECT hashint8extended(n, 0), n FROM generate_series(1::bigint, %(many)s) AS n"

    async def blocks(transaction: Transaction) -> list[Any]:
        taken: list[Any] = []
        await transaction.integers_in_blocks(query, 2, {"many": 10_000}, taken.append)
        assert await transaction.rows("SELECT 1") == [(1,)]
        return [taken, await transaction.integers(query, 2, {"many": 10_000})]

    taken, whole = ask(database, blocks)
    assert len(taken) == source.BLOCKS
    assert max(map(len, taken)) < 300
    assert all(before[:, 0].max() < after[:, 0].min() for before, after in pairwise(taken))
    assert sorted(map(tuple, np.concatenate(taken).tolist())) == sorted(map(tuple, whole.tolist()))


def test_no_integers_are_no_blocks(database: str) -> None:
    async def blocks(transaction: Transaction) -> list[Any]:
        taken: list[Any] = []
        await transaction.integers_in_blocks("SELECT 1::bigint WHERE %(no)s", 1, {"no": False}, taken.append)
        return taken

    assert ask(database, blocks) == []


@pytest.mark.parametrize("when", ["before the first block", "between two"])
def test_blocks_that_nobody_waits_for_any_more_give_their_connection_back(when: str, database: str) -> None:
    pause = "pg_sleep(60)" if when == "before the first block" else "pg_sleep(0)"
    query = f"SELECT n << 50, n FROM generate_series(-8000::bigint, 8000) AS n, {pause}"

    async def attempt() -> list[Row]:
        async with opened(database) as postgres:

            async def cut_short() -> None:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_later(0.1, task.cancel)

                def cut(_: object) -> None:
                    task.cancel()

                async with postgres.transaction() as transaction:
                    await transaction.integers_in_blocks(query, 2, {}, cut)

            for _ in range(5):
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.create_task(cut_short())
            return await read(postgres, "SELECT 1")

    assert asyncio.run(attempt()) == [(1,)]


def test_what_fails_in_a_savepoint_leaves_the_rest(database: str) -> None:
    async def attempt(transaction: Transaction) -> list[Row]:
        with pytest.raises(CollectionFailed, match="division_by_zero"):
            async with transaction.savepoint():
                await transaction.rows("SELECT 1 / 0")
        return await transaction.rows("SELECT 2")

    assert ask(database, attempt) == [(2,)]


@pytest.mark.parametrize(
    "time", [NOON, NOON + timedelta(microseconds=1), datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]
)
def test_microseconds_and_moments_are_exact_inverses(time: datetime) -> None:
    assert moment(microseconds(time)) == time
    assert microseconds(time) == round(time.timestamp()) * 1_000_000 + (time.microsecond if time >= NOON else -1)


_PREPARED = "SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements ORDER BY 1"


async def _prepared(postgres: source.Postgres, *, fails: bool = False) -> list[Row]:
    """Return the statements that the connection keeps after two transactions with a query of each kind."""
    for _ in range(2):
        with suppress(CollectionFailed):
            async with postgres.transaction() as transaction:
                assert await transaction.rows("SELECT 1", plan_once=True) == [(1,)]
                assert await transaction.rows("SELECT 2") == [(2,)]
                if fails:
                    await transaction.rows("SELECT 1 / 0")
    return await read(postgres, _PREPARED)


def test_the_plan_of_a_constant_query_is_kept_on_request_alone(database: str) -> None:
    async def attempt() -> dict[str, int]:
        async with opened(database) as postgres:
            return dict(await _prepared(postgres))

    kept = asyncio.run(attempt())
    assert kept["SELECT 1"] == 2
    assert "SELECT 2" not in kept


def test_a_query_works_again_after_a_failure_has_dropped_its_plan(database: str) -> None:
    async def attempt() -> list[Row]:
        async with opened(database) as postgres:
            assert await _prepared(postgres, fails=True) == []
            return await _prepared(postgres)

    assert ("SELECT 1", 2) in asyncio.run(attempt())
