"""Locks: a single roll-up, installation and migration at a time, and the names of those that hold them.

The roll-up locks its table, in a mode that PostgreSQL grants to roles with write rights alone: any role of the database
can hold any advisory lock, and could so stop the roll-up. SHARE UPDATE EXCLUSIVE conflicts with itself, VACUUM, ANALYZE
and changes of the table's definition, and neither with reads nor with the run's own writes. A conflicting autovacuum is
canceled by PostgreSQL within the time for which the lock is waited for; during a run autovacuum leaves out this table.

Installation and migration have no table to lock before they create it: theirs are advisory locks, and an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection, errors

from rollup.connection import empty_transaction
from rollup.errors import Busy
from rollup.store import TABLE

MIGRATION = (int.from_bytes(b"hivesync", "big") >> 1) + 1
"""Key of the advisory lock for the creation of the table: two migrations at once wait for each other."""

INSTALLATION = MIGRATION + 1
"""Key of the advisory lock that an installation of an adapter holds to its end."""

WATCH_SECONDS = 0.5
"""Time between two looks at the holders during the wait for a lock."""

# No parameters: they would leave a portal open, and with it a snapshot that holds back vacuum.
_LOCK_TABLE = f"LOCK TABLE {TABLE} IN SHARE UPDATE EXCLUSIVE MODE"

_SESSION = "pid, usename, application_name, xact_start"

# Right for views and partitions too, whose locks are those of other tables. A prepared transaction has the number 0.
_BLOCKING = f"""
SELECT {_SESSION} FROM unnest(pg_blocking_pids(%(pid)s)) AS blocking(pid) LEFT JOIN pg_stat_activity USING (pid)
"""

_HOLDING_KEY = f"""
SELECT {_SESSION} FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid::bigint = %(key)s::bigint >> 32 AND objid::bigint = %(key)s::bigint & 4294967295
"""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Holder:
    """A session that holds a lock; `since` is the start of its transaction. PostgreSQL shows that time of other roles
    to members of pg_read_all_stats alone, and no role of its own processes."""

    pid: int
    role: str | None
    application: str | None
    since: datetime | None

    def __str__(self) -> str:
        if not self.pid:
            return "a prepared transaction (see pg_prepared_xacts)"
        role = f"role {self.role}" if self.role else "a process of PostgreSQL itself"
        since = f"since {self.since.astimezone(UTC).isoformat(timespec='seconds')}" if self.since else ""
        return f"process {self.pid} ({', '.join(part for part in (role, self.application, since) if part)})"


@asynccontextmanager
async def table_locked(url: str, observer: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Hold the table's lock for as long as the body runs; `observer` is a second connection, free until then.

    Raises Busy, with the holders, where another session holds it for longer than the time limit of locks.
    """
    async with empty_transaction(url) as connection:
        cursor = await connection.execute("SELECT pg_backend_pid()")
        ((pid,),) = await cursor.fetchall()
        holders: list[Holder] = []
        ended = asyncio.Event()
        watching = asyncio.ensure_future(_watch(observer, pid, holders, ended))
        try:
            await connection.execute(_LOCK_TABLE.encode())
        except errors.LockNotAvailable:
            _log.info("rollup.already_running", holders=[str(holder) for holder in holders])
            remedy = "another roll-up is running, or that session has to end"
            raise Busy(f"{TABLE} is locked by {_listed(holders)}: {remedy}; nothing was written") from None
        finally:
            ended.set()  # not canceled: the connection is needed again
            await watching
        yield


@asynccontextmanager
async def key_locked(url: str, key: int, observer: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Hold an advisory lock for as long as the body runs. Raises Busy, with the holders, where another session holds
    it."""
    async with empty_transaction(url) as connection:
        cursor = await connection.execute(f"SELECT pg_try_advisory_xact_lock({key})".encode())
        if await cursor.fetchone() != (True,):
            raise Busy(await _key_is_held(observer, key))
        yield


async def lock_key(connection: AsyncConnection[Any], key: int) -> None:
    """Wait for an advisory lock, and hold it to the end of this connection's transaction.

    Raises Busy, with the holders, where another session holds it for longer than the time limit of locks.
    """
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
    except errors.LockNotAvailable:
        raise Busy(await _key_is_held(connection, key)) from None


async def _key_is_held(connection: AsyncConnection[Any], key: int) -> str:
    holders = await _read(connection, _HOLDING_KEY, {"key": key})
    return (
        f"the advisory lock {key} is held by {_listed(holders)}: another installation or migration is running, or that"
        " session has to end; nothing was changed"
    )


async def _watch(observer: AsyncConnection[Any], pid: int, holders: list[Holder], ended: asyncio.Event) -> None:
    """Keep the list of the sessions for which this process waits, as seen last, until the wait has ended."""
    with suppress(psycopg.Error):
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), WATCH_SECONDS)
                return
            holders[:] = await _read(observer, _BLOCKING, {"pid": pid}) or holders


async def _read(connection: AsyncConnection[Any], query: str, parameters: Mapping[str, object]) -> list[Holder]:
    cursor = await connection.execute(query.encode(), parameters)
    return [Holder(*row) for row in await cursor.fetchall()]


def _listed(holders: Sequence[Holder]) -> str:
    return ", ".join(map(str, holders)) or "another session"
