"""Pieces of a long reading: their lengths, and complete rows whatever each statement takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exporter.collectors import build_collectors
from exporter.errors import CollectionFailed
from exporter.settings import Settings
from exporter.sources import postgres as source
from exporter.sources.postgres import Transaction, microseconds
from exporter.sources.refusals import STATEMENT_TIMEOUT
from exporter.state import StateFile
from exporter.windows import DAY, HOUR, MINUTE, Integers, Part
from exporter.windows.pieces import Pace, in_pieces
from tests.exporter.sources.postgres_asking import opened
from tests.rows import WITHIN_A_MINUTE, by_name, insert, sources, users
from tests.scenario import settings_for

NOW = microseconds(WITHIN_A_MINUTE)
MONTH = Part(NOW - 30 * DAY, NOW)
LIMIT = 0.5
ROW_SECONDS = 0.02
SPREAD = (timedelta(minutes=40), timedelta(hours=5), timedelta(hours=9))
"""Times between 30 rows of each table. Those of the last day, and of the six days before it, take longer than the limit
each."""


def in_proportion(seconds_per_hour: float) -> Callable[[int], float]:
    return lambda length: seconds_per_hour * length / HOUR


def lengths(seconds: Callable[[int], float], whole: int = 30 * DAY) -> list[int]:
    """The lengths of the pieces of a month, each of which takes that long."""
    pace, found = Pace(), []
    while whole > 0:
        found.append(pace.length)
        whole -= pace.length
        pace.took(seconds(pace.length))
    return found


def test_a_small_history_is_few_pieces() -> None:
    assert lengths(in_proportion(0.0001)) == [HOUR, DAY, 24 * DAY, 576 * DAY]


def test_pieces_of_a_large_history_approach_the_goal() -> None:
    assert set(lengths(in_proportion(100 / 24))[3:]) == {28 * MINUTE}


def test_no_piece_that_takes_longer_in_proportion_is_far_from_the_goal() -> None:
    for seconds_per_hour in (0.01, 0.1, 1.0, 2.0, 5.0, 50.0):
        seconds = in_proportion(seconds_per_hour)
        durations = [seconds(length) for length in lengths(seconds)]
        assert max(durations[2:]) < 4, seconds_per_hour


def test_a_table_that_is_read_whole_for_each_piece_is_few_pieces() -> None:
    assert len(lengths(lambda length: 4.0 + length / DAY * 0.01)) <= 11


def test_pieces_are_as_short_as_a_minute_and_no_shorter() -> None:
    pace = Pace()
    shorter = []
    while pace.cut_short():
        shorter.append(pace.length)
    assert shorter == [15 * MINUTE, 3 * MINUTE, MINUTE]
    pace.took(0.001)
    assert pace.length == MINUTE, "as long as the piece that was cut short"


def test_a_length_that_was_cut_short_is_not_tried_again() -> None:
    pace = Pace()
    pace.took(0.01)
    assert pace.length == DAY
    pace.cut_short()
    pace.took(0.01)
    assert pace.length == 12 * HOUR


def test_pieces_are_the_whole_part_without_overlap(database: str) -> None:
    async def read(part: Part, longest: int | None) -> list[Part]:
        async def nothing(_: Part) -> None:
            pass

        async with opened(database) as postgres, postgres.transaction(fill=True) as transaction:
            return [piece async for piece, _ in in_pieces(transaction, part, nothing, longest=longest)]

    for part in (MONTH, Part(NOW - 1, NOW), Part(NOW - MINUTE, NOW), Part(NOW - DAY, NOW - DAY + 90 * MINUTE)):
        for longest in (None, HOUR):
            pieces = asyncio.run(read(part, longest))
            assert [pieces[0].end, pieces[-1].start] == [part.end, part.start]
            assert all(newer.start == older.end for newer, older in pairwise(pieces))
            assert not any(piece.end % MINUTE for piece in pieces[1:])
            assert longest is None or max(piece.end - piece.start for piece in pieces) < longest + MINUTE


def test_a_query_that_fails_otherwise_is_not_repeated(database: str) -> None:
    tried = []

    async def read() -> None:
        async with opened(database) as postgres, postgres.transaction(fill=True) as transaction:

            async def cancelled(piece: Part) -> None:
                tried.append(piece)
                await transaction.rows("SELECT pg_cancel_backend(pg_backend_pid())")

            async for _ in in_pieces(transaction, MONTH, cancelled):
                pass

    with pytest.raises(CollectionFailed):
        asyncio.run(read())
    assert len(tried) == 1


@pytest.fixture
def slow(connection: psycopg.Connection) -> None:
    """Rows over a fortnight, in tables behind views; to read one takes a while."""
    (first, second) = users(connection, 2)
    for number, ago in enumerate([row * step for step in SPREAD for row in range(1, 31)]):
        at = WITHIN_A_MINUTE - ago
        who = first if number % 3 else second
        insert(connection, "sessions", user_id=who, created_at=at)
        ended = {"created_at": at, "completed_at": at + timedelta(seconds=5)}
        status = "succeeded" if number % 3 == 0 else "failed"
        insert(connection, "ai_usage_events", user_id=who, status=status, model="m", prompt_tokens=number, **ended)
        insert(connection, "preview_jobs", user_id=who, status=status, **ended)
    connection.execute(
        "CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql COST 100000 AS"
        f" $$ BEGIN PERFORM pg_sleep({ROW_SECONDS}); RETURN true; END $$"
    )
    connection.execute("CREATE SCHEMA slow")
    for table in ("sessions", "ai_usage_events", "preview_jobs"):
        connection.execute(f"CREATE VIEW slow.{table} AS SELECT * FROM public.{table} WHERE slowly()".encode())


FILLED = ("activity", "ai", "previews", "latency", "cost", "charts", "incidents", "top_users")


@pytest.mark.usefixtures("slow")
def test_every_window_is_filled_though_no_statement_may_take_long(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = asyncio.run(fill(database, tmp_path))
    monkeypatch.setattr(source, "STATEMENT_SECONDS", LIMIT)
    slow_url = f"{database}?options=-csearch_path%3Dslow,public"
    with pytest.raises(CollectionFailed) as whole:
        asyncio.run(counted(slow_url))
    assert whole.value.kind == STATEMENT_TIMEOUT
    assert asyncio.run(fill(slow_url, tmp_path)) == plain


async def counted(url: str) -> None:
    async with opened(url) as postgres, postgres.transaction(fill=True) as transaction:
        await transaction.rows("SELECT count(*) FROM sessions")


async def fill(url: str, folder: Path) -> dict[str, Any]:
    """The values and the content of all collectors that fill a window."""
    settings: Settings = settings_for(url, "redis://127.0.0.1:1/0", folder, collectors=",".join(("users", *FILLED)))
    collectors = build_collectors(settings, lambda name: StateFile(folder, name))
    async with sources(url, now=WITHIN_A_MINUTE) as opened_sources:
        samples = await asyncio.gather(*(collector.refresh(opened_sources) for collector in collectors))
    found = by_name([sample for some in samples for sample in some])
    return found | {collector.name: repr(getattr(collector, "content", None)) for collector in collectors}


def test_a_part_that_takes_too_long_at_any_length_fails(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "STATEMENT_SECONDS", 0.05)
    tried: list[int] = []

    async def read() -> None:
        async with opened(database) as postgres, postgres.transaction(fill=True) as transaction:
            async for _ in in_pieces(transaction, MONTH, lambda piece: sleeping(transaction, piece)):
                pass

    async def sleeping(transaction: Transaction, piece: Part) -> Integers:
        tried.append((piece.end - piece.start) // MINUTE)
        return await transaction.integers("SELECT 1::bigint FROM pg_sleep(60)", 1)

    with pytest.raises(CollectionFailed) as raised:
        asyncio.run(read())
    assert raised.value.kind == STATEMENT_TIMEOUT
    assert tried == [60, 15, 3, 1]
