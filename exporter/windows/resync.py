"""The resync: re-reads parts of the past, for changes that re-reading the last minutes cannot find.

Rows are committed more than five minutes late, imported, deleted, or changed without a new time. Therefore the past is
re-read one hour at a time: every hour of the last day within an hour, every hour of the whole window within a day; a
window of an hour in parts of ten minutes, all within twenty minutes. The parts are spread evenly over time, so that the
cost of a refresh stays small. Where the tables' counters (`changes.py`) show that old rows were deleted or imported,
the whole window is filled again, at most once an hour. Where no counter has moved for two hours, the hourly checks are
skipped.

`history.py` uses this module: it asks for the plan, leaves out parts whose rows are unchanged (`versions.py`), and
notes the parts that were read.
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
    "Checks of the past for changes that refreshes cannot see, by result: the whole window re-read (`filled`, also at"
    " start), a part re-read (`reread`), or a part skipped as unchanged (`skipped`).",
    "the exporter itself",
    (Label("collector"), Label("result", ("filled", "reread", "skipped"))),
)
CORRECTIONS = MetricSpec(
    "hivesync_resync_corrections_total",
    "counter",
    "Corrections by re-reading the past, as the sum of absolute differences: requests and errors (ai),"
    " requests (previews), jobs (latency), tokens (cost), users with another time of last activity (activity).",
    "the exporter itself",
    (Label("collector"),),
)
SPECS = (RESYNCS, CORRECTIONS)

UNEXPLAINED_SHARE, UNEXPLAINED_ROWS = 0.05, 100
"""Share of the new rows, and number, of further inserted rows from which an import is assumed: counters lag by up to a
minute, and include rolled back rows."""


@dataclass(frozen=True, slots=True)
class ResyncPlan:
    """The parts of the past to be checked by one refresh, and the number of skipped parts."""

    parts: Sequence[Part] = ()
    skipped: int = 0


class Resync:
    """The schedule and the counters of a collector's re-reading."""

    def __init__(
        self,
        collector: str,
        horizon: int,
        tables: Mapping[str, bool],
        length: int,
        *,
        older: int | None = None,
        recheck: int = RESYNC,
    ) -> None:
        """`tables` are the tables whose counters are read. The value is whether their rows count by `created_at`: in a
        table that the others only refer to, a deletion matters and an insertion does not. Without tables, each part is
        checked once a day only; with `older`, the whole in parts of that length, and the last day once per `recheck`
        too."""
        self._collector, self._tables = collector, tables
        # Each part of a short window must be checked before it has left the window.
        self._recent = Wheel(length, min(horizon, DAY) // length + 1, min(recheck, horizon // 3))
        self._whole = Wheel(older or length, horizon // (older or length) + 1, DAY)
        self._often = bool(tables) or older is not None
        self._long = horizon > DAY
        self._done_at: int | None = None
        self._filled_at = 0
        self.doubtful = False
        """Whether any row of a window of more than a day may be wrong."""
        self._changes: Changes | None = None
        self._moved_at = 0
        self._checked: Changes | None = None
        self._checked_at = 0
        self._counts = {"filled": 0, "reread": 0, "skipped": 0}
        self._corrected = 0

    async def plan(self, transaction: Transaction, *, fill: bool) -> ResyncPlan:
        """Return the parts that have become due since the last plan that was carried out; none for a fill."""
        now = transaction.now_us
        if fill or self._done_at is None or not 0 <= now - self._done_at < RESYNC:
            self._checked = self._changes = await self._read_changes(transaction)
            self._moved_at = self._checked_at = now
            return ResyncPlan()
        whole = self._whole.due(self._done_at, now)
        recent = self._recent.due(self._done_at, now) if self._often else []
        if not recent or not self._tables:
            return ResyncPlan([*recent, *whole])
        changes = await self._read_changes(transaction)
        if changes is None or changes != self._changes:
            self._changes, self._moved_at = changes, now
        if self._long and await self._old_changed(transaction, changes):
            self.doubtful = True
        if now - self._moved_at > 2 * RESYNC:  # each hour was checked after the last change
            return ResyncPlan(whole, skipped=len(recent))
        return ResyncPlan(list(dict.fromkeys([*recent, *whole])))

    def note(self, now: int, *, filled: bool, reread: int, skipped: int, corrected: int) -> None:
        """Note the parts that were read at `now`, once the windows hold them."""
        self._done_at = now
        if filled:
            self._filled_at, self.doubtful = now, False
        self._counts["filled"] += filled
        self._counts["reread"] += reread
        self._counts["skipped"] += skipped
        self._corrected += corrected

    def wants_fill(self, now: int) -> bool:
        """Return whether the whole window is to be filled again: it is doubtful, and was not filled within RESYNC."""
        return self.doubtful and now - self._filled_at >= RESYNC

    def counters(self) -> list[Sample]:
        """Return the counters."""
        return [
            *(RESYNCS.sample(n, collector=self._collector, result=result) for result, n in self._counts.items()),
            CORRECTIONS.sample(self._corrected, collector=self._collector),
        ]

    async def _read_changes(self, transaction: Transaction) -> Changes | None:
        return await read_changes(transaction, tuple(self._tables)) if self._tables else None

    async def _old_changed(self, transaction: Transaction, changes: Changes | None) -> bool:
        """Return whether rows older than a day may have been added or deleted since the last answer; evaluated once per
        RESYNC."""
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
