"""The meaning of redis-py's errors: the source is down, or one command was refused; and the kind of failure.

`redis.py` uses this module.
"""

from __future__ import annotations

import socket
import ssl

from redis import exceptions

DOWN = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.InvalidResponse, OSError)
"""Errors of a server that cannot be reached, or is not ready for commands; refused authentication is one of redis-py's
connection errors. TimeoutError is an OSError."""

NOT_UNDERSTOOD = "not_understood"
"""The kind of failure of a server whose answers are no answers to the questions."""

TOO_LARGE = "too_large"
"""The kind of failure of answers that are larger than any of HiveSync's."""


UNREADY = {"MASTERDOWN": "master_down", "CLUSTERDOWN": "cluster_down", "BUSY": "busy"}
"""Kinds of failures by the code of the server's error."""


def refusal_kind(error: Exception) -> str:
    """Return a constant for a command refused by the server, or for a failure to reach it."""
    if isinstance(error, DOWN):
        return failure_kind(error)
    if (kind := unready_kind(error)) is not None:
        return kind
    if isinstance(error, RuntimeError):  # uvloop's, for a connection that the server has closed
        return "connection_lost"
    if isinstance(error, exceptions.NoPermissionError):
        return "no_permission"
    if isinstance(error, exceptions.ResponseError):
        return "unknown_database" if "DB index" in str(error) else "command_refused"
    return NOT_UNDERSTOOD


def unready_kind(error: Exception) -> str | None:
    """Return a constant for an error that the server gives to every command that reads; None for any other."""
    if isinstance(error, exceptions.MasterDownError):
        return "master_down"
    if isinstance(error, exceptions.ClusterDownError):
        return "cluster_down"
    if not isinstance(error, exceptions.ResponseError):
        return None
    # Later versions than redis-py 5.2 have classes for the first two, and remove the code from their text.
    return UNREADY.get(str(error).partition(" ")[0])


def failure_kind(error: Exception) -> str:
    """Return a constant for the reason why a server cannot be reached."""
    if isinstance(error, exceptions.AuthenticationError):
        return "authentication"
    if isinstance(error, exceptions.BusyLoadingError):
        return "loading"
    if isinstance(error, exceptions.InvalidResponse) and str(error) == NOT_UNDERSTOOD:
        return NOT_UNDERSTOOD
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return "timeout"
    return _connection_kind(error)


def _connection_kind(error: BaseException | None) -> str:
    """Return a constant for a failed connection, from the driver's error or its causes."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return "tls"
        if isinstance(error, socket.gaierror):
            return "unknown_host"
        if isinstance(error, FileNotFoundError | PermissionError):  # a socket, or a certificate file
            return "missing" if isinstance(error, FileNotFoundError) else "permission"
        if isinstance(error, ConnectionRefusedError) or "refused" in str(error) or "Error 111" in str(error):
            return "refused"
        error = error.__cause__ or error.__context__
    return "connection_lost"
