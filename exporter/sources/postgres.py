"""PostgreSQL, read only and within limits: few connections, short statements, no waiting for locks.

Every reading is one transaction with one snapshot and one `now`, the database's clock, so that the values of a refresh
belong together and the exporter's own clock does not matter. Nothing here knows a table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import Reachability
from exporter.windows import Integers

CONNECTIONS = 3
CONNECT_SECONDS = 3.0
STATEMENT_SECONDS = 8.0
FILL_SECONDS = 300.0
"""The statement timeout of a transaction that reads a window's whole history."""

FILLS = 2
"""How many transactions of that kind run at once: one connection is always left for what is quick."""

BLOCKS = 64
"""Into how many pieces a large answer is cut, a power of two: of two million users each is a few milliseconds' work."""

BATCH_ROWS = 1_000
"""Rows taken at once of an answer that may be long: about a millisecond's work."""

FILL_MEMORY = "32MB"
"""`work_mem` of such a transaction, unless it is more: to group a history by 200,000 users without temporary files."""

LOCK_MILLISECONDS = 250
GRACE_SECONDS = 2.0
"""How much longer than the server's own statement timeout we wait before we take the connection for dead."""

CANCEL_SECONDS = 1.0
"""How long a server may take to hear that we no longer wait for an answer."""

Row = tuple[Any, ...]

_SAFE_TO_LOG = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InsufficientPrivilege,
)
"""Errors whose message names tables, columns and functions, never a value of a row."""

_DOWN = {"08", "28", "3D", "53", "57"}
"""SQLSTATE classes in which there is no working server for us: connection, authorization, no such database, resources,
operator intervention (shutting down, starting up)."""


