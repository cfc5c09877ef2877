"""Detection of changes in a table since it was last read, from PostgreSQL's own counters.

The event tables have no record of changed or deleted old rows. PostgreSQL counts the rows inserted, updated and deleted
per table (`pg_stat_user_tables`), readable by every role. `resync.py` uses this module.

Limits of the counters: they follow a commit by a second or ten, and by longer while the session that wrote continues to
work or waits inside its next transaction; they include rolled back rows; and they do not exist for views, partitioned
and foreign tables, or on a standby. Such changes are unknown here, and never taken for none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.columns import text_array
from exporter.errors import CollectionFailed
from exporter.sources.postgres import Transaction

# Only the needed columns of `pg_stat_user_tables`: the view itself joins more tables. A table without SELECT privilege
# is unknown, so that a reading is tried and its error reported.
_COUNTERS = """
SELECT tables.name, pg_class.relfilenode::bigint, pg_stat_get_tuples_inserted(pg_class.oid),
       pg_stat_get_tuples_updated(pg_class.oid), pg_stat_get_tuples_deleted(pg_class.oid)
FROM unnest({tables}) AS tables(name)
JOIN pg_class ON pg_class.oid = to_regclass(tables.name)
WHERE pg_class.relkind = 'r' AND NOT pg_class.relhassubclass
  AND has_any_column_privilege(pg_class.oid, 'SELECT')
  AND NOT pg_is_in_recovery() AND current_setting('track_counts')::bool
"""


@dataclass(frozen=True, slots=True)
class TableChanges:
    """A table's counters: rows since its statistics began, and the file that holds it, which TRUNCATE replaces."""

    file: int
    inserted: int
    updated: int
    deleted: int


Changes = Mapping[str, TableChanges]
"""The counters of tables by name; complete for the tables requested."""


async def read_changes(transaction: Transaction, tables: Sequence[str]) -> Changes | None:
    """Return the current counters of these tables, which may be later than the transaction's snapshot; None where those
    of any table are unknown."""
    try:
        async with transaction.savepoint():
            rows = await transaction.rows(_COUNTERS.format(tables=text_array(tables)), plan_once=True)
    except CollectionFailed:  # a server that hides its statistics
        return None
    return {name: TableChanges(*counters) for name, *counters in rows} if len(rows) == len(tables) else None
