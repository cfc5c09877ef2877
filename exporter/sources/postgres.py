"""PostgreSQL, read only and within limits: few connections, short statements, no waiting for locks.

Every reading is one transaction with one snapshot and one `now`, the database's clock, so that the values of a refresh
are consistent and the exporter's own clock does not matter. This module knows no table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
from psycopg.pq import TransactionStatus

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import Reachability
from exporter.sources.connections import Connection, Connections
from exporter.sources.identity import DatabaseServer, Identity, Lineage, Sighting
from exporter.sources.refusals import NAME, failure
from exporter.sources.rewritten import REWRITTEN, TABLE_REWRITTEN
from exporter.sources.waiters import Watch
from exporter.windows import Integers

CONNECTIONS = 3
CONNECT_SECONDS = 3.0
STATEMENT_SECONDS = 8.0
"""The statement timeout, also while a window's whole history is read: in pieces (`windows/pieces.py`)."""

FILLS = 2
"""Maximum of transactions at once that read a history: one connection is always left for short ones."""

BLOCKS = 64
"""Number of blocks of a large result, a power of two: at two million users, each block is a few milliseconds' work."""

BATCH_ROWS = 1_000
"""Rows per batch of a result that may be long: about a millisecond's work."""

FILL_MEMORY = "32MB"
"""Minimum of `work_mem` in such a transaction: enough to group a history by 200,000 users without temporary files."""

CHECK_SECONDS = 2.0
"""Interval at which a server checks, within a statement, that the client still exists."""

UNREAD_SECONDS = 10.0
"""Time after which a server gives up a client that does not read its answer."""

LOCK_MILLISECONDS = 250
GRACE_SECONDS = 2.0
"""Time beyond the server's own statement timeout after which the connection is taken for dead."""

Row = tuple[Any, ...]

# The last but one part of the path of any table's file is the database's. The catalogue of databases itself may be
# hidden from a role.
_SIGHTING = (
    "pg_postmaster_start_time(), pg_is_in_recovery(),"
    " substring(pg_relation_filepath('pg_catalog.pg_class'::regclass) FROM '([0-9]+)/[^/]*$'),"
    " txid_snapshot_xmin(txid_current_snapshot())"
)
"""SQL for a `Sighting`."""

_LINEAGE = "SELECT system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system()"
"""SQL for a `Lineage`. Not possible on a standby, for a role without the right, and on some managed servers."""

_IN_TRANSACTION = (TransactionStatus.INTRANS, TransactionStatus.INERROR)