class Postgres:
    """A pool of read-only connections. `url` is any libpq URL; options in it (`search_path`, TLS) are kept."""

    name = "postgres"

    def __init__(self, url: str, *, now: datetime | None = None) -> None:
        """`now` fixes the clock of every transaction in place of the database's, for tests of what time does."""
        self.reachability = Reachability(self.name)
        self.fixed_now = now
        self._refusal: psycopg.Error | None = None
        self._refused = asyncio.Event()
        # Whoever waits for a free connection waits here, so that the pool's own time-out means: cannot connect.
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._fill_slots = asyncio.Semaphore(FILLS)
        defaults: dict[str, Any] = {
            "application_name": "hivesync-analytics",
            "connect_timeout": round(CONNECT_SECONDS),
            "tcp_user_timeout": 5_000,  # a peer that vanished is noticed, not waited for
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }
        given = conninfo_to_dict(url)
        self._pool: AsyncConnectionPool[AsyncConnection[Row]] = AsyncConnectionPool(
            url,
            kwargs={name: value for name, value in defaults.items() if name not in given} | {"prepare_threshold": None},
            connection_class=self._connection_class(),
            configure=_make_read_only,
            min_size=0,
            max_size=CONNECTIONS,
            max_idle=120.0,
            timeout=CONNECT_SECONDS,
            reconnect_timeout=1.0,  # no background attempts that back off: every refresh tries anew
            open=False,
        )

    async def open(self) -> None:
        """Start the pool; connects to nothing yet."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close(timeout=GRACE_SECONDS)

    @asynccontextmanager
    async def transaction(self, *, fill: bool = False) -> AsyncIterator[Transaction]:
        """One read-only snapshot; `fill` allows it the time that reading a whole history takes.

        Raises SourceUnavailable or CollectionFailed, for what happens in its body too.
        """
        async with AsyncExitStack() as slots:
            if fill:
                await slots.enter_async_context(self._fill_slots)
            await slots.enter_async_context(self._slots)
            try:
                async with self._connection() as connection:
                    transaction = Transaction(connection, FILL_SECONDS if fill else STATEMENT_SECONDS)
                    await transaction.begin(self.fixed_now, FILL_MEMORY if fill else None)
                    self.reachability.worked()
                    yield transaction
            except (psycopg.Error, TimeoutError, OSError) as caught:
                error: Exception = caught
                if isinstance(error, PoolTimeout) and self._refusal is not None:
                    error = self._refusal
                failed = failure(error)
                if isinstance(failed, SourceUnavailable):
                    self.reachability.failed(failed.kind)
                raise failed from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[Row]]:
        """One that works. After a restart of the server all that were idle are dead: the pool's own check would wait
        seconds between one of those and the next."""
        for attempt in range(CONNECTIONS + 1):
            connection = await self._get()
            try:
                if attempt < CONNECTIONS and not await _is_alive(connection):
                    continue
                try:
                    yield connection
                finally:
                    if not connection.closed and not connection.broken:
                        async with asyncio.timeout(GRACE_SECONDS):
                            await connection.rollback()
                return
            finally:
                await self._pool.putconn(connection)

    async def _get(self) -> AsyncConnection[Row]:
        """A connection from the pool, or why there is none at the first refusal: the pool itself would try again
        until its time is over."""
        self._refusal = None
        self._refused.clear()
        getting = asyncio.ensure_future(self._pool.getconn())
        refused = asyncio.ensure_future(self._refused.wait())
        try:
            await asyncio.wait((getting, refused), return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            await self._give_up(getting)
            raise
        finally:
            refused.cancel()
        if not getting.done() and self._refusal is not None:
            await self._give_up(getting)
            raise self._refusal
        return await getting

    async def _give_up(self, getting: asyncio.Future[AsyncConnection[Row]]) -> None:
        getting.cancel()
        (given,) = await asyncio.gather(getting, return_exceptions=True)
        if isinstance(given, AsyncConnection):
            await self._pool.putconn(given)

    def _connection_class(self) -> type[AsyncConnection[Any]]:
        """Connections that keep why connecting failed (the pool itself only says that it timed out), and that do not
        wait for a server that hangs."""
        source = self

        class Connection(AsyncConnection[Any]):
            @classmethod
            async def connect(cls, *args: Any, **kwargs: Any) -> Any:
                try:
                    return await super().connect(*args, **kwargs)
                except psycopg.Error as error:
                    source._refusal = error
                    source._refused.set()
                    raise

            async def cancel_safe(self, *, timeout: float = CANCEL_SECONDS) -> None:  # noqa: ASYNC109 - psycopg's name
                try:
                    await super().cancel_safe(timeout=min(timeout, CANCEL_SECONDS))
                except errors.CancellationTimeout:
                    # This is called when we are cancelled. Again: then psycopg closes the connection and waits no more.
                    raise asyncio.CancelledError from None

        return Connection


class Transaction:
    """One snapshot of the database: every query sees the same rows and the same `now`."""

    now: datetime
    """The database's clock at its start (UTC)."""

    oldest_running: int
    """The first transaction (64-bit id) that may not have ended when its snapshot was taken: what older ones have
    written is in the snapshot."""

    def __init__(self, connection: AsyncConnection[Row], statement_seconds: float) -> None:
        self._connection = connection
        self._seconds = statement_seconds

    @property
    def now_us(self) -> int:
        """`now` in microseconds since the epoch."""
        return microseconds(self.now)

    async def begin(self, fixed_now: datetime | None, memory: str | None = None) -> None:
        """Set the limits, for this transaction only (so that it works behind a transaction pooler), and take the
        time. `memory` is the least that `work_mem` may be."""
        rows = await self.rows(
            "SELECT now(), txid_snapshot_xmin(txid_current_snapshot()),"
            " set_config('statement_timeout', %(timeout)s, true),"
            " set_config('lock_timeout', %(lock)s, true),"
            " set_config('idle_in_transaction_session_timeout', '30s', true), set_config('timezone', 'UTC', true),"
            " set_config('jit', 'off', true)",
            {"timeout": f"{self._seconds * 1000:.0f}ms", "lock": f"{LOCK_MILLISECONDS}ms"},
        )
        if memory is not None:
            await self.rows(
                "SELECT set_config('work_mem', %(memory)s, true)"
                " WHERE pg_size_bytes(current_setting('work_mem')) < pg_size_bytes(%(memory)s)",
                {"memory": memory},
            )
        now, self.oldest_running, *_ = rows[0]
        self.now = fixed_now or now.astimezone(UTC)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part of this transaction that may fail without taking the rest along.

        Raises CollectionFailed for what goes wrong in it, SourceUnavailable when the connection is lost.
        """
        try:
            async with self._connection.transaction():
                yield
        except (psycopg.Error, TimeoutError, OSError) as error:
            raise failure(error) from error

    async def rows(self, query: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        """The rows of a query; `%(now)s` in it is this transaction's time."""
        async with asyncio.timeout(self._seconds + GRACE_SECONDS):
            cursor = await self._connection.execute(query.encode(), self._values(query, parameters), binary=True)
            return await cursor.fetchall()

    async def batches(
        self, query: str, parameters: Mapping[str, object] | None = None
    ) -> AsyncGenerator[list[Row], None]:
        """As `rows`, BATCH_ROWS at a time: for as many as should neither be held nor worked on at once. Close it if it
        is not read to its end."""
        values = self._values(query, parameters)
        async with self._connection.cursor(name="batches") as cursor:
            async with asyncio.timeout(self._seconds + GRACE_SECONDS):
                await cursor.execute(query.encode(), values, binary=True)
            while True:
                async with asyncio.timeout(self._seconds + GRACE_SECONDS):
                    rows = await cursor.fetchmany(BATCH_ROWS)
                yield rows
                if len(rows) < BATCH_ROWS:
                    return

    def _values(self, query: str, parameters: Mapping[str, object] | None) -> dict[str, object] | None:
        values = dict(parameters or {})
        if "%(now)s" in query:
            values["now"] = self.now
        return values or None

    async def integers(self, query: str, columns: int, parameters: Mapping[str, object] | None = None) -> Integers:
        """The rows of a query whose `columns` columns are all bigint and not null, as an array of shape (n, columns).

        PostgreSQL packs them into one value, so that a million rows cost Python no million objects.
        """
        packed = await self.rows(_packed(query, columns), parameters)
        return _unpacked(packed[0][0], columns)

    async def integers_in_blocks(
        self,
        query: str,
        columns: int,
        parameters: Mapping[str, object],
        take: Callable[[Integers], None],
    ) -> None:
        """As `integers`, for more than should be held or worked on at once: `take` is given up to BLOCKS arrays, one
        after the other.

        The first column must be spread evenly over all of bigint, as hashes are: each block holds the rows of a range
        of it, and the ranges ascend.
        """
        range_of = f"packed.c0 >> {64 - BLOCKS.bit_length() + 1}"
        statement = f"{_packed(query, columns)} GROUP BY {range_of} ORDER BY {range_of}"
        async with asyncio.timeout(self._seconds + GRACE_SECONDS), self._connection.cursor(binary=True) as cursor:
            async for (packed,) in cursor.stream(statement.encode(), self._values(statement, parameters), binary=True):
                take(_unpacked(packed, columns))


