"""The history of a collector: each refresh asks it for a plan of what to read, and it notes what was read.

    async with self._history.reading(sources.postgres) as plan:
        rows = await self._rows(plan.transaction, plan.new)
        reread = [(part, await self._rows(plan.transaction, part)) for part in plan.recheck]
        self._minutes.replace(*plan.new.minutes, rows)
        for part, part_rows in reread:
            plan.corrected += self._minutes.replace(*part.minutes, part_rows)

The body reads everything first and then changes its windows without an `await`, as its last act. A body that fails, or
is cancelled while it reads, leaves the windows and the history as they were: the next refresh reads the same again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from exporter.sources.postgres import Postgres, Transaction
from exporter.spec import Sample
from exporter.windows.cursor import ReadCursor
from exporter.windows.resync import Resync
from exporter.windows.units import HOUR, MINUTE, Part, minute
from exporter.windows.versions import PartState, RowVersions, TimedRows


@dataclass(slots=True)
class ReadPlan:
    """The reading of one refresh. The body sets `recheck` to less if it reads less, and `corrected` and `doubtful` to
    what it finds."""

    transaction: Transaction

    now: int
    """The transaction's time, the end of every window."""

    begin: int
    """The start of the longest window: earlier rows are to be forgotten."""

    new: Part
    """The time in which rows may be new: those read replace those known of the same minutes."""

    fill: bool
    """Whether `new` is the whole window, and replaces everything known."""

    corrects: bool
    """Whether this is a fill because old rows have changed, so that its differences are corrections."""

    recheck: Sequence[Part] = ()
    """Parts of the past, whole minutes, in which rows have changed: to be re-read. None on a fill."""

    corrected: int = 0
    """The differences that were found in `recheck`, or by a fill that corrects."""

    doubtful: bool = False
    """Whether a change was found that only a fill can put right."""


class History:
    """The past of one collector: how far it was read, and when which part of it is checked for changes."""

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
    ) -> None:
        """`horizon` is the length of the longest window, `rows` those that the windows hold, and `known` tells how many
        of them they hold of a part, where they can tell.

        Some have more to say: `refers` names tables that the rows refer to and are deleted with; `begins` gives the
        start of a window that begins with the calendar; `part` is the length of the past that is checked at a time;
        without `hourly`, it is checked once a day only, and not by the tables' counters.
        """
        self._horizon, self._begins, self._known = horizon, begins, known
        self._cursor = ReadCursor(horizon)
        tables = {**dict.fromkeys((each.table for each in rows), True), **dict.fromkeys(refers, False)}
        self._resync = Resync(collector, horizon, tables if hourly else {}, part)
        self._versions = RowVersions(rows) if rows else None

    @asynccontextmanager
    async def reading(self, postgres: Postgres) -> AsyncIterator[ReadPlan]:
        """One transaction with the plan of what to read in it; noted as read when the body ends without an error."""
        async with postgres.transaction(fill=self._cursor.filling) as transaction:
            now = transaction.now_us
            since, fill = self._cursor.since(now)
            begin = self._begins(transaction.now) if self._begins else now - self._horizon
            resync = await self._resync.plan(transaction)
            plan = ReadPlan(transaction, now, begin, Part(max(since, begin), now), fill, fill and self._resync.doubtful)
            if fill and self._versions:
                await self._versions.filled(transaction)
            states = {} if fill else await self._look(transaction, self._cut(resync.parts, begin))
            plan.recheck = [part for part, (is_changed, _) in states.items() if is_changed]
            yield plan
            # No await since the windows were changed: both are done, or neither.
            self._note(plan, states, resync.skipped)

    def look_back(self) -> None:
        """Have the next refresh read everything that may have been committed late."""
        self._cursor.look_back()

    def counters(self) -> Sequence[Sample]:
        """The account of the resync."""
        return self._resync.counters()

    def _cut(self, parts: Sequence[Part], begin: int) -> list[Part]:
        """The parts as far as they are in the window: of one that begins within a minute, in its whole minutes."""
        first = begin if self._begins else minute(begin) * MINUTE
        return [Part(max(part.start, first), part.end) for part in parts if part.end > first]

    async def _look(self, transaction: Transaction, parts: Sequence[Part]) -> dict[Part, tuple[bool, PartState]]:
        """Whether each of the parts has changed, and its state."""
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
