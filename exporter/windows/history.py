"""The history of a collector: it gives each refresh a plan of its reading, and notes the rows that were read.

    async with self._history.reading(sources.postgres) as plan:
        rows = await self._rows(plan.transaction, plan.new)
        reread = [(part, await self._rows(plan.transaction, part)) for part in plan.recheck]
        self._minutes.replace(*plan.new.minutes, rows)
        for part, part_rows in reread:
            plan.corrected += self._minutes.replace(*part.minutes, part_rows)

The body reads everything first and then changes its windows without an `await`, as its last act. A body that fails, or
is cancelled while it reads, leaves the windows and the history unchanged: the next refresh reads the same rows again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from exporter.errors import CollectionFailed
from exporter.sources.postgres import Postgres, Transaction
from exporter.spec import Sample
from exporter.windows.cursor import ReadCursor
from exporter.windows.resync import Resync
from exporter.windows.units import HOUR, MINUTE, RESYNC, Part, minute
from exporter.windows.versions import PartState, RowVersions, TimedRows


@dataclass(slots=True)
class ReadPlan:
    """The reading of one refresh. The body reduces `recheck` where it reads less, and sets `corrected` and
    `doubtful`."""

    transaction: Transaction

    now: int
    """The transaction's time, the end of every window."""

    begin: int
    """The start of the longest window: earlier rows are to be dropped."""

    new: Part
    """The time in which rows may be new. The rows read replace the known rows of the same minutes."""

    fill: bool
    """Whether `new` is the whole window, and replaces all known rows."""

    corrects: bool
    """Whether this is a fill on account of changes to old rows, so that its differences are corrections."""

    recheck: Sequence[Part] = ()
    """Parts of the past, in whole minutes, whose rows have changed and are to be re-read. Empty on a fill."""

    corrected: int = 0
    """The differences found in `recheck`, or by a fill that corrects."""

    doubtful: bool = False
    """Whether a change was found that only a fill can correct."""


class History:
    """The past of one collector: the time up to which it was read, and the schedule by which its parts are checked."""

    def __init__(
        self,
        collector: str,
        horizon: int,
        rows: Sequence[TimedRows],
        *,
        known: Callable[[Part], int] | None = None,
        refers: Sequence[str] = (),
        begins: Callable[[datetime], int] | None = None,
        part: int = HOUR,
        hourly: bool = True,
        older: int | None = None,
        recheck: int = RESYNC,
    ) -> None:
        """`horizon` is the length of the longest window and `rows` are the rows in the windows. `known` returns the
        number of rows of a part that the windows hold, where they can count them.

        Optional: `refers` names tables that the rows refer to and with which they are deleted; `begins` returns the
        start of a window that begins with the calendar; `part` is the length of the past that is checked at a time;
        without `hourly`, each part is checked once a day only, and the tables' counters are not used. With `older`, the
        whole window is checked in parts of that length, and its last day in those of `part` too, once per `recheck`.
        The counters are not used then, so that no change makes a fill: `known` has to count all rows.
        """
        self._horizon, self._begins, self._known = horizon, begins, known
        self._cursor = ReadCursor(horizon)
        tables = {**dict.fromkeys((each.table for each in rows), True), **dict.fromkeys(refers, False)}
        counted = tables if hourly and older is None else {}
        self._resync = Resync(collector, horizon, counted, part, older=older, recheck=recheck)
        self._versions = RowVersions(rows) if rows else None
        self._server: int | None = None  # the number of the server that the windows are read from

    @asynccontextmanager
    async def reading(self, postgres: Postgres) -> AsyncIterator[ReadPlan]:
        """Open a transaction with the plan of the reading in it; note the plan as read when the body ends without an
        error. On another server than before, everything is read again."""
        async with self._noting_misfits(), self._transaction(postgres) as transaction:
            now = transaction.now_us
            since, fill = self._cursor.since(now)
            begin = self._begins(transaction.now) if self._begins else now - self._horizon
            resync = await self._resync.plan(transaction, fill=fill)
            corrects = fill and self._resync.doubtful and transaction.server.number == self._server
            plan = ReadPlan(transaction, now, begin, Part(max(since, begin), now), fill, corrects)
            if fill and self._versions:
                await self._versions.filled(transaction)
            states = {} if fill else await self._look(transaction, self._cut(resync.parts, begin))
            plan.recheck = [part for part, (is_changed, _) in states.items() if is_changed]
            yield plan
            # No await after the windows were changed: either both are updated, or neither.
            self._note(plan, states, resync.skipped)
            self._server = transaction.server.number

    @asynccontextmanager
    async def _noting_misfits(self) -> AsyncIterator[None]:
        """Fill the window after a query that did not fit the tables: once they fit again, any row may be another."""
        try:
            yield
        except CollectionFailed as error:
            self._cursor.filling |= error.altered
            raise

    @asynccontextmanager
    async def _transaction(self, postgres: Postgres) -> AsyncIterator[Transaction]:
        """Open a transaction with the time that its reading needs: whether that is a fill may follow from its clock and
        its server."""
        was_filling = self._cursor.filling
        async with AsyncExitStack() as opened:
            transaction = await opened.enter_async_context(postgres.transaction(fill=was_filling))
            self._check_server(transaction)
            self._cursor.since(transaction.now_us)
            if self._cursor.filling and not was_filling:
                await opened.aclose()
                transaction = await opened.enter_async_context(postgres.transaction(fill=True))
                self._check_server(transaction)
            yield transaction

    def _check_server(self, transaction: Transaction) -> None:
        if self._server not in (None, transaction.server.number):
            self._cursor.filling = True

    def start_over(self) -> None:
        """Make the next refresh fill the whole window."""
        self._cursor.filling = True

    def look_back(self) -> None:
        """Make the next refresh re-read everything that may have been committed late."""
        self._cursor.look_back()

    def counters(self) -> Sequence[Sample]:
        """Return the resync counters."""
        return self._resync.counters()

    def _cut(self, parts: Sequence[Part], begin: int) -> list[Part]:
        """Return the parts, cut to the window: for a window that begins within a minute, to its whole minutes."""
        first = begin if self._begins else minute(begin) * MINUTE
        return [Part(max(part.start, first), part.end) for part in parts if part.end > first]

    async def _look(self, transaction: Transaction, parts: Sequence[Part]) -> dict[Part, tuple[bool, PartState]]:
        """Return, per part, whether it has changed, and its state."""
        if not parts or self._versions is None:
            return {}
        await self._versions.check(transaction)
        known = self._known
        return {part: await self._versions.look(transaction, part, known and known(part)) for part in parts}

    def _note(self, plan: ReadPlan, states: dict[Part, tuple[bool, PartState]], skipped: int) -> None:
        self._cursor.advance(plan.now, plan.fill)
        for part, (is_changed, state) in states.items():
            if self._versions and (part in plan.recheck or not is_changed):
                self._versions.note(part, state)
            skipped += not is_changed
        if self._versions:
            self._versions.forget(plan.begin)
        self._resync.doubtful |= plan.doubtful
        self._resync.note(
            plan.now, filled=plan.fill, reread=len(plan.recheck), skipped=skipped, corrected=plan.corrected
        )
        self._cursor.filling = self._resync.wants_fill(plan.now)
