"""Whether a table has changed since it was last read, as far as PostgreSQL's own counters tell.

Nothing says which old rows of the event tables were changed or deleted. But PostgreSQL counts the rows that are
inserted, updated and deleted in each table (`pg_stat_user_tables`), for every role to read. `resync.py` stands behind
this.

What the counters cannot do: they follow a commit by a second or ten, and by longer while the session that wrote works
on or waits inside its next transaction; they count what was rolled back too; and there are none for views, partitioned
and foreign tables, or on a standby. Those are unknown here, and never taken for unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.errors import CollectionFailed
from exporter.sources.postgres import Transaction

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
