"""Sums over sliding windows, read from one table: counts, errors by kind, latencies.

`minutes.py` keeps the minutes; this asks PostgreSQL for what is new and for the exact edges, in one statement, and
folds both. Its users are the collectors that say which table, which time and which sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exporter.sources.postgres import Transaction, moment
from exporter.windows.cursor import ReadCursor
from exporter.windows.minutes import MinuteSums
from exporter.windows.resync import Again
from exporter.windows.sql import MINUTE_BIN, MINUTE_OF
from exporter.windows.units import MINUTE, Integers, Part, minute
from exporter.windows.versions import Rows, Versions


@dataclass(frozen=True, slots=True)
class Sums:
    """What to add up: aggregate expressions that are bigint and null or 0 over no rows, over the rows of `table`
    where `where`."""

    table: str
    time: str
    aggregates: tuple[str, ...]
    where: str = "true"
    counts: tuple[int, ...] = (0,)
    """Which of the aggregates count rows: each row once."""

    def select(self, key: str, since: str, until: str, group: str = "") -> str:
        """SQL for (key, sums...) over the rows whose time is in (since, until], names of parameters."""
        sums = ", ".join(f"coalesce({aggregate}, 0)::bigint" for aggregate in self.aggregates)
        return (
            f"SELECT {key}, {sums} FROM {self.table} WHERE {self.where}"
            f" AND {self.time} > %({since})s AND {self.time} <= %({until})s {group}"
        )


class SlidingSums:
    """The sums of one `Sums` over several windows that all end now. Windows are microseconds by the name they have as
    a label."""

    def __init__(self, sums: Sums, windows: Mapping[str, int]) -> None:
        self._sums, self._windows = sums, windows
        self._horizon = max(windows.values())
        self._minutes = MinuteSums(span=self._horizon // MINUTE + 1, width=len(sums.aggregates))
        self._versions = Versions([Rows(sums.table, sums.time, sums.where)])
        self.cursor = ReadCursor(self._horizon)

    def minutes(self, since: int, until: int) -> Integers:
        """The sums of each of the minutes `since < m <= until`, of those that were read: shape (minutes, sums)."""
        return self._minutes.each(since, until)

    async def read(self, transaction: Transaction, again: Again) -> dict[str, Integers]:
        """Reads what is new, and what is to be read again; the sums of each window, as of the transaction's `now`."""
        now = transaction.now_us
        since, fill = self.cursor.since(now)
        minute_of, by_minute = MINUTE_OF.format(self._sums.time), f"GROUP BY {MINUTE_BIN.format(self._sums.time)}"
        selects = [self._sums.select(minute_of, "since", "now", by_minute)]
        parameters: dict[str, object] = {"since": moment(since)}
        edges = list(self._windows)
        for index, name in enumerate(edges):
            start = now - self._windows[name]
            selects.append(self._sums.select(str(-1 - index), f"start{index}", f"end{index}"))
            parameters |= {f"start{index}": moment(start), f"end{index}": moment(minute(start) * MINUTE)}
        columns = 1 + len(self._sums.aggregates)
        rows = await transaction.integers(" UNION ALL ".join(selects), columns, parameters)
        if fill:
            again.filled = True
            await self._versions.filled(transaction)
        select_part = self._sums.select(minute_of, "start", "end", by_minute)
        parts = [
            (start, end, await transaction.integers(select_part, columns, {"start": moment(start), "end": moment(end)}))
            for start, end in await again.changed(
                transaction, self._versions, again.within(self._horizon), self._rows_in
            )
        ]

        is_edge = rows[:, 0] < 0
        edge_sums = {edges[-1 - int(row[0])]: row[1:] for row in rows[is_edge]}
        # A fill begins within a minute, of which it knows a part only: that minute is no window's but through its edge.
        self._minutes.replace(minute(since), minute(now), rows[~is_edge])
        for start, end, part_rows in parts:
            changed = self._minutes.replace(minute(start), minute(end), part_rows)
            again.corrected += int(changed[list(self._sums.counts)].sum())
        self._versions.forget(now - self._horizon)
        self.cursor.advance(now, fill)
        return {
            name: self._minutes.total(minute(now - window), minute(now)) + edge_sums.get(name, np.int64(0))
            for name, window in self._windows.items()
        }

    def _rows_in(self, part: Part) -> int:
        """How many rows of a part are in the sums."""
        start, end = part
        return int(self._minutes.total(minute(start), minute(end))[list(self._sums.counts)].sum())
