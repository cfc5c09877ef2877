"""The second look at the past: finds what re-reading the last minutes cannot see, and tells how much that was.

Rows are committed more than five minutes late, imported, deleted, or changed without a new time. So the past is looked
at again, an hour of it at a time: every hour of the last day within an hour, every hour of the whole window within a
day; of a window of an hour ten minutes at a time, within twenty. That is spread evenly over time, and never costs much
at once: only where something was written, or has gone, is it read again (`versions.py`). For what deletions and imports
leave in the tables' counters (`changes.py`) nobody waits a day: the whole window is filled anew then, at most once in
an hour. Where nothing at all has moved, the hourly part is left out.

The collectors that keep windows stand behind this: they ask what is `due`, read what of it has changed, and say when
that is `done`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.changes import Changes, read_changes
from exporter.sources.postgres import Transaction, moment
from exporter.spec import MetricSpec, Sample
from exporter.windows.units import DAY, HOUR, MINUTE, RESYNC, Part, minute
from exporter.windows.versions import Look, Versions
from exporter.windows.wheel import Wheel

RESYNCS = MetricSpec(
    "hivesync_resyncs_total",
    "counter",
    "How often the past was looked at again for what refreshes cannot see: a whole window read anew (`filled`, at start"
    " too), a part of it (`reread`), or none of a part as nothing in it had changed (`skipped`).",
    "the exporter itself",
    ("collector", "result"),
)
CORRECTIONS = MetricSpec(
    "hivesync_resync_corrections_total",
    "counter",
    "What looking at the past again has corrected, differences added up without their sign: requests and errors (ai),"
    " requests (previews), jobs (latency), tokens (cost), users with another time of last activity (activity).",
    "the exporter itself",
    ("collector",),
)
SPECS = (RESYNCS, CORRECTIONS)

UNEXPLAINED_SHARE, UNEXPLAINED_ROWS = 0.05, 100
"""How many more rows than are new may have been inserted in a table before that is taken for an import: counters follow
by up to a minute, and count what was rolled back."""


@dataclass(slots=True)
class Again:
    """What of the past one refresh has to look at again; the windows add what came of it."""

    now: int
    parts: Sequence[Part] = ()
    skipped: int = 0
    filled: bool = False
    reread: int = 0
    corrected: int = 0
    _looks: list[tuple[Versions, Part, Look]] = field(default_factory=list)

    def within(self, horizon: int) -> list[Part]:
        """The parts, as far as they are in the whole minutes of a window of that length; none where it was filled."""
        first = minute(self.now - horizon) * MINUTE
        return [] if self.filled else [(max(start, first), end) for start, end in self.parts if end > first]

    async def changed(
        self,
        transaction: Transaction,
        versions: Versions,
        parts: Sequence[Part],
        known: Callable[[Part], int] | None = None,
    ) -> list[Part]:
        """Those of the parts that have to be read again, in this transaction. `known` says how many rows of a part the
        window holds."""
        changed = []
        if parts:
            await versions.check(transaction)
        for part in parts:
            is_changed, look = await versions.look(transaction, part, known and known(part))
            self._looks.append((versions, part, look))
            if is_changed:
                changed.append(part)
        self.reread += len(changed)
        self.skipped += len(parts) - len(changed)
        return changed

    def done(self) -> None:
        """Note that the windows hold all of it."""
        for versions, part, look in self._looks:
            versions.note(part, look)


class Resync:
    """When a collector looks at which part of the past again."""

    def __init__(self, collector: str, horizon: int, tables: Mapping[str, bool], length: int = HOUR) -> None:
        """`tables` are those it reads, and whether their rows count by `created_at`: for a table that the others only
        refer to, a deletion matters and an insertion does not."""
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

    async def due(self, transaction: Transaction) -> Again:
        """What to look at again in this transaction, beside what is new."""
        now = transaction.now_us
        if self._done_at is None or not 0 <= now - self._done_at < RESYNC:  # everything is filled now
            self._checked = self._changes = await read_changes(transaction, tuple(self._tables))
            self._moved_at = self._checked_at = now
            return Again(now)
        recent, whole = (wheel.due(self._done_at, now) for wheel in (self._recent, self._whole))
        if not recent:
            return Again(now, whole)
        changes = await read_changes(transaction, tuple(self._tables))
        if changes is None or changes != self._changes:
            self._changes, self._moved_at = changes, now
        if self._long and await self._old_changed(transaction, changes):
            self.doubtful = True
        if now - self._moved_at > 2 * RESYNC:  # so each hour was looked at after the last change
            return Again(now, whole, skipped=len(recent))
        return Again(now, list(dict.fromkeys([*recent, *whole])))

    def done(self, again: Again) -> None:
        """Note that the windows hold all of it."""
        again.done()
        self._done_at = again.now
        if again.filled:
            self._filled_at, self.doubtful = again.now, False
        self._counts["filled"] += again.filled
        self._counts["reread"] += again.reread
        self._counts["skipped"] += again.skipped
        self._corrected += again.corrected

    def wants_fill(self, now: int) -> bool:
        """Whether the whole window is to be read anew: it is doubtful, and was not read within RESYNC."""
        return self.doubtful and now - self._filled_at >= RESYNC

    def counters(self) -> list[Sample]:
        """What it has done so far."""
        return [
            *(RESYNCS.sample(n, collector=self._collector, result=result) for result, n in self._counts.items()),
            CORRECTIONS.sample(self._corrected, collector=self._collector),
        ]

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
