"""The errors that end a run, each with its exit status."""

from __future__ import annotations

import psycopg
from psycopg import errors

from exporter.errors import AnalyticsError, CollectionFailed, SourceUnavailable
from exporter.sources.refusals import REFUSED_BY_SERVER
from exporter.sources.refusals import failure as meaning_of
from exporter.sources.rewritten import TABLE_REWRITTEN


class Refused(AnalyticsError):
    """The request is not possible in the present state, and nothing was written; the message has the remedy.

    Exit status 2.
    """


class RunFailed(AnalyticsError):
    """An error during a run: the days written so far are complete, and the next run continues from there.

    Exit status 1.
    """


class Busy(RunFailed):
    """Another session holds the lock, and nothing was done; the message names its holders."""


class ReaderGone(AnalyticsError):
    """The reader of standard output has closed it (`| head`): no message, as there is no reader for it."""


_HOPELESS = (
    errors.InsufficientPrivilege,
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
    errors.InvalidColumnReference,
    errors.WrongObjectType,
)
"""Errors that repeat on every attempt. Their message names tables, columns and types, never a value."""

ROW_SECURITY = 'see "Row level security" in docs/operating.md'

_REMEDIES = {
    REFUSED_BY_SERVER: "it, or a pooler before it, does not take the connection that the URL of the database asks for;"
    ' its log says why; see "Behind PgBouncer" in docs/operating.md',
}


def hides_rows(error: psycopg.Error) -> bool:
    """Return whether PostgreSQL refused to leave out the rows that row level security hides from the role."""
    return isinstance(error, errors.InsufficientPrivilege) and error.diag.source_function == "check_enable_rls"


def failure(error: psycopg.Error) -> AnalyticsError:
    """Return the error for a driver's error. The driver's text is shown only when it can hold no row's values and no
    password."""
    if hides_rows(error):
        return Refused(f"PostgreSQL: {error.diag.message_primary}; {ROW_SECURITY}")
    if error.sqlstate is not None and isinstance(error, _HOPELESS):
        return Refused(f"PostgreSQL: {error.diag.message_primary}")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return Refused("PostgreSQL: it is read only (a standby?); the roll-up has to write to the primary")
    return _run_failed(meaning_of(error))


def failure_of_source(error: SourceUnavailable | CollectionFailed) -> AnalyticsError:
    """Return the error for a failure of a reading by `exporter/sources`."""
    if isinstance(error, CollectionFailed) and error.altered and error.kind != TABLE_REWRITTEN:
        return Refused(f"PostgreSQL: {error.detail or error.kind}")
    return _run_failed(error)


def _run_failed(meaning: SourceUnavailable | CollectionFailed) -> RunFailed:
    if isinstance(meaning, SourceUnavailable):
        remedy = f" ({_REMEDIES[meaning.kind]})" if meaning.kind in _REMEDIES else ""
        return RunFailed(f"PostgreSQL cannot be reached: {meaning.kind}{remedy}")
    return RunFailed(f"PostgreSQL: {meaning.kind}")
