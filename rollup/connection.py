"""The roll-up's connections to PostgreSQL, and their limits.

Limits and locks (`lock.py`) belong to a transaction, not to a session: so both work behind a transaction pooler, which
gives every transaction another session, and sessions to other clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict

from exporter.sources.rewritten import REWRITTEN
from rollup.errors import RunFailed, failure

_CONNECT = {
    "application_name": "hivesync-analytics-rollup",
    "connect_timeout": 5,
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 30,
}

_LIMITS = {
    "timezone": "UTC",
    "statement_timeout": "1h",  # enough for a fill of years
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "0",  # the holder of the lock has nothing else to do
    "work_mem": "64MB",  # for the users' masks: half a million of them, since PostgreSQL doubles it for hashes
    "jit": "off",
    "row_security": "off",  # where policies would hide rows, PostgreSQL refuses: a part is never taken for the whole
}
_SET_LIMITS = "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _LIMITS.items())


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """Open a connection. Raises Refused or RunFailed for its errors, those in the body too."""
    given = conninfo_to_dict(url)
    options: dict[str, Any] = {name: value for name, value in _CONNECT.items() if name not in given}
    try:
        async with await AsyncConnection.connect(url, autocommit=True, prepare_threshold=None, **options) as connection:
            yield connection
    except psycopg.Error as error:
        raise failure(error) from error


@asynccontextmanager
async def transaction(connection: AsyncConnection[Any], *, read_only: bool = False) -> AsyncIterator[None]:
    """Run the body in a transaction with the roll-up's limits, in UTC; `read_only`: read only, and of one snapshot."""
    async with connection.transaction():
        if read_only:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await connection.execute(_SET_LIMITS)
        yield
        if read_only:
            await _check_tables(connection)


async def _check_tables(connection: AsyncConnection[Any]) -> None:
    """Raise RunFailed if a table was rewritten before it was read, which then found it empty."""
    with suppress(errors.InsufficientPrivilege):
        for (table,) in await (await connection.execute(REWRITTEN)).fetchall():
            raise RunFailed(f"{table} was rewritten while it was read, and looked empty: repeat this")


@asynccontextmanager
async def empty_transaction(url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """Open a connection of its own for a lock, in an empty transaction with the roll-up's limits.

    While it waits it holds back no vacuum. When the process is killed the lock is free at once, even while PostgreSQL
    still runs the queries of the process.
    """
    async with connected(url) as connection:
        await connection.execute("BEGIN")
        await connection.execute(_SET_LIMITS)
        try:
            yield connection
        finally:
            # Awaited, so that the next run finds the lock free. An error here must not fail the completed work.
            with suppress(psycopg.Error):
                await connection.execute("ROLLBACK")
            await connection.close()
