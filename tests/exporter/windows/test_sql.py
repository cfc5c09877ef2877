"""Minutes and hours of an instant are the same in PostgreSQL and in the windows."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import psycopg

from exporter.sources.postgres import microseconds, moment
from exporter.windows import HOUR, MINUTE, minute
from exporter.windows.sql import HOUR_BIN, HOUR_OF, MINUTE_BIN, MINUTE_OF

FIRST, LAST = (microseconds(datetime(year, 1, 1, tzinfo=UTC)) for year in (1971, 2250))


def instants() -> list[int]:
    """Instants on the edges of hours and minutes, a microsecond beside them, and anywhere."""
    chance = random.Random(3)
    anywhere = [chance.randrange(FIRST, LAST) for _ in range(500)]
    edges = [time // unit * unit for time in anywhere for unit in (MINUTE, HOUR)]
    return [*anywhere, *(edge + beside for edge in edges for beside in (-1, 0, 1))]


def test_a_minute_and_an_hour_are_open_at_their_start_and_closed_at_their_end(connection: psycopg.Connection) -> None:
    connection.execute("SET timezone = 'Asia/Kathmandu'")
    times = instants()
    numbers = f"{MINUTE_OF.format('t')}, {HOUR_OF.format('t')}"
    query = f"SELECT {numbers} FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS u(t, n) ORDER BY n"
    rows = connection.execute(query.encode(), [[moment(time) for time in times]]).fetchall()
    assert rows == [(minute(time), -(-time // HOUR)) for time in times]


def test_rows_of_a_minute_and_of_an_hour_make_one_group(connection: psycopg.Connection) -> None:
    ends = [1_767_268_800_000_000 + number * 20 * MINUTE for number in range(9)]
    times = [moment(time) for end in ends for time in (end - MINUTE + 1, end - 1, end)]
    for bin_of, number_of, groups in ((MINUTE_BIN, MINUTE_OF, 9), (HOUR_BIN, HOUR_OF, 4)):
        query = f"SELECT {number_of.format('t')}, count(*) FROM unnest(%s::timestamptz[]) AS u(t)"
        rows = connection.execute(f"{query} GROUP BY {bin_of.format('t')}".encode(), [times]).fetchall()
        assert len(rows) == len({number for number, _ in rows}) == groups
        assert sum(count for _, count in rows) == len(times)
