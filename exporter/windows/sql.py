"""SQL for times as the engine counts them: microseconds, and the minutes and hours that rows are grouped by."""

from __future__ import annotations

MICROSECONDS = "round(date_part('epoch', {0}) * 1000000)::bigint"
"""SQL for a timestamptz or interval as exact microseconds. (`date_part` is a double, several times cheaper than the
numeric of `extract`; a double tells microseconds apart until the year 2255.)"""

# A bin is closed at its start and open at its end; a microsecond later it is what a minute of ours is.
_FIRST_INSTANT = "'2000-01-01 00:00:00.000001+00'"

MINUTE_BIN = f"date_bin('1 minute', {{0}}, {_FIRST_INSTANT})"
HOUR_BIN = f"date_bin('1 hour', {{0}}, {_FIRST_INSTANT})"
"""SQL for the minute and the hour that hold a timestamptz, to group rows by: integer arithmetic, where anything else
takes a quarter of what reading a row does."""

_NUMBER = "(floor(date_part('epoch', {0}) / {1}) + 1)::bigint"
MINUTE_OF, HOUR_OF = _NUMBER.format(MINUTE_BIN, 60), _NUMBER.format(HOUR_BIN, 3600)
"""SQL for their numbers, as `units.minute` counts minutes: worked out once a group."""
