"""Every column of a day against plain SQL (docs/definitions.md#daily-roll-up), on a PostgreSQL with a time zone other
than UTC."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.database import SCHEMA
from rollup import days
from rollup.connection import connected
from rollup.daily import Row, read_days, read_first_activity
from rollup.days import Piece, pieces, span
from servers.postgres import PostgresServer
from tests.rollup.rolling import DAY, midnight, plainly
from tests.rows import INSTANT, insert, users

SECOND = timedelta(seconds=1)
D = date(2026, 3, 17)
LAST_INSTANT = DAY - INSTANT


def read(database: str, wanted: Iterable[date]) -> list[Row]:
    async def all_pieces(found: Sequence[Piece]) -> list[Row]:
        async with connected(database) as connection:
            return [row for piece in found for row in await read_days(connection, piece)]

    return asyncio.run(all_pieces(pieces(wanted)))


def first_activity(database: str) -> date | None:
    async def first() -> date | None:
        async with connected(database) as connection:
            return await read_first_activity(connection)

    return asyncio.run(first())


def only(database: str, day: date) -> Row:
    (row,) = read(database, [day])
    return row


def seed(connection: psycopg.Connection, first: date, last: date, count: int = 12) -> None:
    """Insert rows of every kind, on the edges of days and within, by users who come and go."""
    ids = users(connection, count)
    moments = (timedelta(0), INSTANT, 7 * SECOND, DAY / 2, DAY - SECOND, LAST_INSTANT)
    for number, day in enumerate(span(first, last)):
        for index, who in enumerate(ids):
            step = (number * 7 + index * 13) % 41
            at = midnight(day) + moments[(number + index) % len(moments)]
            owner = None if step == 3 else who
            if step < 5:
                insert(connection, "sessions", user_id=owner, created_at=at, kind="live_view" if step else "app")
            if step in (3, 8):
                ended = at + timedelta(seconds=1.25 * (index + 1))
                insert(
                    connection,
                    "ai_usage_events",
                    user_id=owner,
                    created_at=at,
                    completed_at=ended,
                    status="failed" if index == 5 else "succeeded",
                )
            if step in (3, 9):
                ended = at + timedelta(hours=index, microseconds=number)
                insert(
                    connection,
                    "preview_jobs",
                    user_id=owner,
                    created_at=at,
                    completed_at=ended,
                    status="running" if index == 7 else "succeeded",
                )


@pytest.mark.parametrize(
    ("first", "last"),
    [(date(2023, 12, 20), date(2024, 1, 12)), (date(2024, 2, 10), date(2024, 3, 31)), (date(2026, 1, 1), D)],
    ids=["end of the year", "leap day", "three pieces"],
)
def test_every_column_of_every_day_is_as_plain_sql_has_it(
    database: str, connection: psycopg.Connection, first: date, last: date
) -> None:
    seed(connection, first, last)
    found = read(database, span(first - DAY, last + 35 * DAY))
    assert found == plainly(connection, span(first - DAY, last + 35 * DAY))
    assert {row.mau for row in found} >= {0, 12}
    assert sum(row.avg_latency_ms is None for row in found) in range(1, len(found))


def test_the_first_and_the_last_instant_of_a_day_are_its_own(database: str, connection: psycopg.Connection) -> None:
    early, late, day_before, day_after = users(connection, 4)
    insert(connection, "sessions", user_id=early, created_at=midnight(D))
    insert(connection, "preview_jobs", user_id=late, created_at=midnight(D) + LAST_INSTANT)
    insert(connection, "ai_usage_events", user_id=day_before, created_at=midnight(D) - INSTANT)
    insert(connection, "ai_usage_events", user_id=day_after, created_at=midnight(D) + DAY)
    assert read(database, span(D - DAY, D + DAY)) == [
        Row(D - DAY, 1, 1, 1, 0, None),
        Row(D, 2, 3, 0, 1, None),
        Row(D + DAY, 1, 4, 1, 0, None),
    ]


def test_thirty_days_are_the_day_and_the_twenty_nine_before_it(database: str, connection: psycopg.Connection) -> None:
    (who,) = users(connection, 1)
    insert(connection, "sessions", user_id=who, created_at=midnight(D) + LAST_INSTANT)
    rows = {row.date: (row.dau, row.mau) for row in read(database, span(D - DAY, D + 40 * DAY))}
    assert rows[D - DAY] == (0, 0)
    assert rows[D] == (1, 1)
    assert {rows[day] for day in span(D + DAY, D + 29 * DAY)} == {(0, 1)}
    assert {rows[day] for day in span(D + 30 * DAY, D + 40 * DAY)} == {(0, 0)}


def test_a_user_who_comes_back_within_the_window_is_one_user(database: str, connection: psycopg.Connection) -> None:
    (who,) = users(connection, 1)
    for day in (D, D + 10 * DAY, D + 39 * DAY, D + 70 * DAY):
        insert(connection, "sessions", user_id=who, created_at=midnight(day) + DAY / 3)
        insert(connection, "preview_jobs", user_id=who, created_at=midnight(day) + DAY / 2)
    wanted = list(span(D - DAY, D + 110 * DAY))
    assert [(row.dau, row.mau) for row in read(database, wanted)] == [
        (
            int(day in {D, D + 10 * DAY, D + 39 * DAY, D + 70 * DAY}),
            int(D <= day < D + 69 * DAY or D + 70 * DAY <= day < D + 100 * DAY),
        )
        for day in wanted
    ]


def test_days_without_any_activity_are_zeros_and_have_no_latency(database: str) -> None:
    assert read(database, span(D, D + 2 * DAY)) == [Row(D + n * DAY, 0, 0, 0, 0, None) for n in range(3)]
    assert first_activity(database) is None


def test_rows_of_no_finite_time_are_no_activity(database: str, connection: psycopg.Connection) -> None:
    for table in ("sessions", "ai_usage_events", "preview_jobs"):
        for at in ("infinity", "-infinity", "1969-12-31 23:59:59Z"):
            insert(connection, table, created_at=at)
    assert first_activity(database) is None


def test_rows_without_a_user_are_requests_and_never_users(database: str, connection: psycopg.Connection) -> None:
    for table in ("sessions", "ai_usage_events", "ai_usage_events", "preview_jobs"):
        insert(connection, table, user_id=None, created_at=midnight(D))
    assert only(database, D) == Row(D, 0, 0, 2, 1, None)
    assert first_activity(database) == D


def test_latency_is_the_mean_over_jobs_of_both_queues_that_ended_that_day(
    database: str, connection: psycopg.Connection
) -> None:
    begun = midnight(D) - 2 * SECOND
    insert(connection, "ai_usage_events", status="succeeded", created_at=begun, completed_at=midnight(D))
    insert(connection, "ai_usage_events", status="succeeded", created_at=begun, completed_at=begun + SECOND)
    insert(connection, "preview_jobs", status="succeeded", created_at=begun, completed_at=midnight(D) + 5 * SECOND)
    last = midnight(D) + LAST_INSTANT
    insert(connection, "preview_jobs", status="succeeded", created_at=last - timedelta(0, 0, 1500), completed_at=last)
    for status in ("failed", "cancelled", "running", "queued"):
        insert(connection, "ai_usage_events", status=status, created_at=begun, completed_at=midnight(D) + DAY / 2)
    averages = [row.avg_latency_ms for row in read(database, span(D - DAY, D))]
    assert averages == [1000.0, pytest.approx((2000 + 7000 + 1.5) / 3)]


def test_a_job_that_took_no_time_has_a_latency_of_zero(database: str, connection: psycopg.Connection) -> None:
    insert(connection, "preview_jobs", status="succeeded", created_at=midnight(D), completed_at=midnight(D))
    assert only(database, D).avg_latency_ms == 0


def test_jobs_that_ended_before_they_began_and_infinite_times_are_no_latency(
    database: str, connection: psycopg.Connection
) -> None:
    (who,) = users(connection, 1)
    noon = midnight(D) + DAY / 2
    done = {"status": "succeeded", "user_id": who}
    insert(connection, "ai_usage_events", **done, created_at=noon, completed_at=noon - SECOND)
    insert(connection, "ai_usage_events", **done, created_at="-infinity", completed_at=noon)
    insert(connection, "preview_jobs", **done, created_at="infinity", completed_at="infinity")
    insert(connection, "preview_jobs", **done, created_at="-infinity", completed_at="-infinity")
    insert(connection, "sessions", user_id=who, created_at="infinity")
    insert(connection, "sessions", user_id=who, created_at="4713-01-01 BC")
    insert(connection, "sessions", user_id=who, created_at="200000-01-01")
    assert only(database, D) == Row(D, 1, 1, 1, 0, None)
    assert first_activity(database) == D


def test_the_first_activity_is_of_any_kind(database: str, connection: psycopg.Connection) -> None:
    for day, table in ((D, "sessions"), (D - DAY, "preview_jobs"), (D - 2 * DAY, "ai_usage_events")):
        insert(connection, table, user_id=None, created_at=midnight(day))
        assert first_activity(database) == day
    insert(connection, "sessions", created_at=midnight(date(2020, 1, 1)) - INSTANT)
    assert first_activity(database) == date(2019, 12, 31)


@pytest.mark.parametrize("kind", ["bigint", "text"])
def test_ids_may_be_of_any_type(database: str, connection: psycopg.Connection, kind: str) -> None:
    tables = ("users", "subscriptions", "projects", "sessions", "ai_usage_events", "preview_jobs")
    connection.execute(f"DROP TABLE {', '.join(tables)}".encode())
    default = "gen_random_uuid()" if kind == "text" else "(random() * 1e15)"
    definition = SCHEMA.read_text().replace("gen_random_uuid()", f"{default}::{kind}").replace(" uuid", f" {kind}")
    connection.execute(definition.encode())
    seed(connection, date(2026, 1, 1), date(2026, 1, 20))
    wanted = list(span(date(2025, 12, 31), date(2026, 2, 25)))
    assert read(database, wanted) == plainly(connection, wanted)


def test_tables_may_be_views_in_another_schema(database: str, connection: psycopg.Connection) -> None:
    seed(connection, D - 9 * DAY, D)
    expected = plainly(connection, span(D - 9 * DAY, D))
    connection.execute("CREATE SCHEMA theirs; CREATE SCHEMA ours")
    for table, columns in {
        "sessions": "user_id, created_at",
        "ai_usage_events": "user_id, status, created_at, completed_at",
        "preview_jobs": "user_id, status, created_at, completed_at",
    }.items():
        connection.execute(
            f"ALTER TABLE {table} SET SCHEMA theirs; ALTER TABLE theirs.{table} RENAME TO t_{table}".encode()
        )
        connection.execute(f"CREATE VIEW ours.{table} AS SELECT {columns} FROM theirs.t_{table}".encode())
    assert read(f"{database}?options=-csearch_path%3Dours", span(D - 9 * DAY, D)) == expected


# ---- any users, any days, any pieces ----

PEOPLE = [str(UUID(int=number)) for number in range(8)]
FIRST = date(2024, 1, 15)
seen = st.sets(st.tuples(st.sampled_from(PEOPLE), st.integers(0, 120)), max_size=60)


@pytest.fixture(scope="module")
def any_users(postgres_server: PostgresServer) -> Iterator[str]:
    """A database without foreign keys, for many examples."""
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE any_users TEMPLATE hivesync")
        url = postgres_server.url_of("any_users")
        with psycopg.connect(url, autocommit=True) as inside:
            for table in ("sessions", "ai_usage_events", "preview_jobs"):
                inside.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_user_id_fkey".encode())
        yield url
        connection.execute("DROP DATABASE any_users WITH (FORCE)")


@settings(max_examples=30)
@given(
    pairs=seen,
    start=st.integers(-5, 100),
    length=st.integers(1, 45),
    holes=st.sets(st.integers(0, 44)),
    piece_days=st.sampled_from([2, 7, 33, days.PIECE_DAYS]),
    tables=st.lists(st.sampled_from(["sessions", "ai_usage_events", "preview_jobs"]), min_size=1, max_size=3),
    edge=st.sampled_from([timedelta(0), DAY / 2, LAST_INSTANT]),
)
def test_one_pass_over_the_rows_counts_what_a_count_of_distinct_users_a_day_counts(
    any_users: str,
    pairs: set[tuple[str, int]],
    start: int,
    length: int,
    holes: set[int],
    piece_days: int,
    tables: list[str],
    edge: timedelta,
) -> None:
    wanted = [FIRST + (start + n) * DAY for n in range(length) if n not in holes or n == length - 1]
    with psycopg.connect(any_users, autocommit=True) as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr(days, "PIECE_DAYS", piece_days)
        connection.execute("DELETE FROM sessions; DELETE FROM ai_usage_events; DELETE FROM preview_jobs")
        for index, table in enumerate(tables):
            rows = [(who, midnight(FIRST + day * DAY) + edge) for who, day in pairs if (day + index) % 3]
            with connection.cursor() as cursor:
                cursor.executemany(f"INSERT INTO {table} (user_id, created_at) VALUES (%s, %s)".encode(), rows)
        assert read(any_users, wanted) == plainly(connection, wanted)
        assert first_activity(any_users) == min(
            (FIRST + day * DAY for index, _ in enumerate(tables) for _, day in pairs if (day + index) % 3), default=None
        )


def test_a_database_in_another_time_zone_says_what_one_in_utc_says(
    database: str, connection: psycopg.Connection
) -> None:
    ((zone,),) = connection.execute("SHOW timezone").fetchall()
    assert zone == "Pacific/Auckland"
    insert(
        connection, "sessions", user_id=users(connection, 1)[0], created_at=datetime(2026, 3, 17, 23, 30, tzinfo=UTC)
    )
    assert [(row.date, row.dau) for row in read(database, span(D, D + DAY))] == [(D, 1), (D + DAY, 0)]
    assert first_activity(database) == D
