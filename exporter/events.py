"""The output of events: standard error, one JSON object per line; readable text at a terminal.

Events describe the state of the service, and never stop it. A thread of `log_writer` writes them, so that a pipe that
is not read, or a disk that hangs, holds up neither the event loop nor the end of the process. Events that cannot be
written (a full or closed pipe, a full disk) are dropped, counted, and reported once writing works again:

    {"event": "log.events_dropped", "count": 4711, ...}

Errors and warnings that Python and libraries would print themselves become events too:

    {"event": "runtime.exception", "origin": "thread", "kind": "ValueError", "where": "/app/x.py:12", ...}
    {"event": "runtime.warning", "kind": "RuntimeWarning", "where": "/app/x.py:12", ...}
    {"event": "runtime.message", "logger": "asyncio", "where": "/app/x.py:12", ...}

with a type and a location, and never their text, which may contain data or a connection string.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
import warnings
from functools import cache
from types import TracebackType
from typing import Any, TextIO

import structlog

from exporter.log_writer import LogWriter

STANDARD_ERROR = 2

_PARTS_OF_A_LOOP = ("task", "future", "handle", "transport", "protocol", "asyncgen")
"""Parts of a fault without an exception, as in "Task was destroyed but it is pending"; the first part present names
it."""

_log = structlog.get_logger()


def configure() -> None:
    """Set up structlog for the whole process, and turn the output of Python and libraries into events."""
    writer = _writer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if os.isatty(STANDARD_ERROR) else structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: _Logger(writer),
    )
    # The events already contain the messages of drivers.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    messages = _Messages(logging.WARNING)
    logging.basicConfig(level=logging.WARNING, handlers=[messages])
    logging.lastResort = messages  # for loggers that are detached from the root
    logging.raiseExceptions = False
    warnings.showwarning = _warned
    threading.excepthook = _failed_thread
    sys.unraisablehook = _unraisable
    sys.excepthook = _failed


def silence() -> None:
    """Write no events: for a command whose output is its result, and which is no service."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def watch_loop() -> None:
    """Turn faults of the running event loop into events: in callbacks, in closed transports, and in tasks whose
    exception was never retrieved."""
    asyncio.get_running_loop().set_exception_handler(_failed_loop)


def say(text: str) -> None:
    """Write a plain line to standard error, in order with the events and as patient as they are."""
    _writer().put(text)


def flush() -> None:
    """Wait until all events are written; not for a pipe or disk that takes none."""
    _writer().flush()


def dropped() -> int:
    """Return the number of events dropped since the start."""
    return _writer().dropped


@cache
def _writer() -> LogWriter:
    """Return the one writer of the process."""
    writer = LogWriter(STANDARD_ERROR)
    atexit.register(writer.flush)
    return writer


class _Logger:
    """A logger of structlog's that hands its lines to the writer."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def msg(self, line: str) -> None:
        """Write one line."""
        self._writer.put(line)

    debug = info = warning = error = critical = msg


class _Messages(logging.Handler):
    """Messages of libraries that use the standard library's logging."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        fields = {"where": f"{record.pathname}:{record.lineno}"} if error is None else _fault(error)
        write = _log.error if record.levelno >= logging.ERROR else _log.warning
        write("runtime.message", logger=record.name, **fields)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _log.warning("runtime.warning", kind=category.__name__, where=f"{filename}:{lineno}")


def _failed_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        _log.error("runtime.exception", origin="thread", **_fault(args.exc_value))


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    # Without a traceback, only the name of the method (`__del__`, for example) or of the type is known.
    fields = {"kind": args.exc_type.__name__, "where": _name(args.object)}
    if args.exc_value is not None:
        fields |= _fault(args.exc_value.with_traceback(args.exc_traceback))
    _log.error("runtime.exception", origin="unraisable", **fields)


def _failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("runtime.exception", origin="main", **_fault(error))


def _failed_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if error is not None:
        fields = _fault(error)
    else:
        part = next((context[name] for name in _PARTS_OF_A_LOOP if context.get(name) is not None), None)
        fields = {"kind": "unknown" if part is None else type(part).__name__}
        if isinstance(part, asyncio.Task) and (code := getattr(part.get_coro(), "cr_code", None)) is not None:
            fields["where"] = f"{code.co_filename}:{code.co_firstlineno}"
    _log.error("runtime.exception", origin="event_loop", **fields)


def _name(code: object) -> str:
    """Return the name of a function, or that of an object's type."""
    return str(getattr(code, "__qualname__", type(code).__name__))


def _fault(error: BaseException) -> dict[str, str]:
    """Return the type of an error, and the line that raised it; for a group, those of its first error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    kind = {"kind": type(error).__name__}
    return kind if trace is None else {**kind, "where": f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"}
