"""The engine of sliding windows: a refresh reads new rows only, and every window is exact to the microsecond.

Time is cut into minutes. Minute `m` holds the instants in `((m-1) min, m min]`, so that a window, open at its start
and closed at now, is a run of whole minutes plus one edge: the part of a minute at its start. A refresh re-reads the
minutes that late commits can still change and replaces them whole; re-reading is idempotent, so nothing is counted
twice or lost. The edge is read too. Changes further back are found by checking the past, a part at a time.

      a collector                             history.py  History
          │                                   ├─ cursor.py    from when on rows may be new
          │  async with history.reading(...)  ├─ resync.py    whose turn of the past it is, and the account of it
          ├───────────────────────────────────┤    └─ wheel.py    the turns
          │  plan: new, recheck               └─ versions.py  whether a part still holds the rows that were read
          │
          │  reads them in the plan's transaction, then changes its windows:
          ├─ sums.py     SlidingSums: counts and totals of one table, with their SQL
          │    ├─ minutes.py  sums by minute
          │    └─ sql.py      the minutes and hours of rows
          ├─ users.py    counts by user
          ├─ latest.py   the latest activity by user
          └─ shared.py   a window that another collector reads too

`units.py`, `cursor.py`, `wheel.py`, `minutes.py`, `users.py` and `latest.py` are arithmetic: no I/O and no clock, all
times are parameters. docs/writing-a-collector.md shows a collector with everything that it takes.
"""

from __future__ import annotations

from exporter.windows.units import DAY, HOUR, MINUTE, RESYNC, SECOND, Integers, Part, minute
from exporter.windows.users import contained

__all__ = ["DAY", "HOUR", "MINUTE", "RESYNC", "SECOND", "Integers", "Part", "contained", "minute"]
