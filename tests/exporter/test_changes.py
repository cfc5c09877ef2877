"""Whether a table has changed, by PostgreSQL's counters; and when what is read whole is read again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from demo.servers import PostgresServer
from exporter.changes import LONGEST, MEASURED, Changes, Recount, read_changes
from exporter.sources.postgres import Postgres
from exporter.windows import HOUR, MINUTE, RESYNC, SECOND
from tests.rows import counted, insert, user

NOW = 1_767_268_800_000_000
MILLISECOND = 1_000


def changes(url: str, *tables: str) -> Changes | None:
    """The counters of these tables, and that the transaction goes on after it asked for them."""

    async def ask() -> Changes | None:
        postgres = Postgres(url)
        try:
            async with postgres.transaction() as transaction:
                answer = await read_changes(transaction, tables)
                assert await transaction.rows("SELECT 1") == [(1,)]
                return answer
        finally:
            await postgres.close()

    return asyncio.run(ask())


# ---- the counters ----


def test_every_way_of_changing_a_table_moves_its_counters(database: str, connection: psycopg.Connection) -> None:
    somebody = user(connection, "somebody")
    for statement in (
        "INSERT INTO projects (name) VALUES ('one'), ('two')",
        "UPDATE projects SET name = 'three' WHERE name = 'one'",
        "DELETE FROM projects WHERE name = 'two'",
        "TRUNCATE projects CASCADE",
    ):
        counted(connection)
        before = changes(database, "projects", "users")
        assert before is not None
        assert before == changes(database, "projects", "users")
        connection.execute(statement.encode())
        counted(connection)
        after = changes(database, "projects", "users")
        assert after is not None
        assert before["projects"] != after["projects"], statement
        assert before["users"] == after["users"], statement
    insert(connection, "subscriptions", user_id=somebody, plan="pro")
    counted(connection)
    before = changes(database, "users", "subscriptions")
    connection.execute("DELETE FROM users")
    counted(connection)
    after = changes(database, "users", "subscriptions")
    assert before is not None
    assert after is not None
    assert [after[table].deleted - before[table].deleted for table in ("users", "subscriptions")] == [1, 1]


@pytest.fixture
def reader(postgres_server: PostgresServer, database: str, connection: psycopg.Connection) -> Iterator[str]:
    """The URL of a role that may read the tables and nothing else."""
    name = f"r{uuid4().hex}"
    connection.execute(f"CREATE ROLE {name} LOGIN; GRANT SELECT ON users, projects TO {name}".encode())
    yield postgres_server.url_of(str(conninfo_to_dict(database)["dbname"]), name)
    connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def test_a_role_that_may_only_select_may_read_the_counters(reader: str, connection: psycopg.Connection) -> None:
    user(connection, "somebody")
    counted(connection)
    read = changes(reader, "users")
    assert read is not None
    assert read["users"].inserted == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE projects CASCADE",
        "ALTER TABLE projects RENAME TO things; CREATE VIEW projects AS SELECT * FROM things",
        "ALTER TABLE projects RENAME TO things; CREATE MATERIALIZED VIEW projects AS SELECT * FROM things",
        "CREATE TABLE more_projects () INHERITS (projects)",
        "DROP TABLE projects CASCADE; CREATE TABLE projects (id int) PARTITION BY RANGE (id)",
        "ALTER ROLE postgres IN DATABASE {database} SET track_counts = off",
        "REVOKE SELECT ON projects FROM {role}",
        "REVOKE EXECUTE ON FUNCTION pg_stat_get_tuples_inserted FROM PUBLIC; GRANT SELECT ON projects TO {role}",
    ],
    ids=[
        "no table",
        "a view",
        "a materialized view",
        "inheritance",
        "partitions",
        "not counted",
        "no rights",
        "no statistics",
    ],
)
def test_where_nothing_is_counted_for_us_changes_are_unknown(
    statement: str, reader: str, database: str, connection: psycopg.Connection
) -> None:
    role = str(conninfo_to_dict(reader)["user"])
    url = reader if "{role}" in statement else database
    assert changes(url, "users", "projects") is not None
    connection.execute(statement.format(database=conninfo_to_dict(database)["dbname"], role=role).encode())
    assert changes(url, "users", "projects") is None


def test_tables_are_found_by_the_search_path(database: str, connection: psycopg.Connection) -> None:
    connection.execute(
        "CREATE SCHEMA other; CREATE TABLE other.projects (id int); INSERT INTO other.projects VALUES (1)"
    )
    counted(connection)
    here, there = (changes(f"{database}{path}", "projects") for path in ("", "?options=-csearch_path%3Dother"))
    assert here is not None
    assert there is not None
    assert (here["projects"].inserted, there["projects"].inserted) == (0, 1)


# ---- when to read again ----


def read_once(recount: Recount, now: int, counters: object, took: int = 0) -> None:
    assert recount.is_due(now, counters)
    recount.read(now, took)


def test_what_was_never_read_is_read() -> None:
    assert Recount().is_due(NOW, None)
    assert Recount().is_due(NOW, "counters")


def test_what_has_not_changed_is_read_once_more_and_then_once_an_hour() -> None:
    """Once more, as a commit between the rows' snapshot and the look at the counters is in one and not in the other."""
    recount = Recount()
    read_once(recount, NOW, "a")
    read_once(recount, NOW + MINUTE, "a")
    for minutes in range(2, 61):
        assert not recount.is_due(NOW + minutes * MINUTE, "a")
    assert recount.is_due(NOW + MINUTE + RESYNC, "a")


