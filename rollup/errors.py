"""What ends a run, and with which exit status."""

from __future__ import annotations

import psycopg
from psycopg import errors

from exporter.errors import AnalyticsError, SourceUnavailable
from exporter.sources.refusals import REFUSED_BY_SERVER
from exporter.sources.refusals import failure as meaning_of


class Refused(AnalyticsError):
    """What was asked for cannot be done as things are, and nothing was written; the message says what to change.

    Exit status 2.
    """


class RunFailed(AnalyticsError):
    """Something that worked before went wrong: the days that were done are done, the next run goes on from there.

    Exit status 1.
    """


class ReaderGone(AnalyticsError):
    """Whoever read our standard output has read enough (`| head`): nothing to say, and nobody to say it to."""


_HOPELESS = (
    errors.InsufficientPrivilege,
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
    errors.InvalidColumnReference,
    errors.WrongObjectType,
)
"""Errors that come again however often it is tried. Their message names tables, columns and types, never a value."""

ROW_SECURITY = 'see "Row level security" in docs/operating.md'

_REMEDIES = {
    REFUSED_BY_SERVER: "it, or a pooler before it, does not take the connection that the URL of the database asks for;"
    ' its log says why; see "Behind PgBouncer" in docs/operating.md',
}


def hides_rows(error: psycopg.Error) -> bool:
    """Whether PostgreSQL refused to leave out the rows that row level security hides from the role."""
    return isinstance(error, errors.InsufficientPrivilege) and error.diag.source_function == "check_enable_rls"


def failure(error: psycopg.Error) -> AnalyticsError:
    """What a driver's error means. Its own words are shown where they can hold no row's values, and no password."""
    if hides_rows(error):
        return Refused(f"PostgreSQL: {error.diag.message_primary}; {ROW_SECURITY}")
    if error.sqlstate is not None and isinstance(error, _HOPELESS):
        return Refused(f"PostgreSQL: {error.diag.message_primary}")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return Refused("PostgreSQL: it is read only (a standby?); the roll-up has to write to the primary")
    meaning = meaning_of(error)
    if isinstance(meaning, SourceUnavailable):
        remedy = f" ({_REMEDIES[meaning.kind]})" if meaning.kind in _REMEDIES else ""
        return RunFailed(f"PostgreSQL cannot be reached: {meaning.kind}{remedy}")
    return RunFailed(f"PostgreSQL: {meaning.kind}")
