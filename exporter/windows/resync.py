"""The resync: parts of the past are read again, for changes that re-reading the last minutes cannot see.

Rows are committed more than five minutes late, imported, deleted, or changed without a new time. So the past is read
again an hour at a time: every hour of the last day within an hour, every hour of the whole window within a day; of a
window of an hour, ten minutes at a time within twenty. The turns are spread evenly over time, so that a refresh never
costs much. Where the tables' counters (`changes.py`) show that old rows were deleted or imported, the whole window is
filled again, at most once an hour. Where no counter has moved for two hours, the hourly turns are skipped.

`history.py` stands behind this: it asks for the plan, leaves out the parts whose rows are still the same
(`versions.py`), and notes what the windows hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.changes import Changes, read_changes
from exporter.sources.postgres import Transaction, moment
from exporter.spec import Label, MetricSpec, Sample
from exporter.windows.units import DAY, RESYNC, Part
from exporter.windows.wheel import Wheel

RESYNCS = MetricSpec(
    "hivesync_resyncs_total",
    "counter",
    "Checks of the past for changes that refreshes cannot see, by result: a whole window was re-read (`filled`, at"
    " start too), a part of it was (`reread`), or a part was not, as nothing in it had changed (`skipped`).",
    "the exporter itself",
    (Label("collector"), Label("result", ("filled", "reread", "skipped"))),
)
CORRECTIONS = MetricSpec(
    "hivesync_resync_corrections_total",
    "counter",
    "Corrections that re-reading the past has made, differences added up without their sign: requests and errors (ai),"
    " requests (previews), jobs (latency), tokens (cost), users with another time of last activity (activity).",
    "the exporter itself",
    (Label("collector"),),
)
SPECS = (RESYNCS, CORRECTIONS)

UNEXPLAINED_SHARE, UNEXPLAINED_ROWS = 0.05, 100
"""The rows inserted in a table beyond those that are new, from which on an import is assumed: counters follow by up to
a minute, and count what was rolled back."""


@dataclass(frozen=True, slots=True)
class ResyncPlan:
    """The parts of the past that one refresh checks, and the number of those that it skips."""

    parts: Sequence[Part] = ()
    skipped: int = 0


class Resync:
    """The turns of a collector's past, and the account of them."""

    def __init__(self, collector: str, horizon: int, tables: Mapping[str, bool], length: int) -> None:
        """`tables` are those whose counters are read, and whether their rows count by `created_at`: in a table that the
        others only refer to, a deletion matters and an insertion does not. Without tables, each part has its turn once
        a day only."""
        self._collector, self._tables = collector, tables
        # A part of a short window must have its turn before it has left the window.
        self._recent = Wheel(length, min(horizon, DAY) // length + 1, min(RESYNC, horizon // 3))
        self._whole = Wheel(length, horizon // length + 1, DAY)
        self._long = horizon > DAY
        self._done_at: int | None = None
        self._filled_at = 0
        self.doubtful = False
        """Whether something may be wrong anywhere in a window of more than a day."""
        self._changes: Changes | None = None
        self._moved_at = 0
        self._checked: Changes | None = None
        self._checked_at = 0
        self._counts = {"filled": 0, "reread": 0, "skipped": 0}
        self._corrected = 0

    async def plan(self, transaction: Transaction) -> ResyncPlan:
        """The parts whose turn has come since the last plan that was done."""
        now = transaction.now_us
        if self._done_at is None or not 0 <= now - self._done_at < RESYNC:  # everything is filled now
            self._checked = self._changes = await self._read_changes(transaction)
            self._moved_at = self._checked_at = now
            return ResyncPlan()
        whole = self._whole.due(self._done_at, now)
        recent = self._recent.due(self._done_at, now) if self._tables else []
        if not recent:
            return ResyncPlan(whole)
        changes = await self._read_changes(transaction)
        if changes is None or changes != self._changes:
            self._changes, self._moved_at = changes, now
        if self._long and await self._old_changed(transaction, changes):
            self.doubtful = True
        if now - self._moved_at > 2 * RESYNC:  # so each hour had its turn after the last change
            return ResyncPlan(whole, skipped=len(recent))
        return ResyncPlan(list(dict.fromkeys([*recent, *whole])))

    def note(self, now: int, *, filled: bool, reread: int, skipped: int, corrected: int) -> None:
        """Note what was read at `now`, once the windows hold it."""
        self._done_at = now
        if filled:
            self._filled_at, self.doubtful = now, False
        self._counts["filled"] += filled
        self._counts["reread"] += reread
        self._counts["skipped"] += skipped
        self._corrected += corrected

    def wants_fill(self, now: int) -> bool:
        """Whether the whole window is to be filled again: it is doubtful, and was not filled within RESYNC."""
        return self.doubtful and now - self._filled_at >= RESYNC

    def counters(self) -> list[Sample]:
        """The account as it stands."""
        return [
            *(RESYNCS.sample(n, collector=self._collector, result=result) for result, n in self._counts.items()),
            CORRECTIONS.sample(self._corrected, collector=self._collector),
        ]

    async def _read_changes(self, transaction: Transaction) -> Changes | None:
        return await read_changes(transaction, tuple(self._tables)) if self._tables else None

    async def _old_changed(self, transaction: Transaction, changes: Changes | None) -> bool:
        """Whether rows older than a day may have come or gone since this was last asked; an answer once in RESYNC."""
        since = self._checked_at
        if transaction.now_us - since < RESYNC:
            return False
        before, self._checked, self._checked_at = self._checked, changes, transaction.now_us
        if before is None or changes is None:
            return True
        for table, counts_by_created_at in self._tables.items():
            old, new = before[table], changes[table]
            if old.file != new.file or old.deleted != new.deleted or new.inserted < old.inserted:
                return True
            if counts_by_created_at:
                explained = await _created(transaction, table, since)
                if new.inserted - old.inserted - explained > UNEXPLAINED_ROWS + UNEXPLAINED_SHARE * explained:
                    return True
        return False


async def _created(transaction: Transaction, table: str, since: int) -> int:
    rows = await transaction.rows(
        f"SELECT count(*) FROM {table} WHERE {table}.created_at > %(since)s AND {table}.created_at <= %(now)s",
        {"since": moment(since)},
    )
    return int(rows[0][0])
