"""Row versions: whether a part of a table's past still holds the rows that were last read of it.

PostgreSQL keeps with each row the transaction that wrote that version of it (`xmin`), and a snapshot knows from which
transaction on there may be some that had not ended yet. So a part in which no version is as new as that, and which has
as many rows as were read, holds the very same rows. A look at the versions costs a fraction of reading the rows:
nothing is hashed, grouped or sent. `history.py` stands behind this.

Views and foreign tables have no such versions: there a part may always have changed. Changes of a table that write no
rows (a column renamed, a partition attached), and another server in place of the former one, have each part read again
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from exporter.errors import CollectionFailed
from exporter.sources.postgres import Transaction, moment
from exporter.windows.units import Part

_NEVER = 2**31 - 1
"""PostgreSQL's own number for the age of a row that has always been there."""

_TOO_OLD = 2**30
"""The number of transactions after which ids of 32 bits, as rows have them, no longer tell which one was first."""

_XMIN = -2
"""The number of that column. (Asked for by name, PostgreSQL ends with an error where it comes by an index first.)"""

# The description of a table is rows of PostgreSQL's own, which have versions too; vacuuming and analysing make no new
# ones. The ids are an array, so that each is looked up by itself: of a join, the planner may do the rest for all tables
# of the database first.
_CATALOGUE = f"""
WITH named AS MATERIALIZED (SELECT to_regclass(name)::oid AS id FROM unnest(%(tables)s::text[]) AS tables(name)),
     parts AS MATERIALIZED (SELECT id FROM named UNION SELECT relid::oid FROM named, pg_partition_tree(id))
SELECT count(*) = (SELECT count(*) FROM parts)
       AND coalesce((SELECT bool_and(has_column_privilege(id, {_XMIN}::int2, 'SELECT') IS TRUE) FROM named), false)
       AND coalesce(bool_and(part.relkind = 'p'
                             OR part.relkind = 'r' AND NOT part.relhassubclass AND pg_am.amname = 'heap'), false),
       least(min(age(part.xmin)), min(attributes.newest)) <= age(%(since)s::text::xid),
       pg_postmaster_start_time()
FROM pg_class AS part
LEFT JOIN pg_am ON pg_am.oid = part.relam
CROSS JOIN LATERAL (SELECT min(age(pg_attribute.xmin)) AS newest FROM pg_attribute
                    WHERE pg_attribute.attrelid = part.oid AND pg_attribute.attnum > 0) AS attributes
WHERE part.oid = ANY(ARRAY(SELECT id FROM parts))
"""


@dataclass(frozen=True, slots=True)
class TimedRows:
    """Rows of a table, and the time by which they are in a window."""

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
class PartState:
    """A part as it was read: the oldest transaction that may not have ended by then, and the number of its rows."""

    oldest_running: int
    rows: int | None = None


class RowVersions:
    """The states in which the parts of some rows' past were last read."""

    def __init__(self, rows: Sequence[TimedRows]) -> None:
        self._tables = list(dict.fromkeys(each.table for each in rows))
        looks = " UNION ALL ".join(each.look for each in rows)
        self._look = (
            "SELECT coalesce(sum(rows), 0)::bigint, min(newest), age(%(oldest_running)s::text::xid)"
            f" FROM ({looks}) AS looks"
        )
        self._have_versions = False
        self._server: datetime | None = None  # when it was started, which no two of them were at once
        self._checked = 0  # the oldest transaction that ran when the catalogue was last read
        self._filled: PartState | None = None
        self._states: dict[int, PartState] = {}  # by the end of the part

    async def filled(self, transaction: Transaction) -> None:
        """Note that everything is read in this transaction."""
        await self.check(transaction)
        self._filled, self._states = PartState(transaction.oldest_running), {}

    async def check(self, transaction: Transaction) -> None:
        """Check that the tables are still the same ones, before looking at parts of them in this transaction."""
        parameters = {"tables": self._tables, "since": _id(self._checked)}
        try:
            async with transaction.savepoint():
                ((self._have_versions, altered, server),) = await transaction.rows(_CATALOGUE, parameters)
        except CollectionFailed:  # a server that hides its catalogue
            self._have_versions = False
            return
        if altered or server != self._server or not _comparable(self._checked, transaction):
            self._filled, self._states = None, {}
        self._server, self._checked = server, transaction.oldest_running

    async def look(self, transaction: Transaction, part: Part, known: int | None) -> tuple[bool, PartState]:
        """Whether a part has to be read again in this transaction, and its state: to `note` once that is done.

        `known` is how many rows of it were read, where that was counted; otherwise as many are expected as there were
        at the last look.
        """
        last = self._states.get(part.end, self._filled)
        if not self._have_versions or last is None or not _comparable(last.oldest_running, transaction):
            return True, PartState(transaction.oldest_running)
        period = {
            "start": moment(part.start),
            "end": moment(part.end),
            "oldest_running": _id(last.oldest_running),
        }
        ((rows, newest, age),) = await transaction.rows(self._look, period)
        expected = last.rows if known is None else known
        changed = newest <= age or (expected is not None and rows != expected)
        return changed, PartState(transaction.oldest_running, rows)

    def note(self, part: Part, state: PartState) -> None:
        """Note that the windows hold the part as it was in that state."""
        self._states[part.end] = state

    def forget(self, until: int) -> None:
        """Drop the states of the parts that ended by then."""
        self._states = {end: state for end, state in self._states.items() if end > until}


def _id(transaction: int) -> str:
    """A transaction's id as rows have it."""
    return str(transaction % 2**32)


def _comparable(earlier: int, transaction: Transaction) -> bool:
    """Whether an id is of before this transaction, and can be told from those since."""
    return 0 <= transaction.oldest_running - earlier < _TOO_OLD
