"""How the roll-up reaches PostgreSQL: its limits, and the lock that lets only one run at a time.

Limits are set for each transaction, and the lock is a transaction's too, not the session's: so that it works behind a
transaction pooler, which gives every transaction another session, and ours to others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from rollup.errors import failure

LOCK = int.from_bytes(b"hivesync", "big") >> 1
"""The key of the advisory lock that one roll-up holds in a database; ours by its value only."""

_CONNECT = {
    "application_name": "hivesync-analytics-rollup",
    "connect_timeout": 5,
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 30,
}

_LIMITS = {
    "timezone": "UTC",
    "statement_timeout": "1h",  # a fill of years
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "0",  # what holds the lock has nothing else to do
    "work_mem": "64MB",  # for the users' masks: half a million of them, with PostgreSQL's own twice that for hashes
    "jit": "off",
    "row_security": "off",  # where policies would hide rows, PostgreSQL refuses: a part is never taken for the whole
}
_SET_LIMITS = "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _LIMITS.items())


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection. Raises Refused or RunFailed for what goes wrong with it, in its body too."""
    given = conninfo_to_dict(url)
    options: dict[str, Any] = {name: value for name, value in _CONNECT.items() if name not in given}
    try:
        async with await AsyncConnection.connect(url, autocommit=True, prepare_threshold=None, **options) as connection:
            yield connection
    except psycopg.Error as error:
        raise failure(error) from error


@asynccontextmanager
async def transaction(connection: AsyncConnection[Any], *, read_only: bool = False) -> AsyncIterator[None]:
    """A transaction within our limits, in UTC; `read_only`: and of one snapshot."""
    async with connection.transaction():
        if read_only:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await connection.execute(_SET_LIMITS)
        yield


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[bool]:
    """Whether this is now the only roll-up of the database, as long as the body runs.

    The lock has a connection of its own, which waits in an empty transaction: it holds back no vacuum, and should we be
    killed the lock is free at once, whatever PostgreSQL is still at work on for us.
    """
    async with connected(url) as connection:
        await connection.execute("BEGIN")
        await connection.execute(_SET_LIMITS)
        # Without parameters: those would leave a portal open, and with it a snapshot that does hold back vacuum.
        cursor = await connection.execute(f"SELECT pg_try_advisory_xact_lock({LOCK})".encode())
        try:
            yield bool((await cursor.fetchone() or (False,))[0])
        finally:
            # Heard, so that whoever runs next finds it free. Lost before, it would fail what has been done.
            with suppress(psycopg.Error):
                await connection.execute("ROLLBACK")
            await connection.close()
