"""The days that `--every` holds, against plain SQL, under a random stream of inserts, late commits, updates and
deletes. The test fixes the clock, so that edges of days are hit exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from unittest.mock import AsyncMock

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from exporter.sources.postgres import Postgres
from rollup import store
from rollup.__main__ import follow
from rollup.daily import Row
from rollup.errors import RunFailed
from rollup.queue_depth import QueueDepths
from rollup.window import DayWindow
from servers.postgres import PostgresServer
from tests.rollup.rolling import DAY, midnight, plainly, stored
from tests.rows import INSTANT, NOON, insert, users

T = TypeVar("T")

TABLES = ("ai_usage_events", "preview_jobs", "sessions")
RUN = timedelta(minutes=5)
LONG_RUN = timedelta(minutes=59)

steps = st.one_of(st.sampled_from([RUN, timedelta(hours=12)]), st.timedeltas(INSTANT, timedelta(minutes=59)))
ages = st.one_of(
    st.sampled_from([timedelta(0), timedelta(minutes=5) - INSTANT]),
    st.timedeltas(timedelta(0), timedelta(minutes=5) - INSTANT),
)
old_ages = st.one_of(
    st.sampled_from([timedelta(hours=12), timedelta(hours=12, microseconds=1), timedelta(hours=-1)]),
    st.timedeltas(timedelta(hours=-11), timedelta(days=34)),
)


class Following:
    """A window, and a clock that the test sets."""

    def __init__(self, database: str) -> None:
        self.url, self.now = database, NOON
        self.window = DayWindow()
        self.postgres = Postgres(database, now=NOON)
        self._loop = asyncio.Runner()

    def read(self, step: timedelta = timedelta(0), missing: Any = None) -> list[Row]:
        """Read the days after a step of the clock."""
        self.now += step
        self.postgres.fixed_now = self.now
        return self.run(self.window.read(self.postgres, missing))

    def pass_time(self, length: timedelta) -> list[Row]:
        """Read as often as a run of less than an hour would, for that long."""
        for _ in range(length // LONG_RUN):
            rows = self.read(LONG_RUN)
        return rows

    def run(self, asked: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(asked)

    def close(self) -> None:
        self.run(self.postgres.close())
        self._loop.close()


def by_definition(connection: psycopg.Connection, rows: Sequence[Row]) -> list[Row]:
    return plainly(connection, [row.date for row in rows])


class DayStream(RuleBasedStateMachine):
    """HiveSync's changes to its tables; after every run each column of each day must equal plain SQL."""

    rows = Bundle("rows")
    database: str

    def __init__(self) -> None:
        super().__init__()
        self.connection = psycopg.connect(self.database, autocommit=True)
        self.connection.execute("TRUNCATE users, sessions, ai_usage_events, preview_jobs CASCADE")
        self.users = users(self.connection, 4)
        self.following = Following(self.database)
        self.unseen = False

    def teardown(self) -> None:
        self.following.close()
        self.connection.close()

    @property
    def now(self) -> datetime:
        return self.following.now

    @initialize(target=rows, back=st.lists(old_ages, max_size=8))
    def history(self, back: Sequence[timedelta]) -> Any:
        """Rows from before the start."""
        made = [self._insert(TABLES[index % 3], index % 5, self.now - age) for index, age in enumerate(back)]
        self._compare(self.following.read())
        return multiple(*made)

    @rule(target=rows, table=st.sampled_from(TABLES), owner=st.integers(0, 4), age=ages)
    def row_is_committed_late(self, table: str, owner: int, age: timedelta) -> Any:
        return self._insert(table, owner, self.now - age)

    @rule(target=rows, table=st.sampled_from(TABLES), owner=st.integers(0, 4), age=old_ages)
    def row_is_imported(self, table: str, owner: int, age: timedelta) -> Any:
        self.unseen = True
        return self._insert(table, owner, self.now - age)

    @rule(row=rows, status=st.sampled_from(["succeeded", "failed"]), age=ages)
    def job_ends(self, row: tuple[str, str], status: str, age: timedelta) -> None:
        table, identity = row
        if table != "sessions":
            self._execute(
                f"UPDATE {table} SET status = %s, completed_at = %s WHERE id = %s AND completed_at IS NULL",
                *(status, self.now - age, identity),
            )

    @rule(row=rows, age=old_ages)
    def job_ends_otherwise_than_was_known(self, row: tuple[str, str], age: timedelta) -> None:
        table, identity = row
        if table != "sessions":
            self._execute(
                f"UPDATE {table} SET status = 'succeeded', completed_at = %s WHERE id = %s", self.now - age, identity
            )
            self.unseen = True

    @rule(row=rows, owner=st.integers(0, 4))
    def row_gets_another_user(self, row: tuple[str, str], owner: int) -> None:
        self._execute(f"UPDATE {row[0]} SET user_id = %s WHERE id = %s", self._user(owner), row[1])
        self.unseen = True

    @rule(row=rows, age=old_ages)
    def row_gets_another_time(self, row: tuple[str, str], age: timedelta) -> None:
        self._execute(f"UPDATE {row[0]} SET created_at = %s WHERE id = %s", self.now - age, row[1])
        self.unseen = True

    @rule(row=rows)
    def row_is_deleted(self, row: tuple[str, str]) -> None:
        self._execute(f"DELETE FROM {row[0]} WHERE id = %s", row[1])
        self.unseen = True

    @rule(step=steps)
    def time_passes(self, step: timedelta) -> None:
        self.unseen &= step < timedelta(hours=1)  # after a gap, everything is read again
        self._compare(self.following.read(step))

    @rule()
    def everything_is_checked_again(self) -> None:
        rows = self.following.pass_time(2 * DAY + LONG_RUN)
        self.unseen = False
        self._compare(rows)

    @rule(step=st.timedeltas(timedelta(minutes=1), timedelta(hours=13)))
    def clock_goes_back(self, step: timedelta) -> None:
        self.unseen = False
        self._compare(self.following.read(-step))

    @invariant()
    def another_run_finds_the_same(self) -> None:
        if not self.unseen:
            self._compare(self.following.read(INSTANT))

    def _compare(self, rows: list[Row]) -> None:
        assert rows[-1].date == self.now.date()
        if not self.unseen:
            assert rows == by_definition(self.connection, rows)

    def _insert(self, table: str, owner: int, created_at: datetime) -> tuple[str, str]:
        return table, insert(self.connection, table, user_id=self._user(owner), created_at=created_at)

    def _user(self, owner: int) -> str | None:
        return self.users[owner] if owner < len(self.users) else None

    def _execute(self, query: str, *values: object) -> None:
        self.connection.execute(query.encode(), values)


