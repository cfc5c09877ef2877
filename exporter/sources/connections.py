"""PostgreSQL connections that are kept: opened when one is needed, used again, replaced when they are dead or old.

    take() -> a connection that works, or why there is none;  give_back() -> kept for the next, or closed

The task that needs a connection opens it, so that the reason of a refusal reaches that task and no other: waiting tasks
share nothing. The number of connections is limited in `postgres.py`, which stands behind this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

IDLE_SECONDS = 120.0
"""How long a connection is kept that no task has used."""

LIFETIME_SECONDS = 3600.0
"""How long a connection is used at all, so that the server's caches for it do not grow for ever, and a setting that was
changed for the role takes effect."""

ADDRESSES = 4
"""How many addresses of a name, or hosts of a URL, may each take the whole time before no more are tried."""

CANCEL_SECONDS = 1.0
"""How long a server may take to hear that we no longer wait for an answer."""


class Connection(AsyncConnection[Any]):
    """A read-only connection with its age, which does not wait for a server that hangs."""

    opened_at: float
    idle_since: float

    async def cancel_safe(self, *, timeout: float = CANCEL_SECONDS) -> None:  # noqa: ASYNC109 - psycopg's name
        try:
            await super().cancel_safe(timeout=min(timeout, CANCEL_SECONDS))
        except errors.CancellationTimeout:
            # This is called when we are cancelled. Again: then psycopg closes the connection and waits no more.
            raise asyncio.CancelledError from None


class Connections:
    """The connections of one URL."""

    def __init__(self, url: str, connect_seconds: float, options: Mapping[str, Any]) -> None:
        """`connect_seconds` is the time for one address, and `options` are libpq's, where the URL has none of its
        own."""
        given = conninfo_to_dict(url)
        defaults = {"connect_timeout": round(connect_seconds), **options}
        self._url = url
        self._options = {name: value for name, value in defaults.items() if name not in given}
        chosen = str(given.get("connect_timeout", ""))
        self._address_seconds = max(connect_seconds, int(chosen) if chosen.isdecimal() else 0)
        self._idle: list[Connection] = []  # the one used last at the end
        self._closed = False

    async def take(self, check_seconds: float) -> Connection:
        """A connection that works: an idle one, if any still does, otherwise a new one. After a restart of the server
        all idle connections are dead.

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
                return connection
        return await self._open()

    async def give_back(self, connection: Connection) -> None:
        """Keep it for the next task, unless it is broken, in a transaction, or old; close the long idle."""
        now = time.monotonic()
        is_usable = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if is_usable and not self._closed and now - connection.opened_at < LIFETIME_SECONDS:
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
        # psycopg limits the time of each address, and not that of resolving a name.
        async with asyncio.timeout(ADDRESSES * self._address_seconds):
            connection = await Connection.connect(self._url, prepare_threshold=None, **self._options)
        try:
            connection.opened_at = time.monotonic()
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            await connection.set_read_only(True)
        except BaseException:
            await connection.close()
            raise
        return connection


async def _check(connection: Connection) -> None:
    """Raises psycopg.Error unless it still works."""
    await connection.set_autocommit(True)  # otherwise this would begin a transaction
    await connection.execute("")
    await connection.set_autocommit(False)
