"""Sums over sliding windows of one table: counts, errors by kind, latencies.

`minutes.py` keeps the minutes. A refresh asks PostgreSQL for the new rows and for the exact edges in one statement, and
for each part of the past that is re-read. The collectors use this module: they name the table, the time and the sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exporter.sources.postgres import moment
from exporter.windows.history import History, ReadPlan
from exporter.windows.minutes import MinuteSums
from exporter.windows.pieces import in_pieces
from exporter.windows.sql import MINUTE_BIN, MINUTE_OF
from exporter.windows.units import HOUR, MINUTE, Integers, Part, minute
from exporter.windows.versions import TimedRows


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of some rows: aggregate expressions (bigint; null or 0 over no rows) over the rows of `table` where
    `where`, which are in a window by their `time`."""

    table: str
    time: str
    aggregates: tuple[str, ...]
    where: str = "true"
    counts: tuple[int, ...] = (0,)
    """The aggregates whose differences are corrections: counts of rows, each row in one of them."""

    def select(self, key: str, since: str, until: str, group: str = "") -> str:
        """Return SQL for (key, sums...) over the rows whose time is in (since, until], both names of parameters."""
        sums = ", ".join(f"coalesce({aggregate}, 0)::bigint" for aggregate in self.aggregates)
        return (
            f"SELECT {key}, {sums} FROM {self.table} WHERE {self.where}"
            f" AND {self.time} > %({since})s AND {self.time} <= %({until})s {group}"
        )


class SlidingSums:
    """The sums of one `Sums` over several windows that all end now."""

    def __init__(self, sums: Sums, windows: Mapping[str, int]) -> None:
        """`windows` are lengths in microseconds by label value."""
        self.rows = TimedRows(sums.table, sums.time, sums.where)
        self.horizon = max(windows.values())
        self._sums, self._windows = sums, windows
        self._minutes = MinuteSums(span=self.horizon // MINUTE + 1, width=len(sums.aggregates))

    def minutes(self, since: int, until: int) -> Integers:
        """Return the sums per minute of `since < m <= until`, for minutes that were read: shape (minutes, sums)."""
        return self._minutes.each(since, until)

    def rows_in(self, part: Part) -> int:
        """Return the number of rows of a part that are in the sums."""
        return int(self._minutes.total(*part.minutes)[list(self._sums.counts)].sum())

    async def read(self, plan: ReadPlan) -> dict[str, Integers]:
        """Read the rows of the plan. Return the sums of each window as of its `now`."""
        now = plan.now
        minute_of, by_minute = MINUTE_OF.format(self._sums.time), f"GROUP BY {MINUTE_BIN.format(self._sums.time)}"
        select_part = self._sums.select(minute_of, "start", "end", by_minute)
        columns = 1 + len(self._sums.aggregates)

        async def read(part: Part) -> Integers:
            period = {"start": moment(part.start), "end": moment(part.end)}
            return await plan.transaction.integers(select_part, columns, period)

        # The new rows and the edges are one statement, except in a fill.
        selects = [] if plan.fill else [self._sums.select(minute_of, "since", "now", by_minute)]
        parameters: dict[str, object] = {} if plan.fill else {"since": moment(plan.new.start)}
        edges = list(self._windows)
        for index, name in enumerate(edges):
            start = now - self._windows[name]
            selects.append(self._sums.select(str(-1 - index), f"start{index}", f"end{index}"))
            parameters |= {f"start{index}": moment(start), f"end{index}": moment(minute(start) * MINUTE)}
        rows = await plan.transaction.integers(" UNION ALL ".join(selects), columns, parameters)
        if plan.fill:
            rows = np.concatenate([rows, *[r async for _, r in in_pieces(plan.transaction, plan.new, read)]])
        reread = [(part, await read(part)) for part in plan.recheck]

        is_edge = rows[:, 0] < 0
        edge_sums = {edges[-1 - int(row[0])]: row[1:] for row in rows[is_edge]}
        # A fill begins within a minute and reads a part of it only: no window uses that minute except through its edge.
        self._minutes.replace(*plan.new.minutes, rows[~is_edge])
        for part, part_rows in reread:
            changed = self._minutes.replace(*part.minutes, part_rows)
            plan.corrected += int(changed[list(self._sums.counts)].sum())
        return {
            name: self._minutes.total(minute(now - window), minute(now)) + edge_sums.get(name, np.int64(0))
            for name, window in self._windows.items()
        }


def history_of(collector: str, *windows: SlidingSums, part: int = HOUR, hourly: bool = True) -> History:
    """Return the history of a collector that keeps these sums and nothing else. All sums must have the same horizon."""
    (horizon,) = {each.horizon for each in windows}

    def known(of: Part) -> int:
        return sum(each.rows_in(of) for each in windows)

    rows = [each.rows for each in windows]
    return History(collector, horizon, rows, known=known, part=part, hourly=hourly)
