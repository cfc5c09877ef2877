"""Whether a part of a table's past still holds the rows that were last read of it.

PostgreSQL keeps with each row which transaction wrote that version of it (`xmin`), and a snapshot knows from which
transaction on there may be some that had not ended yet. So a part in which no version is as new as that, and which has
as many rows as were read, holds the very same rows. To look costs a fraction of reading them: nothing is hashed,
grouped or sent. `resync.py` stands behind this.

Views and foreign tables have no such versions: there a part may always have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.errors import CollectionFailed
from exporter.sources.postgres import Transaction, moment
from exporter.windows import Part

_NEVER = 2**31 - 1
"""What PostgreSQL itself calls the age of what has always been there."""

_HAVE_VERSIONS = """
SELECT count(*) FROM unnest(%(tables)s::text[]) AS tables(name)
JOIN pg_class ON pg_class.oid = to_regclass(tables.name)
WHERE has_column_privilege(pg_class.oid, 'xmin', 'SELECT')
  AND CASE pg_class.relkind
      WHEN 'r' THEN NOT pg_class.relhassubclass
      WHEN 'p' THEN NOT EXISTS (SELECT FROM pg_partition_tree(pg_class.oid) AS part
                                JOIN pg_class AS of_part ON of_part.oid = part.relid
                                WHERE of_part.relkind NOT IN ('r', 'p'))
      ELSE false END
"""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table by one of its times, as far as they matter."""

    table: str
    time: str
    where: str = "true"

    @property
    def look(self) -> str:
        """SQL for how many there are from `start` to `end`, and the age of the newest version."""
        return (
            f"SELECT count(*) AS rows, coalesce(min(age({self.table}.xmin)), {_NEVER}) AS newest FROM {self.table}"
            f" WHERE {self.where} AND {self.time} > %(start)s AND {self.time} <= %(end)s"
        )


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a part: its rows' number, and the oldest transaction that may not have ended by then."""

    oldest_running: int
    rows: int | None = None


class Versions:
    """Remembers for some rows in what state each part of their past was last read."""

    def __init__(self, rows: Sequence[Rows]) -> None:
        self._tables = list(dict.fromkeys(each.table for each in rows))
        looks = " UNION ALL ".join(each.look for each in rows)
        self._look = (
            "SELECT coalesce(sum(rows), 0)::bigint, min(newest), age(%(oldest_running)s::text::xid)"
            f" FROM ({looks}) AS looks"
        )
        self._filled: Look | None = None
        self._looks: dict[int, Look] = {}  # by the end of the part

    async def filled(self, transaction: Transaction) -> None:
        """Note that all there is has been read in this transaction."""
        self._filled, self._looks = None, {}
        try:
            async with transaction.savepoint():
                (have,) = (await transaction.rows(_HAVE_VERSIONS, {"tables": self._tables}))[0]
        except CollectionFailed:  # a server that shows nobody its catalogue
            return
        if have == len(self._tables):
            self._filled = Look(transaction.oldest_running)

    async def look(self, transaction: Transaction, part: Part, known: int | None) -> tuple[bool, Look]:
        """Whether a part has to be read again, in this transaction; and what to `note` once that is done.

        `known` is how many rows of it were read, where anybody counted them; otherwise it is as many as were there at
        the last look.
        """
        start, end = part
        last = self._looks.get(end, self._filled)
        if last is None:
            return True, Look(transaction.oldest_running)
        period = {"start": moment(start), "end": moment(end), "oldest_running": str(last.oldest_running)}
        ((rows, newest, age),) = await transaction.rows(self._look, period)
        expected = last.rows if known is None else known
        changed = newest <= age or (expected is not None and rows != expected)
        return changed, Look(transaction.oldest_running, rows)

    def note(self, part: Part, look: Look) -> None:
        """Note that the windows hold what the part was at that look."""
        if self._filled is not None:
            self._looks[part[1]] = look

    def forget(self, until: int) -> None:
        """Drop what was seen of the parts that ended by then."""
        self._looks = {end: look for end, look in self._looks.items() if end > until}
