"""Row versions: detection of changes in a part of a table's past since it was last read.

PostgreSQL stores with each row version the transaction that wrote it (`xmin`), and a snapshot gives the first
transaction that may still have been running. A part in which no version is as new as that transaction, and which has as
many rows as were read, therefore holds exactly the same rows. Checking the versions costs a fraction of reading the
rows: nothing is hashed, grouped or sent. `history.py` uses this module.

Views and foreign tables have no row versions: their parts always count as changed. After a change of a table that
writes no rows (a column renamed, a partition attached), and after a restart of the server, each part is re-read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.columns import text_array
from exporter.errors import CollectionFailed
from exporter.sources.identity import DatabaseServer
from exporter.sources.postgres import Transaction, moment
from exporter.windows.units import DAY, Part

_NEVER = 2**31 - 1
"""PostgreSQL's value for the age of a row that has always existed."""

_TOO_OLD = 2**30
"""The number of transactions after which the order of 32-bit ids, as stored in rows, is no longer known."""

_XMIN = -2
"""The number of the column xmin. (Referenced by name, it makes PostgreSQL fail where an index is used first.)"""

_LOOK = "SELECT coalesce(sum(rows), 0)::bigint, min(newest), age(%(oldest_running)s::text::xid) FROM ({0}) AS looks"

# The description of a table is rows of PostgreSQL's catalogue, which have versions too; VACUUM and ANALYZE write no new
# ones. The names are part of the text, so that one plan fits all executions. The ids are passed as an array, so that
# each is looked up by itself: in a join, the planner may evaluate the rest for all tables of the database first.
_CATALOGUE = f"""
WITH named AS MATERIALIZED (SELECT to_regclass(name)::oid AS id FROM unnest({{tables}}) AS tables(name)),
     parts AS MATERIALIZED (SELECT id FROM named UNION SELECT relid::oid FROM named, pg_partition_tree(id))
SELECT count(*) = (SELECT count(*) FROM parts)
       AND coalesce((SELECT bool_and(has_column_privilege(id, {_XMIN}::int2, 'SELECT') IS TRUE) FROM named), false)
       AND coalesce(bool_and(part.relkind = 'p'
                             OR part.relkind = 'r' AND NOT part.relhassubclass AND pg_am.amname = 'heap'), false),
       least(min(age(part.xmin)), min(attributes.newest)) <= age(%(since)s::text::xid)
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
    reach: int | None = None
    """The length (microseconds) of the rows' own window, where it is shorter: parts that begin before it have none."""
    from_start: bool = False
    """Whether a part is closed at its start and open at its end, as days of the calendar are."""

    @property
    def look(self) -> str:
        """SQL for the number of rows from `start` to `end`, and the age of the newest version."""
        after, until = (">=", "<") if self.from_start else (">", "<=")
        return (
            f"SELECT count(*) AS rows, coalesce(min(age({self.table}.xmin)), {_NEVER}) AS newest FROM {self.table}"
            f" WHERE {self.where} AND {self.time} {after} %(start)s AND {self.time} {until} %(end)s"
        )

    def reaches(self, part: Part, now: int) -> bool:
        """Return whether a part has such rows in their window."""
        return self.reach is None or part.start > now - self.reach


@dataclass(frozen=True, slots=True)
class PartState:
    """The state of a part when it was read: the oldest transaction that may have been running, and the number of
    rows."""

    oldest_running: int
    rows: int | None = None


class RowVersions:
    """The states in which the parts of the past of some rows were last read."""

    def __init__(self, rows: Sequence[TimedRows]) -> None:
        tables = list(dict.fromkeys(each.table for each in rows))
        self._catalogue = _CATALOGUE.format(tables=text_array(tables))
        self._rows = rows
        self._have_versions = False
        self._server: DatabaseServer | None = None
        self._checked = 0  # the oldest running transaction when the catalogue was last read
        self._filled: PartState | None = None
        self._states: dict[tuple[int, bool], PartState] = {}

    async def filled(self, transaction: Transaction) -> None:
        """Note that all parts are read in this transaction."""
        await self.check(transaction)
        self._filled, self._states = PartState(transaction.oldest_running), {}

    async def check(self, transaction: Transaction) -> None:
        """Check that the tables are unchanged. To be called before parts are looked at in this transaction."""
        parameters = {"since": _id(self._checked)}
        try:
            async with transaction.savepoint():
                ((self._have_versions, altered),) = await transaction.rows(self._catalogue, parameters, plan_once=True)
        except CollectionFailed:  # a server that hides its catalogue
            self._have_versions = False
            return
        if altered or transaction.server != self._server or not _comparable(self._checked, transaction):
            self._filled, self._states = None, {}
        self._server, self._checked = transaction.server, transaction.oldest_running

    async def look(self, transaction: Transaction, part: Part, known: int | None) -> tuple[bool, PartState]:
        """Return whether a part has to be re-read in this transaction, and its state, to be passed to `note` after the
        reading.

        `known` is the number of rows that were read of the part, where that was counted; otherwise the number at the
        last look is expected.
        """
        last = self._states.get(_key(part), self._filled)
        if not self._have_versions or last is None or not _comparable(last.oldest_running, transaction):
            return True, PartState(transaction.oldest_running)
        period = {
            "start": moment(part.start),
            "end": moment(part.end),
            "oldest_running": _id(last.oldest_running),
        }
        looks = " UNION ALL ".join(each.look for each in self._rows if each.reaches(part, transaction.now_us))
        ((rows, newest, age),) = await transaction.rows(_LOOK.format(looks), period)
        expected = last.rows if known is None else known
        changed = newest <= age or (expected is not None and rows != expected)
        return changed, PartState(transaction.oldest_running, rows)

    def note(self, part: Part, state: PartState) -> None:
        """Note that the windows hold the part in that state."""
        self._states[_key(part)] = state

    def forget(self, until: int) -> None:
        """Drop the states of parts that ended by then."""
        self._states = {key: state for key, state in self._states.items() if key[0] > until}


def _key(part: Part) -> tuple[int, bool]:
    """Return the name of a part: its end, as the start of the oldest one moves with its window; and whether it is a
    day, which ends with its last hour."""
    return part.end, part.end - part.start >= DAY


def _id(transaction: int) -> str:
    """Return a transaction's id in the 32-bit form stored in rows."""
    return str(transaction % 2**32)


def _comparable(earlier: int, transaction: Transaction) -> bool:
    """Return whether an id precedes this transaction and is distinguishable from later ones."""
    return 0 <= transaction.oldest_running - earlier < _TOO_OLD
