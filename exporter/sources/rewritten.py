"""Tables that were rewritten or replaced between the snapshot of a transaction and their reading.

PostgreSQL shows such a table to the older snapshot as empty, without an error: after an ALTER TABLE that rewrites it, a
TRUNCATE, or for a new table under the old name. The reading waits for the lock of the migration, and then finds no row.

The locks of the transaction name the tables that it has read, also those below views. The catalogue as of the snapshot
has the file of a table then, and no table that is newer; `pg_relation_filenode` has the file of now. A newer index
changes nothing.
"""

from __future__ import annotations

REWRITTEN = """
SELECT pg_locks.relation::regclass::text
FROM pg_locks LEFT JOIN pg_class ON pg_class.oid = pg_locks.relation
WHERE pg_locks.pid = pg_backend_pid() AND pg_locks.locktype = 'relation' AND pg_locks.database <> 0
  AND (pg_class.oid IS NULL AND pg_index_has_property(pg_locks.relation, 'clusterable') IS NULL
       OR pg_class.relkind IN ('r', 'm') AND pg_class.relfilenode <> 0
          AND pg_class.relfilenode <> pg_relation_filenode(pg_class.oid))
ORDER BY 1 LIMIT 1
"""
"""SQL for the name of such a table, to be executed after the readings of a transaction with one snapshot."""

TABLE_REWRITTEN = "table_rewritten"
"""The kind of failure of a reading that found one."""