class Postgres:
    """Read-only connections to one server. `url` is any libpq URL; options in it (`search_path`, TLS) are kept."""

    name = NAME

    def __init__(self, url: str, *, now: datetime | None = None) -> None:
        """`now` fixes the clock of every transaction in place of the database's, for tests of the effects of time."""
        self.reachability = Reachability(self.name, has_identity=True)
        self._identity = Identity()
        self._watch = Watch(self.name, self._ask)
        self.fixed_now = now
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._fill_slots = asyncio.Semaphore(FILLS)
        self._connections = Connections(
            url,
            CONNECT_SECONDS,
            {
                "application_name": "hivesync-analytics",
                "tcp_user_timeout": 5_000,  # detects a peer that vanished
                "keepalives_idle": 30,
                "keepalives_interval": 5,
                "keepalives_count": 3,
            },
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._watch.stop()
        await self._connections.close()

    async def made_way(self) -> None:
        """Wait until the clients for which a reading was given up have finished, but not for long."""
        await self._watch.made_way()

    async def _ask(self, query: str, pids: Sequence[int]) -> list[Row]:
        async with self._opened(STATEMENT_SECONDS) as transaction:
            return await transaction.rows(query, {"pids": list(pids)})

    @asynccontextmanager
    async def transaction(
        self, *, fill: bool = False, statement_seconds: float | None = None
    ) -> AsyncIterator[Transaction]:
        """Open one read-only snapshot; `fill` gives it the memory for reading a whole history. `statement_seconds` is
        the statement timeout, STATEMENT_SECONDS by default.

        Raises SourceUnavailable or CollectionFailed, also for errors in its body: MadeWay where another client waits
        for it.
        """
        seconds = STATEMENT_SECONDS if statement_seconds is None else statement_seconds
        async with self._opened(seconds, fill=fill) as transaction, self._watch.over(transaction.pid):
            yield transaction

    @asynccontextmanager
    async def _opened(self, statement_seconds: float, *, fill: bool = False) -> AsyncIterator[Transaction]:
        async with AsyncExitStack() as slots:
            if fill:
                await slots.enter_async_context(self._fill_slots)
            await slots.enter_async_context(self._slots)
            try:
                async with self._connection() as connection:
                    transaction = Transaction(connection, statement_seconds)
                    await transaction.begin(self.fixed_now, self._identity, FILL_MEMORY if fill else None)
                    self.reachability.worked()
                    if transaction.change is not None:
                        self._connections.retire(connection)
                        self.reachability.changed(transaction.change)
                    yield transaction
                    await transaction.end()
            except (psycopg.Error, TimeoutError, OSError) as error:
                failed = failure(error)
                if isinstance(failed, SourceUnavailable):
                    self.reachability.failed(failed.kind)
                raise failed from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        connection = await self._connections.take(CONNECT_SECONDS)
        try:
            yield connection
        finally:
            try:
                # A statement that a cancelled task left behind cannot be rolled back: the connection is closed.
                if connection.pgconn.transaction_status in _IN_TRANSACTION:
                    async with asyncio.timeout(GRACE_SECONDS):
                        await connection.end_transaction()
            finally:
                await self._connections.give_back(connection)


class Transaction:
    """One snapshot of the database: every query sees the same rows and the same `now`."""

    now: datetime
    """The database's clock at its start (UTC)."""

    oldest_running: int
    """The first transaction (64-bit id) that may have been running when the snapshot was taken: rows of older ones are
    in the snapshot."""

    server: DatabaseServer
    """The server that it runs on: whatever was read from another one must not be kept."""

    started: datetime
    """The start of that server, which no two servers share."""

    pid: int
    """The backend that it runs on."""

    change: str | None
    """Where this transaction is the first on another server than before: the reason, a constant word."""

    def __init__(self, connection: Connection, statement_seconds: float) -> None:
        self._connection = connection
        self.statement_seconds = statement_seconds

    @property
    def now_us(self) -> int:
        """`now` in microseconds since the epoch."""
        return microseconds(self.now)

    async def begin(self, fixed_now: datetime | None, identity: Identity, memory: str | None = None) -> None:
        """Set the limits, for this transaction only (so that it works with a transaction pooler), and read the time and
        the server's identity. `memory` is the minimum of `work_mem`."""
        before = identity.known
        rows = await self.rows(
            f"SELECT now(), pg_backend_pid(), {_SIGHTING},"
            " set_config('statement_timeout', %(timeout)s, true),"
            " set_config('lock_timeout', %(lock)s, true),"
            " set_config('idle_in_transaction_session_timeout', '30s', true), set_config('timezone', 'UTC', true),"
            # Where policies would hide rows from this role, PostgreSQL refuses: a part is never taken for the whole.
            " set_config('jit', 'off', true), set_config('row_security', 'off', true),"
            # Left alone by a client that was killed, or stopped within an answer, a server would go on.
            # Other systems refuse both settings, or log each attempt.
            " CASE WHEN version() LIKE '%%linux%%' THEN set_config('tcp_user_timeout', %(unread)s, true)"
            " || set_config('client_connection_check_interval', %(check)s, true) END",
            {
                "timeout": f"{self.statement_seconds * 1000:.0f}ms",
                "lock": f"{LOCK_MILLISECONDS}ms",
                "unread": f"{UNREAD_SECONDS * 1000:.0f}ms",
                "check": f"{CHECK_SECONDS * 1000:.0f}ms",
            },
        )
        if memory is not None:
            await self.rows(
                "SELECT set_config('work_mem', %(memory)s, true)"
                " WHERE pg_size_bytes(current_setting('work_mem')) < pg_size_bytes(%(memory)s)",
                {"memory": memory},
            )
        now, self.pid, *seen = rows[0][:6]
        sighting = Sighting(*seen)
        self.oldest_running, self.started = sighting.oldest_running, sighting.started
        self.now = fixed_now or now.astimezone(UTC)
        self.server, self.change = await identity.of(sighting, before, self._lineage)

    async def _lineage(self) -> Lineage | None:
        try:
            async with self.savepoint():
                ((system, timeline),) = await self.rows(_LINEAGE)
        except CollectionFailed:
            return None
        return Lineage(system, timeline)

    async def end(self) -> None:
        """Check the tables at the end, as `check_tables` does."""
        if self._connection.pgconn.transaction_status == TransactionStatus.INTRANS:
            with suppress(psycopg.errors.InsufficientPrivilege):
                _refuse(await self.rows(REWRITTEN, plan_once=True))

    async def check_tables(self) -> None:
        """Raise CollectionFailed if a table was rewritten after the snapshot and before its reading, which then found
        it empty. This happens at the end of every transaction; rows that are kept, whatever becomes of the
        transaction, need it before."""
        async with self.savepoint():
            with suppress(psycopg.errors.InsufficientPrivilege):
                _refuse(await self.rows(REWRITTEN, plan_once=True))

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Open a part of this transaction that may fail without the rest.

        Raises CollectionFailed for an error in it, SourceUnavailable when the connection is lost.
        """
        try:
            async with self._connection.transaction():
                yield
        except (psycopg.Error, TimeoutError, OSError) as error:
            raise failure(error) from error

    async def rows(
        self, query: str, parameters: Mapping[str, object] | None = None, *, plan_once: bool = False
    ) -> list[Row]:
        """Return the rows of a query; `%(now)s` in it is this transaction's time.

        `plan_once` is for a constant query whose best plan never changes, such as one on the catalogue, where planning
        takes longer than execution: where possible PostgreSQL keeps its plan. Other queries are planned for their
        parameters, such as a time that few rows are newer than.
        """
        prepare = plan_once and self._connection.is_backend(self.pid)
        async with asyncio.timeout(self.statement_seconds + GRACE_SECONDS):
            cursor = await self._connection.execute(
                query.encode(), self._values(query, parameters), binary=True, prepare=prepare
            )
            return await cursor.fetchall()

    async def batches(
        self, query: str, parameters: Mapping[str, object] | None = None
    ) -> AsyncGenerator[list[Row], None]:
        """Yield rows like `rows`, BATCH_ROWS at a time: for results too large to be held or processed at once. To be
        closed if it is not read to its end."""
        values = self._values(query, parameters)
        async with self._connection.cursor(name="batches") as cursor:
            async with asyncio.timeout(self.statement_seconds + GRACE_SECONDS):
                await cursor.execute(query.encode(), values, binary=True)
            while True:
                async with asyncio.timeout(self.statement_seconds + GRACE_SECONDS):
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
        """Return the rows of a query whose `columns` columns are all bigint and not null, as an array of shape (n,
        columns).

        PostgreSQL packs them into one value, so that a million rows do not become a million Python objects.
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
        """Read rows like `integers`, for results too large to be held or processed at once: `take` is called with up to
        BLOCKS arrays, one after the other.

        The first column must be distributed evenly over all of bigint, like hashes: each block contains the rows of a
        range of it, in ascending order of ranges.
        """
        range_of = f"packed.c0 >> {64 - BLOCKS.bit_length() + 1}"
        statement = f"{_packed(query, columns)} GROUP BY {range_of} ORDER BY {range_of}"
        async with (
            asyncio.timeout(self.statement_seconds + GRACE_SECONDS),
            self._connection.cursor(binary=True) as cursor,
        ):
            async for (packed,) in cursor.stream(statement.encode(), self._values(statement, parameters), binary=True):
                take(_unpacked(packed, columns))


def _refuse(rewritten: list[Row]) -> None:
    for (table,) in rewritten:
        raise CollectionFailed(NAME, TABLE_REWRITTEN, f'relation "{table}" was rewritten meanwhile', altered=True)


def _packed(query: str, columns: int) -> str:
    """Return SQL for the rows of a query of bigint columns as one bytea."""
    names = [f"c{index}" for index in range(columns)]
    packed = " || ".join(f"int8send(packed.{name})" for name in names)
    return f"SELECT coalesce(string_agg({packed}, ''::bytea), ''::bytea) FROM ({query}) AS packed({', '.join(names)})"


def _unpacked(packed: bytes, columns: int) -> Integers:
    return np.frombuffer(packed, dtype=">i8").astype(np.int64).reshape(-1, columns)


def microseconds(time: datetime) -> int:
    """Return the exact microseconds since the epoch of an aware datetime."""
    delta = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def moment(time_us: int) -> datetime:
    """Return the datetime of a result of `microseconds`."""
    seconds, rest = divmod(time_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
