"""The engine of sliding windows: a refresh reads new rows only, and each window is exact to the microsecond.

Time is divided into minutes. Minute `m` holds the instants in `((m-1) min, m min]`. A window, open at its start and
closed at now, is therefore a run of whole minutes plus one edge: the part of a minute at its start. A refresh re-reads
the minutes that late commits can still change and replaces them whole; re-reading is idempotent, so no row is counted
twice or lost. The edge is read at each refresh too. Changes further back are found by re-checking the past, one part at
a time.

      a collector                             history.py  History
          │                                   ├─ cursor.py    start of the time in which rows may be new
          │  async with history.reading(...)  ├─ resync.py    parts of the past that are due, and the counters
          ├───────────────────────────────────┤    └─ wheel.py    schedule of the parts
          │  plan: new, recheck               └─ versions.py  detection of parts whose rows have changed
          │
          │  reads in the plan's transaction, then changes its windows:
          ├─ sums.py     SlidingSums: counts and totals of one table, with their SQL
          │    ├─ minutes.py  sums by minute
          │    └─ sql.py      the minutes and hours of rows
          ├─ users.py    counts per user
          ├─ latest.py   the latest activity per user
          │    └─ earlier.py  the same for a window that ended before
          ├─ pieces.py   pieces of a fill, none of which takes long
          └─ shared.py   a window that another collector reads too

`units.py`, `cursor.py`, `wheel.py`, `minutes.py`, `users.py`, `latest.py` and `earlier.py` are arithmetic: no I/O and
no clock, all times are parameters. docs/writing-a-collector.md shows a complete collector.
"""

from __future__ import annotations

from exporter.windows.units import DAY, HOUR, MINUTE, RESYNC, SECOND, Integers, Part, minute
from exporter.windows.users import contained

__all__ = ["DAY", "HOUR", "MINUTE", "RESYNC", "SECOND", "Integers", "Part", "contained", "minute"]