def test_what_was_committed_between_snapshot_and_look_is_not_missed() -> None:
    recount = Recount()
    read_once(recount, NOW, "a")
    read_once(recount, NOW + MINUTE, "a")
    read_once(recount, NOW + 2 * MINUTE, "b")  # the rows are those before or after the change that this counts
    read_once(recount, NOW + 3 * MINUTE, "b")
    assert not recount.is_due(NOW + 4 * MINUTE, "b")


def test_what_is_cheap_is_read_at_every_look_that_finds_a_change() -> None:
    recount = Recount()
    for minutes, counters in enumerate("abcde"):
        read_once(recount, NOW + minutes * MINUTE, counters, took=4 * MILLISECOND)


def test_what_changed_without_anybody_knowing_is_read_at_every_look() -> None:
    recount = Recount()
    for minutes in range(5):
        read_once(recount, NOW + minutes * MINUTE, None)


def measured(took: int) -> Recount:
    """Something last read at NOW, of which is known what it takes to read."""
    recount = Recount()
    for hours in range(MEASURED):
        read_once(recount, NOW - (MEASURED - 1 - hours) * HOUR, hours, took)
    return recount


@pytest.mark.parametrize("counters", [None, "changed"])
def test_what_is_dear_waits_and_never_long(counters: str | None) -> None:
    recount = measured(17 * MILLISECOND)
    assert recount.interval == 2 * MINUTE
    assert not recount.is_due(NOW + 2 * MINUTE - 1, counters)
    assert recount.is_due(NOW + 2 * MINUTE, counters)
    recount = measured(100 * SECOND)
    assert recount.interval == LONGEST < 10 * MINUTE
    assert not recount.is_due(NOW + LONGEST - 1, counters)
    assert recount.is_due(NOW + LONGEST, counters)


def test_one_slow_or_quick_reading_is_not_held_against_it() -> None:
    recount, intervals = Recount(), list[int]()
    for minutes, took in enumerate((500, 3, 3, 5_000, 3, 500, 500, 3)):
        read_once(recount, NOW + minutes * HOUR, None, took * MILLISECOND)
        intervals.append(recount.interval)
    assert intervals == [LONGEST, 0, 0, 0, 0, LONGEST, LONGEST, LONGEST]


def test_what_takes_long_beyond_doubt_waits_from_the_first_reading_on() -> None:
    recount = Recount()
    read_once(recount, NOW, "a", took=51 * MILLISECOND)
    assert recount.interval > 7 * MINUTE
    assert not recount.is_due(NOW + MINUTE, "b")
    recount = Recount()
    read_once(recount, NOW, "a", took=50 * MILLISECOND)
    assert recount.is_due(NOW + MINUTE, "b")


def test_a_clock_that_went_back_and_a_forgotten_reading_are_reasons_to_read() -> None:
    recount = Recount()
    read_once(recount, NOW, "a")
    read_once(recount, NOW + MINUTE, "a")
    assert not recount.is_due(NOW + 2 * MINUTE, "a")
    read_once(recount, NOW - HOUR, "a")
    recount.forget()
    assert recount.is_due(NOW - HOUR, "a")
