"""Sliding windows that are cheap to keep: the reason why a refresh reads new rows only (house: "Sliding windows").

Time is cut into minutes. Minute `m` holds the instants in `((m-1) min, m min]`, so that a window, open at its start
and closed at now, is a run of whole minutes plus one edge: the part of a minute at its start. A refresh re-reads the
minutes that late commits can still change and replaces them whole; re-reading is idempotent, so nothing is counted
twice or lost. The edge is read too, exactly, so that every window is exact to the microsecond. What changes behind
that is found by looking at the past again, a part at a time (`Wheel`).

Before this on the way: `sums.py` and the collectors, which read rows. Here is no I/O and no clock: all times are
parameters, int64 microseconds since the epoch (UTC). Users are 64-bit hashes made by PostgreSQL; no identity comes
here.
"""

from __future__ import annotations

from exporter.windows.units import DAY, HOUR, MINUTE, RESYNC, SECOND, Integers, Part, minute
from exporter.windows.users import contained

__all__ = ["DAY", "HOUR", "MINUTE", "RESYNC", "SECOND", "Integers", "Part", "contained", "minute"]
