"""Changes of a part of the past, by the versions of its rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from demo.database import create_role
from exporter.columns import text_array
from exporter.sources.identity import DatabaseServer
from exporter.sources.postgres import microseconds
from exporter.windows import Part
from exporter.windows.versions import _CATALOGUE, RowVersions, TimedRows
from tests.rows import NOON, insert, sources, users

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
PART = Part(microseconds(NOON - HOUR), microseconds(NOON))
INSIDE = NOON - 10 * MINUTE
ROWS = (
    TimedRows("sessions", "sessions.created_at"),
    TimedRows("preview_jobs", "preview_jobs.completed_at", "status = 'failed'"),
)

Act = Callable[[psycopg.Connection], object]


class Looking:
    """Checks the part and notes the result, each time in a transaction of its own."""

    def __init__(self, url: str, rows: tuple[TimedRows, ...] = ROWS) -> None:
        self._url, self.versions = url, RowVersions(rows)

    def fill(self) -> None:
        async def fill() -> None:
            async with sources(self._url) as opened, opened.postgres.transaction() as transaction:
                await self.versions.filled(transaction)

        asyncio.run(fill())

    def changed(self, known: int | None = None) -> bool:
        async def look() -> bool:
            async with sources(self._url) as opened, opened.postgres.transaction() as transaction:
                await self.versions.check(transaction)
                changed, seen = await self.versions.look(transaction, PART, known)
                self.versions.note(PART, seen)
                return changed

        return asyncio.run(look())


@pytest.fixture
def looking(database: str, connection: psycopg.Connection) -> Looking:
    """Row versions after a fill, with rows in and around the part."""
    (somebody,) = users(connection, 1)
    for at in (NOON - HOUR, INSIDE, INSIDE, NOON, NOON + MINUTE):
        insert(connection, "sessions", user_id=somebody, created_at=at)
    for status in ("failed", "succeeded"):
        insert(connection, "preview_jobs", created_at=NOON - 2 * HOUR, completed_at=INSIDE, status=status)
    looking = Looking(database)
    looking.fill()
    return looking


def test_what_nobody_touched_has_not_changed(looking: Looking) -> None:
    assert [looking.changed(), looking.changed(), looking.changed()] == [False] * 3


FREEZE = "VACUUM (FREEZE) sessions"

CHANGES: dict[str, Act] = {
    "a late row": lambda c: insert(c, "sessions", created_at=INSIDE),
    "an update of another column": lambda c: c.execute("UPDATE sessions SET device_type = 'phone'"),
    "an update that is none": lambda c: c.execute("UPDATE sessions SET kind = kind"),
    "a row that moves in": lambda c: c.execute(
        "UPDATE sessions SET created_at = %s WHERE created_at > %s", [INSIDE, NOON]
    ),
    "a row that is another now": lambda c: c.execute("UPDATE preview_jobs SET status = 'failed'"),
    "a row of a savepoint": lambda c: in_a_savepoint(c),
    "a row that was frozen since": lambda c: (insert(c, "sessions", created_at=INSIDE), c.execute(FREEZE)),
}
GOINGS: dict[str, Act] = {
    "a deletion": lambda c: c.execute("DELETE FROM sessions WHERE created_at = %s", [INSIDE]),
    "a row that moves out": lambda c: c.execute(
        "UPDATE sessions SET created_at = %s WHERE created_at = %s", [NOON + HOUR, INSIDE]
    ),
    "a row that is no longer one": lambda c: c.execute("UPDATE preview_jobs SET status = 'running'"),
    "a truncation": lambda c: c.execute("TRUNCATE sessions"),
}


def in_a_savepoint(connection: psycopg.Connection) -> None:
    with connection.transaction(), connection.transaction():
        insert(connection, "sessions", created_at=INSIDE)


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_written_is_seen_once(change: str, looking: Looking, connection: psycopg.Connection) -> None:
    CHANGES[change](connection)
    assert looking.changed()
    assert not looking.changed()
    CHANGES["an update that is none"](connection)
    assert looking.changed()


@pytest.mark.parametrize("going", GOINGS)
@pytest.mark.parametrize("counted", [True, False], ids=["rows counted by the reader", "rows counted at the last look"])
def test_what_has_gone_is_seen(going: str, counted: bool, looking: Looking, connection: psycopg.Connection) -> None:
    known = 4 if counted else None  # three sessions, one of them at the very end; one failed preview
    assert not looking.changed(known)
    GOINGS[going](connection)
    assert looking.changed(known)


def test_what_happens_outside_of_it_is_not_seen(looking: Looking, connection: psycopg.Connection) -> None:
    insert(connection, "sessions", created_at=NOON - HOUR)  # the part is open at its start
    insert(connection, "sessions", created_at=NOON + MINUTE)
    insert(connection, "preview_jobs", completed_at=INSIDE, status="succeeded")
    connection.execute(FREEZE)
    assert not looking.changed()


@pytest.mark.parametrize("before", ["the fill", "a look"])
def test_what_was_being_written_when_it_was_read_is_seen_later(
    before: str, looking: Looking, database: str, connection: psycopg.Connection
) -> None:
    """The writing transaction is older than some that had ended before the read."""
    with psycopg.connect(database) as slow:
        insert(slow, "sessions", created_at=INSIDE)
        insert(connection, "sessions", created_at=NOON + MINUTE)
        if before == "the fill":
            looking.fill()
        else:
            assert not looking.changed()
        slow.commit()
    assert looking.changed()


def test_what_was_rolled_back_was_never_there(looking: Looking, database: str) -> None:
    with psycopg.connect(database) as slow:
        insert(slow, "sessions", created_at=INSIDE)
        slow.execute("DELETE FROM preview_jobs")
        slow.rollback()
    assert not looking.changed()


def test_what_nobody_has_looked_at_may_have_changed(database: str, connection: psycopg.Connection) -> None:
    insert(connection, "sessions", created_at=INSIDE)
    looking = Looking(database)
    assert [looking.changed(), looking.changed()] == [True, False]


ALTERATIONS: dict[str, Act] = {
    "a column renamed": lambda c: c.execute("ALTER TABLE sessions RENAME COLUMN user_id TO owner_id"),
    "a table put in its place": lambda c: c.execute(
        "CREATE TABLE other (LIKE sessions INCLUDING ALL); INSERT INTO other SELECT * FROM sessions;"
        "ALTER TABLE sessions RENAME TO former; ALTER TABLE other RENAME TO sessions"
    ),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
@pytest.mark.parametrize("looked", [True, False], ids=["looked at before", "filled only"])
def test_a_table_that_was_altered_is_read_again_once(
    alteration: str, looked: bool, looking: Looking, connection: psycopg.Connection
) -> None:
    if looked:
        assert not looking.changed()
    ALTERATIONS[alteration](connection)
    connection.execute("VACUUM (FREEZE) sessions")
    assert [looking.changed(), looking.changed()] == [True, False]


def test_vacuum_and_analyze_are_no_alteration(looking: Looking, connection: psycopg.Connection) -> None:
    connection.execute("VACUUM (ANALYZE) sessions")
    connection.execute("ANALYZE preview_jobs")
    assert not looking.changed()


@pytest.mark.parametrize("looked", [True, False], ids=["looked at before", "filled only"])
def test_a_view_put_in_a_tables_place_may_always_have_changed(
    looked: bool, looking: Looking, connection: psycopg.Connection
) -> None:
    if looked:
        assert not looking.changed()
    connection.execute("ALTER TABLE sessions RENAME TO former; CREATE VIEW sessions AS SELECT * FROM former")
    assert [looking.changed(), looking.changed()] == [True, True]


def test_a_partition_that_is_attached_is_read(database: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE old (id int, created_at timestamptz)")
    insert(connection, "old", created_at=INSIDE)
    connection.execute("CREATE TABLE parted (id int, created_at timestamptz) PARTITION BY RANGE (created_at)")
    looking = Looking(database, (TimedRows("parted", "parted.created_at"),))
    looking.fill()
    assert not looking.changed()
    connection.execute("ALTER TABLE parted ATTACH PARTITION old FOR VALUES FROM ('2000-01-01') TO ('2100-01-01')")
    assert [looking.changed(1), looking.changed(1)] == [True, False]


def test_a_server_that_was_restarted_is_read_again(looking: Looking) -> None:
    assert not looking.changed()
    looking.versions._server = DatabaseServer(1, 0)
    assert [looking.changed(), looking.changed()] == [True, False]


@pytest.mark.parametrize("transactions", [2**30, 2**31, 2**32, -1, -(2**31)], ids="{} ago".format)
def test_ids_that_cannot_be_compared_are_not(transactions: int, looking: Looking) -> None:
    """Transactions too long ago, or in the future: of a restored server."""
    assert not looking.changed()
    versions = looking.versions
    versions._states = {
        end: replace(state, oldest_running=state.oldest_running - transactions)
        for end, state in versions._states.items()
    }
    assert looking.changed()
    assert not looking.changed()
    versions._checked -= transactions
    assert looking.changed()


KINDS = {
    "a view": "CREATE VIEW {0} AS SELECT * FROM public.sessions",
    "a materialized view": "CREATE MATERIALIZED VIEW {0} AS SELECT * FROM public.sessions",
    "a table with children": "CREATE TABLE {0} (LIKE public.sessions); CREATE TABLE child () INHERITS ({0})",
    "no table": "SELECT",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_versions_may_always_have_changed(kind: str, database: str, connection: psycopg.Connection) -> None:
    connection.execute(KINDS[kind].format("seen").encode())
    looking = Looking(database, (TimedRows("seen", "seen.created_at"),))
    looking.fill()
    assert [looking.changed(), looking.changed()] == [True, True]


def test_partitions_have_versions(database: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE parted (id int, created_at timestamptz) PARTITION BY RANGE (created_at)")
    connection.execute("CREATE TABLE part PARTITION OF parted FOR VALUES FROM ('2000-01-01') TO ('2100-01-01')")
    looking = Looking(database, (TimedRows("parted", "parted.created_at"),))
    looking.fill()
    assert not looking.changed(0)
    insert(connection, "parted", created_at=INSIDE)
    assert looking.changed(0)


def test_foreign_partitions_have_none(database: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw")
    connection.execute("CREATE TABLE parted (id int, created_at timestamptz) PARTITION BY RANGE (created_at)")
    connection.execute(
        "CREATE FOREIGN TABLE part PARTITION OF parted FOR VALUES FROM ('2000-01-01') TO ('2100-01-01')"
        " SERVER files OPTIONS (filename '/dev/null')"
    )
    looking = Looking(database, (TimedRows("parted", "parted.created_at"),))
    looking.fill()
    assert looking.changed(0)


def test_who_may_read_some_columns_only_is_not_told(database: str, connection: psycopg.Connection) -> None:
    connection.execute("DROP ROLE IF EXISTS of_few_columns")
    create_role(connection, "of_few_columns")
    connection.execute("GRANT SELECT (created_at) ON sessions TO of_few_columns")
    url = make_conninfo(database, user="of_few_columns")
    looking = Looking(url, (TimedRows("sessions", "sessions.created_at"),))
    try:
        looking.fill()
        assert looking.changed(0)
    finally:
        connection.execute("DROP OWNED BY of_few_columns; DROP ROLE of_few_columns")


def test_the_check_reads_of_the_catalogue_no_more_than_the_tables_asked_for(
    database: str, connection: psycopg.Connection
) -> None:
    """With the settings of a server on solid-state disks."""
    connection.execute("VACUUM ANALYZE pg_class")
    connection.execute("VACUUM ANALYZE pg_attribute")
    connection.execute("SET random_page_cost = 1.1")
    catalogue = _CATALOGUE.format(tables=text_array(["sessions", "preview_jobs"]))
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {catalogue}"
    parameters = {"since": "700"}
    cursor = psycopg.ClientCursor(connection)
    for _ in range(2):  # the first fills caches of the connection
        (((plan,),),) = cursor.execute(explain.encode(), parameters).fetchall()
    blocks = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    assert blocks < 100
