"""The meaning of PostgreSQL's errors: the source is down, or one query failed; and the kind of failure.

    psycopg.Error, TimeoutError, OSError -> SourceUnavailable or CollectionFailed

Errors of queries have an SQLSTATE. Errors of connecting have text only: libpq's own, which is English, or an error sent
by a server, which may be in the server's language and may come from a pooler before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import psycopg
from psycopg import errors

from exporter.errors import CollectionFailed, SourceUnavailable

NAME = "postgres"
"""The source's label value in `hivesync_source_up`."""

REFUSED_BY_SERVER = "refused_by_server"
"""A server, or a pooler before it, answered and refused the connection for a reason without a kind of its own: it is
reachable, so this is never `connection_lost`."""

STATEMENT_TIMEOUT = "statement_timeout"
"""The server ended a statement after the time limit."""

_SAFE_TO_LOG = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InsufficientPrivilege,
)
"""Errors whose message names tables, columns and functions, never a value of a row."""

_ALTERED = "42"
"""The SQLSTATE class of a query that does not fit the tables (unknown names, other types): found before any row is
read."""

_DOWN = {"08", "28", "3D", "53", "57"}
"""SQLSTATE classes that mean that no server is available: connection, authorization, no such database, resources,
operator intervention (shutting down, starting up)."""

_QUOTED = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
"""Names of hosts, roles, databases: a database called `timeout` is no timeout."""

_SENT = re.compile(r"(?:^|: )[^\s:][^:\n]*: {2}(.+)", re.MULTILINE)
"""The text of an error sent by a server. libpq writes its severity (FATAL, in any language), a colon and two spaces
before it; none of its own messages contains these."""

_OF_A_SERVER = (
    ("due to timeout", "timeout"),
    ("too many", "too_many_connections"),
    ("connection slots", "too_many_connections"),
    ("no more connections", "too_many_connections"),
    ("starting up", "starting_up"),
    ("not yet accepting", "starting_up"),
    ("recovery mode", "starting_up"),
    ("shutting down", "shutting_down"),
    ("administrator command", "admin_shutdown"),
    ("crash of another", "crash_shutdown"),
    ("authentication", "authentication"),
    ("password", "authentication"),
    ("pg_hba.conf", "authentication"),
    ("not permitted to log in", "authentication"),
    ("permission denied for database", "authentication"),
    ("no such user", "authentication"),
    ('role "" does not exist', "authentication"),
    ('database "" does not exist', "unknown_database"),
    ("certificate", "tls"),
    ("ssl", "tls"),
)
"""Words in the errors of servers and poolers (lower case, without names) and their kinds; the first match counts."""

_OF_LIBPQ = (
    ("refused", "refused"),
    ("timeout", "timeout"),
    ("timed out", "timeout"),
    ("could not translate host name", "unknown_host"),
    ("failed to resolve host", "unknown_host"),
    ("authentication", "authentication"),
    ("password", "authentication"),
    ("certificate", "tls"),
    ("ssl", "tls"),
)
"""The same for libpq's own messages."""


def failure(error: Exception) -> SourceUnavailable | CollectionFailed:
    """Return the meaning of a driver's error: the source is down, or this one query failed."""
    if isinstance(error, TimeoutError | errors.ConnectionTimeout):
        return SourceUnavailable(NAME, "timeout")
    if isinstance(error, errors.QueryCanceled):
        return CollectionFailed(NAME, STATEMENT_TIMEOUT)
    if isinstance(error, errors.ProtocolViolation):  # from a pooler that gives up, as in query_wait_timeout
        return SourceUnavailable(NAME, REFUSED_BY_SERVER)
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        kind = _words(type(error).__name__)
        if error.sqlstate[:2] in _DOWN:
            return SourceUnavailable(NAME, kind)
        detail = (error.diag.message_primary or "") if isinstance(error, _SAFE_TO_LOG) else ""
        altered = error.sqlstate[:2] == _ALTERED and not isinstance(error, errors.InsufficientPrivilege)
        return CollectionFailed(NAME, kind, detail, altered=altered)
    if isinstance(error, psycopg.OperationalError | OSError):
        return SourceUnavailable(NAME, _connection_kind(str(error)))
    return CollectionFailed(NAME, _words(type(error).__name__))


def _connection_kind(message: str) -> str:
    """Return a constant for a message without SQLSTATE. Where one of several hosts answered, its answer counts."""
    message = _QUOTED.sub('""', message)
    sent = _SENT.search(message)
    if sent is not None:
        return _kind_of(sent[1], _OF_A_SERVER) or REFUSED_BY_SERVER
    return _kind_of(message, _OF_LIBPQ) or "connection_lost"


def _kind_of(message: str, kinds: Iterable[tuple[str, str]]) -> str | None:
    return next((kind for words, kind in kinds if words in message.lower()), None)


def _words(name: str) -> str:
    """Return the name in snake case: UndefinedTable -> undefined_table."""
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).removeprefix("_")
