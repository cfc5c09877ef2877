"""Whether a table has changed since it was last read, as far as PostgreSQL's own counters tell.

`users` and `subscriptions` do not say which of their rows are new, and nothing says which old rows of the event tables
were changed or deleted. But PostgreSQL counts the rows that are inserted, updated and deleted in each table
(`pg_stat_user_tables`), for every role to read: while those stand still there is nothing to read again. The collectors
that read whole tables (`Recount`) and `resync.py` stand behind this.

What the counters cannot do: they follow a commit by up to a minute; they count what was rolled back too; and there are
none for views, partitioned and foreign tables, or on a standby. Those are unknown here, and never taken for unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.errors import CollectionFailed
from exporter.sources.postgres import Transaction
from exporter.windows import MINUTE, RESYNC, SECOND

# Of what `pg_stat_user_tables` shows only what is needed: the view itself joins a good deal more. A table that may not
# be read is unknown, so that somebody tries and says so.
_COUNTERS = """
SELECT tables.name, pg_class.relfilenode::bigint, pg_stat_get_tuples_inserted(pg_class.oid),
       pg_stat_get_tuples_updated(pg_class.oid), pg_stat_get_tuples_deleted(pg_class.oid)
FROM unnest(%(tables)s::text[]) AS tables(name)
JOIN pg_class ON pg_class.oid = to_regclass(tables.name)
WHERE pg_class.relkind = 'r' AND NOT pg_class.relhassubclass
  AND has_any_column_privilege(pg_class.oid, 'SELECT')
  AND NOT pg_is_in_recovery() AND current_setting('track_counts')::bool
"""


@dataclass(frozen=True, slots=True)
class TableChanges:
    """A table's counters: rows since its statistics began, and the file it lives in, which TRUNCATE replaces."""

    file: int
    inserted: int
    updated: int
    deleted: int


Changes = Mapping[str, TableChanges]
"""The counters of some tables by name; of all that were asked for."""


async def read_changes(transaction: Transaction, tables: Sequence[str]) -> Changes | None:
    """The counters of these tables as of now, which may be later than the transaction's snapshot; None when those of
    any are unknown."""
    try:
        async with transaction.savepoint():
            rows = await transaction.rows(_COUNTERS, {"tables": list(tables)})
    except CollectionFailed:  # a server that lets nobody read its statistics
        return None
    return {name: TableChanges(*counters) for name, *counters in rows} if len(rows) == len(tables) else None


CHEAP = SECOND // 200
"""What takes less than this is read at every look that finds it changed."""

TIMES = 10_000
"""What a reading takes beyond CHEAP, this many times over, passes before the next."""

LONGEST = 9 * MINUTE
"""The longest that may be: with the minute between two looks, what has changed is seen within ten. (HiveSync promises
its users that a change of plan shows within fifteen.)"""

MEASURED = 3
"""How many readings are looked back at for what one takes: their median, for a slow one may be others' doing."""

SLOW = SECOND // 20
"""Before there are so many, the quickest there was is believed only when it took longer than this: a start is busy."""


class Recount:
    """When to read anew what can only be read whole: once it has changed, and not so often that it costs much.

    Times are microseconds, of the database's clock. `is_due` is asked at every look, and `read` called when it was.
    """

    def __init__(self) -> None:
        self._read_at: int | None = None
        self._took: list[int] = []
        self._before: object = None  # the counters at the look before the last
        self._last: object = None
        self._base: object = None  # what the counters must be for nothing to have changed

    def is_due(self, now: int, counters: object) -> bool:
        """Whether to read now, in a transaction that began after the last look; `counters` are whatever is equal while
        nothing has changed, None where that is unknown."""
        self._before, self._last = self._last, counters
        if self._read_at is None:
            return True
        age = now - self._read_at
        if not 0 <= age < RESYNC:
            return True
        return age >= self.interval and (counters is None or counters != self._base)

    @property
    def interval(self) -> int:
        """What has to pass between two readings."""
        if len(self._took) < MEASURED:
            took = min(self._took, default=0)
            took = took if took > SLOW else 0
        else:
            took = sorted(self._took)[MEASURED // 2]
        return min(max(0, took - CHEAP) * TIMES, LONGEST)

    def read(self, now: int, took: int) -> None:
        """Note that it was read in the transaction of the last look, and how long that took."""
        self._read_at = now
        self._took = [*self._took[1 - MEASURED :], took]
        # Counters are those of the moment, rows those of the snapshot: what was committed between the two is counted
        # and was not read. So the look before is what counts, at the price of one reading more than there need be.
        self._base = self._before

    def forget(self) -> None:
        """Read at the next look, whatever the counters say."""
        self._read_at = None