def test_every_column_equals_plain_sql_whatever_happens_to_the_tables(database: str) -> None:
    machine = type("OnThisDatabase", (DayStream,), {"database": database})
    run_state_machine_as_test(machine, settings=settings(max_examples=6, stateful_step_count=12))


@pytest.fixture
def following(database: str) -> Iterator[Following]:
    """A window of the test's database."""
    opened = Following(database)
    yield opened
    opened.close()


def test_a_run_reads_new_rows_only_and_finds_old_ones_within_a_day(
    following: Following, connection: psycopg.Connection
) -> None:
    (one, other) = users(connection, 2)
    insert(connection, "sessions", user_id=one, created_at=NOON - 20 * DAY)
    assert {row.mau for row in following.read()} == {1}
    insert(connection, "sessions", user_id=other, created_at=NOON - 20 * DAY)
    assert {row.mau for row in following.read(RUN)} == {1}
    rows = following.pass_time(DAY + LONG_RUN)
    assert {row.mau for row in rows} == {2}
    connection.execute("DELETE FROM sessions WHERE user_id = %s", (one,))
    rows = following.pass_time(DAY + LONG_RUN)
    assert rows == by_definition(connection, rows)
    assert following.window.fills == 1


def test_a_user_of_whom_a_row_is_deleted_leaves_today_at_once(
    following: Following, connection: psycopg.Connection
) -> None:
    (one, other) = users(connection, 2)
    following.read()
    for number, name in enumerate((one, one, other)):
        insert(connection, "sessions", user_id=name, created_at=NOON + timedelta(minutes=number))
    assert following.read(RUN)[-1].dau == 2
    connection.execute("DELETE FROM sessions WHERE created_at > %s", (NOON,))
    assert following.read(RUN)[-1].dau == 1
    assert following.window.fills == 1


def test_days_that_the_table_lacks_are_part_of_the_first_reading(
    following: Following, connection: psycopg.Connection
) -> None:
    (one,) = users(connection, 1)
    today = NOON.date()
    for ago in range(0, 70, 3):
        insert(connection, "ai_usage_events", user_id=one, created_at=midnight(today - ago * DAY))
    rows = following.read(missing=today - 20 * DAY)
    assert (rows[0].date, len(rows)) == (today - 20 * DAY, 21)
    assert rows == by_definition(connection, rows)
    rows = following.read(RUN, missing=today - 20 * DAY)
    assert (rows[0].date, len(rows)) == (today - 3 * DAY, 4)
    rows = following.pass_time(2 * DAY)
    assert rows == by_definition(connection, rows)
    rows = Following.read(fresh := Following(following.url), missing=today - 60 * DAY)
    fresh.close()
    assert (rows[0].date, len(rows)) == (today - 33 * DAY, 34)
    assert rows == by_definition(connection, rows)


def test_on_another_server_everything_is_read_again(
    following: Following, connection: psycopg.Connection, postgres_server: PostgresServer
) -> None:
    """Another database of the same name is to the client what another server of the same address is."""
    insert(connection, "sessions", user_id=users(connection, 1)[0], created_at=NOON - DAY)
    assert following.read()[-1].mau == 1
    name = connection.info.dbname
    connection.close()
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s", (name,))
        admin.execute(f'ALTER DATABASE "{name}" RENAME TO "{name}_former"'.encode())
        try:
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{name}_former"'.encode())
            with psycopg.connect(following.url) as other:
                other.execute("DELETE FROM sessions")
            assert [(row.dau, row.mau) for row in following.read(RUN)] == [(0, 0)] * 4
        finally:
            admin.execute(f'DROP DATABASE "{name}_former"'.encode())
    assert following.window.fills == 2


def test_a_failed_reading_changes_nothing(following: Following, connection: psycopg.Connection) -> None:
    (one,) = users(connection, 1)
    following.read()
    insert(connection, "sessions", user_id=one, created_at=NOON + timedelta(minutes=1))
    with psycopg.connect(following.url) as migration:
        migration.execute("LOCK TABLE preview_jobs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(RunFailed, match="PostgreSQL: lock_not_available"):
            following.read(RUN)
    assert following.read()[-1].dau == 1
    assert following.window.fills == 1


def test_what_one_server_was_read_for_is_not_written_to_another(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(connection, "sessions", user_id=users(connection, 1)[0])
    depths = QueueDepths(None, 15)

    async def run() -> None:
        postgres = Postgres(database)
        try:
            await follow(database, DayWindow(), postgres, depths)
        finally:
            await postgres.close()

    monkeypatch.setattr(store, "read_start", AsyncMock(return_value=NOON))
    with pytest.raises(RunFailed, match="two connections reached two servers"):
        asyncio.run(run())
    assert stored(connection) == []
    monkeypatch.undo()
    asyncio.run(run())
    rows = stored(connection)
    assert rows == by_definition(connection, rows) != []
