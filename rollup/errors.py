"""What ends a run, and with which exit status."""

from __future__ import annotations

import psycopg
from psycopg import errors

from exporter.errors import AnalyticsError


class Refused(AnalyticsError):
    """What was asked for cannot be done as things are, and nothing was written; the message says what to change.

    Exit status 2.
    """


class RunFailed(AnalyticsError):
    """Something that worked before went wrong: the days that were done are done, the next run goes on from there.

    Exit status 1.
    """


def failure(error: psycopg.Error) -> AnalyticsError:
    """What a driver's error means. Its own words are shown where they can hold no row's values."""
    words = (error.diag.message_primary or "") if error.sqlstate else ""
    if isinstance(error, errors.InsufficientPrivilege | errors.UndefinedTable | errors.UndefinedColumn):
        return Refused(f"PostgreSQL: {words}")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return Refused("PostgreSQL: it is read only (a standby?); the roll-up has to write to the primary")
    if error.sqlstate is None or error.sqlstate[:2] in {"08", "28", "3D", "53", "57"}:
        name = type(error).__name__ if error.sqlstate is None else words
        return RunFailed(f"PostgreSQL cannot be reached: {name}")
    return RunFailed(f"PostgreSQL: {type(error).__name__}")
