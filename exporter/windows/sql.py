"""SQL for the engine's units of time: microseconds, and the minutes and hours by which rows are grouped."""

from __future__ import annotations

MICROSECONDS = "round(date_part('epoch', {0}) * 1000000)::bigint"
"""SQL for a timestamptz or interval as exact microseconds. (`date_part` is a double, several times cheaper than the
numeric of `extract`; a double tells microseconds apart until the year 2255.)"""

# A bin of date_bin is closed at its start and open at its end; shifted by a microsecond it is a minute of the engine.
_FIRST_INSTANT = "'2000-01-01 00:00:00.000001+00'"

MINUTE_BIN = f"date_bin('1 minute', {{0}}, {_FIRST_INSTANT})"
HOUR_BIN = f"date_bin('1 hour', {{0}}, {_FIRST_INSTANT})"
"""SQL for the minute and the hour of a timestamptz, for GROUP BY: integer arithmetic. Other expressions cost a quarter
of the time of reading a row."""

_NUMBER = "(floor(date_part('epoch', {0}) / {1}) + 1)::bigint"
MINUTE_OF, HOUR_OF = _NUMBER.format(MINUTE_BIN, 60), _NUMBER.format(HOUR_BIN, 3600)
"""SQL for the numbers of these minutes and hours, as in `units.minute`: evaluated once per group."""

CLOCK_MINUTE_BIN = "date_bin('1 minute', {0}, '2000-01-01 00:00:00+00')"
CLOCK_MINUTE_OF = _NUMBER.format(CLOCK_MINUTE_BIN, 60)
"""The same for minutes closed at their start, for days of the calendar: minute `m` holds `[(m-1) min, m min)`."""
