"""A pool of PostgreSQL connections: opened on demand, reused, replaced when they are dead or old.

    take() -> a working connection, or an error with the reason;  give_back() -> kept for reuse, or closed

The task that needs a connection opens it, so that the reason of a refusal reaches that task and no other: waiting tasks
share nothing. `postgres.py`, which uses this module, limits the number of connections.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

IDLE_SECONDS = 120.0
"""Time for which an unused connection is kept."""

LIFETIME_SECONDS = 3600.0
"""Maximum age of a connection, so that the server's caches for it do not grow without bound, and changed settings of
the role take effect."""

ON_REQUEST = sys.maxsize
"""Number of executions after which a statement is prepared without a request for it: never."""

ADDRESSES = 4
"""Number of addresses of a name, or hosts of a URL, that may each take the full time limit before the attempt ends."""

CANCEL_SECONDS = 1.0
"""Time limit for telling a server to cancel a query."""


class Connection(AsyncConnection[Any]):
    """A read-only connection with its age, which does not wait for a server that hangs."""

    opened_at: float
    idle_since: float
    era: int
    """The era in which it was opened: `Connections.retire` ends an era."""

    def is_backend(self, pid: int) -> bool:
        """Return whether this connection is one to that backend itself. A pooler announces another number, as its
        backends change between transactions: statements prepared in one are unknown to the next."""
        return pid == self.info.backend_pid

    async def end_transaction(self) -> None:
        """End a transaction that has written nothing. A rollback would also drop the prepared statements."""
        if self.pgconn.transaction_status == TransactionStatus.INTRANS:
            await self.commit()
        else:
            await self.rollback()

    async def cancel_safe(self, *, timeout: float = CANCEL_SECONDS) -> None:  # noqa: ASYNC109 - psycopg's name
        try:
            await super().cancel_safe(timeout=min(timeout, CANCEL_SECONDS))
        except errors.CancellationTimeout:
            # The caller is being cancelled. Raising this again makes psycopg close the connection without further
            # waiting.
            raise asyncio.CancelledError from None


class Connections:
    """The connections of one URL."""

    def __init__(self, url: str, connect_seconds: float, options: Mapping[str, Any]) -> None:
        """`connect_seconds` is the time limit per address; `options` are libpq's, unless the URL sets them."""
        given = conninfo_to_dict(url)
        defaults = {"connect_timeout": round(connect_seconds), **options}
        self._url = url
        self._options = {name: value for name, value in defaults.items() if name not in given}
        chosen = str(given.get("connect_timeout", ""))
        self._address_seconds = max(connect_seconds, int(chosen) if chosen.isdecimal() else 0)
        self._idle: list[Connection] = []  # the most recently used at the end
        self._closed = False
        self._era = 0

    async def take(self, check_seconds: float) -> Connection:
        """Return a working connection: an idle one, if any still works, otherwise a new one. After a restart of the
        server all idle connections are dead.

        `check_seconds` is the longest time that an idle connection may take to answer. Raises TimeoutError, OSError or
        psycopg.Error.
        """
        while self._idle:
            connection = self._idle.pop()
            try:
                async with asyncio.timeout(check_seconds):
                    await _check(connection)
            except psycopg.Error:
                await connection.close()
            except BaseException:
                await connection.close()
                raise
            else:
                if connection.era == self._era:
                    return connection
                await connection.close()
        while (connection := await self._open()).era != self._era:  # opened while another server was found
            await connection.close()
        return connection

    def retire(self, kept: Connection) -> None:
        """Close all connections but one once they are given back or taken: it has found that another server is in the
        place of the one that the others may still be connected to."""
        self._era += 1
        kept.era = self._era

    async def give_back(self, connection: Connection) -> None:
        """Keep the connection for reuse, unless it is broken, in a transaction, or old; close connections idle for too
        long."""
        now = time.monotonic()
        is_usable = connection.pgconn.transaction_status == TransactionStatus.IDLE
        is_current = connection.era == self._era and now - connection.opened_at < LIFETIME_SECONDS
        if is_usable and is_current and not self._closed:
            connection.idle_since = now
            self._idle.append(connection)
        else:
            await connection.close()
        while self._idle and now - self._idle[0].idle_since > IDLE_SECONDS:
            await self._idle.pop(0).close()

    async def close(self) -> None:
        """Close the idle connections now, and the others when they are given back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _open(self) -> Connection:
        # psycopg limits the time per address, but not that of resolving a name.
        era = self._era
        async with asyncio.timeout(ADDRESSES * self._address_seconds):
            connection = await Connection.connect(self._url, prepare_threshold=ON_REQUEST, **self._options)
        try:
            connection.era, connection.opened_at = era, time.monotonic()
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            await connection.set_read_only(True)
        except BaseException:
            await connection.close()
            raise
        return connection


async def _check(connection: Connection) -> None:
    """Raise psycopg.Error unless the connection still works."""
    await connection.set_autocommit(True)  # otherwise this would begin a transaction
    await connection.execute("")
    await connection.set_autocommit(False)
