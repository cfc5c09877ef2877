"""Whether a part of a table's past still holds the rows that were last read of it.

PostgreSQL keeps with each row which transaction wrote that version of it (`xmin`), and a snapshot knows from which
transaction on there may be some that had not ended yet. So a part in which no version is as new as that, and which has
as many rows as were read, holds the very same rows. To look costs a fraction of reading them: nothing is hashed,
grouped or sent. `resync.py` stands behind this.

Views and foreign tables have no such versions: there a part may always have changed. What changes a table without
writing rows (a column renamed, a partition attached), and another server in place of the one there was, have each part
read again once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from exporter.errors import CollectionFailed
from exporter.sources.postgres import Transaction, moment
from exporter.windows.units import Part

_NEVER = 2**31 - 1
"""What PostgreSQL itself calls the age of what has always been there."""

_TOO_OLD = 2**30
"""So many transactions later, ids of 32 bits, which is what rows have, no longer tell which one was first."""

_XMIN = -2
"""The number of that column. (Asked for by name, PostgreSQL ends with an error where it comes by an index first.)"""

# What is said of a table when it is altered stands in rows of PostgreSQL's own, which have versions too. (That it was
# vacuumed or analysed does not make new ones.)
_CATALOGUE = f"""
SELECT count(DISTINCT named.oid),
       coalesce(bool_and(part.relkind = 'p' OR part.relkind = 'r' AND pg_am.amname = 'heap'), false),
       least(min(age(part.xmin)), min(attributes.newest)) <= age(%(since)s::text::xid),
       pg_postmaster_start_time()
FROM unnest(%(tables)s::text[]) AS tables(name)
JOIN pg_class AS named ON named.oid = to_regclass(tables.name)
  AND has_column_privilege(named.oid, {_XMIN}::int2, 'SELECT') AND (named.relkind = 'p' OR NOT named.relhassubclass)
CROSS JOIN LATERAL (SELECT named.oid AS id
                    UNION SELECT relid FROM pg_partition_tree(named.oid) WHERE named.relkind = 'p') AS parts
JOIN pg_class AS part ON part.oid = parts.id
LEFT JOIN pg_am ON pg_am.oid = part.relam
CROSS JOIN LATERAL (SELECT min(age(pg_attribute.xmin)) AS newest FROM pg_attribute
                    WHERE pg_attribute.attrelid = part.oid AND pg_attribute.attnum > 0) AS attributes
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
        self._have_versions = False
        self._server: datetime | None = None  # when it was started, which no two of them were at once
        self._checked = 0  # the oldest transaction that ran when the catalogue was last looked at
        self._filled: Look | None = None
        self._looks: dict[int, Look] = {}  # by the end of the part

    async def filled(self, transaction: Transaction) -> None:
        """Note that all there is has been read in this transaction."""
        await self.check(transaction)
        self._filled, self._looks = Look(transaction.oldest_running), {}

    async def check(self, transaction: Transaction) -> None:
        """Look whether the tables are still the same ones, before looking at parts of them in this transaction."""
        parameters = {"tables": self._tables, "since": _id(self._checked)}
        try:
            async with transaction.savepoint():
                tables, plain, altered, server = (await transaction.rows(_CATALOGUE, parameters))[0]
        except CollectionFailed:  # a server that shows nobody its catalogue
            self._have_versions = False
            return
        self._have_versions = plain and tables == len(self._tables)
        if altered or server != self._server or not _comparable(self._checked, transaction):
            self._filled, self._looks = None, {}
        self._server, self._checked = server, transaction.oldest_running

    async def look(self, transaction: Transaction, part: Part, known: int | None) -> tuple[bool, Look]:
        """Whether a part has to be read again, in this transaction; and what to `note` once that is done.

        `known` is how many rows of it were read, where anybody counted them; otherwise it is as many as were there at
        the last look.
        """
        last = self._looks.get(part[1], self._filled)
        if not self._have_versions or last is None or not _comparable(last.oldest_running, transaction):
            return True, Look(transaction.oldest_running)
        start, end = part
        period = {"start": moment(start), "end": moment(end), "oldest_running": _id(last.oldest_running)}
        ((rows, newest, age),) = await transaction.rows(self._look, period)
        expected = last.rows if known is None else known
        changed = newest <= age or (expected is not None and rows != expected)
        return changed, Look(transaction.oldest_running, rows)

    def note(self, part: Part, look: Look) -> None:
        """Note that the windows hold what the part was at that look."""
        self._looks[part[1]] = look

    def forget(self, until: int) -> None:
        """Drop what was seen of the parts that ended by then."""
        self._looks = {end: look for end, look in self._looks.items() if end > until}


def _id(transaction: int) -> str:
    """A transaction's id as rows have it."""
    return str(transaction % 2**32)


def _comparable(earlier: int, transaction: Transaction) -> bool:
    """Whether an id is of before this transaction, and can be told from those since."""
    return 0 <= transaction.oldest_running - earlier < _TOO_OLD