def _packed(query: str, columns: int) -> str:
    """SQL for the rows of a query of bigint columns as one bytea."""
    names = [f"c{index}" for index in range(columns)]
    packed = " || ".join(f"int8send(packed.{name})" for name in names)
    return f"SELECT coalesce(string_agg({packed}, ''::bytea), ''::bytea) FROM ({query}) AS packed({', '.join(names)})"


def _unpacked(packed: bytes, columns: int) -> Integers:
    return np.frombuffer(packed, dtype=">i8").astype(np.int64).reshape(-1, columns)


def failure(error: Exception) -> SourceUnavailable | CollectionFailed:
    """What a driver's error means: the source is down, or this one question went wrong."""
    name = Postgres.name
    if isinstance(error, PoolTimeout | TimeoutError | errors.ConnectionTimeout):
        return SourceUnavailable(name, "timeout")
    if isinstance(error, errors.QueryCanceled):
        return CollectionFailed(name, "statement_timeout")
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        kind = _words(type(error).__name__)
        if error.sqlstate[:2] in _DOWN:
            return SourceUnavailable(name, kind)
        return CollectionFailed(
            name, kind, (error.diag.message_primary or "") if isinstance(error, _SAFE_TO_LOG) else ""
        )
    if isinstance(error, psycopg.OperationalError | OSError):
        return SourceUnavailable(name, _connection_kind(str(error)))
    return CollectionFailed(name, _words(type(error).__name__))


def microseconds(time: datetime) -> int:
    """Microseconds since the epoch of an aware datetime, exactly."""
    delta = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def moment(time_us: int) -> datetime:
    """The inverse of `microseconds`."""
    seconds, rest = divmod(time_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


async def _is_alive(connection: AsyncConnection[Any]) -> bool:
    """Whether a connection that was idle still works; one to a server that hangs would never say."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await AsyncConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True


async def _make_read_only(connection: AsyncConnection[Any]) -> None:
    await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)


def _connection_kind(message: str) -> str:
    """A constant for what libpq says in prose where it has no SQLSTATE to give."""
    for words, kind in (
        ("refused", "refused"),
        ("timeout", "timeout"),
        ("could not translate host name", "unknown_host"),
        ("failed to resolve host", "unknown_host"),
        ("too many", "too_many_connections"),
        ("starting up", "starting_up"),
        ("shutting down", "shutting_down"),
        ("authentication", "authentication"),
        ("password", "authentication"),
        ("pg_hba.conf", "authentication"),
        ("not permitted to log in", "authentication"),
        ("permission denied for database", "authentication"),
        ('FATAL:  role "', "authentication"),  # ... does not exist
        ("does not exist", "unknown_database"),
        ("certificate", "tls"),
        ("SSL", "tls"),
    ):
        if words in message:
            return kind
    return "connection_lost"


def _words(name: str) -> str:
    """UndefinedTable -> undefined_table."""
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).removeprefix("_")
