"""The server of the admin port: uvicorn without its optional parts, in the exporter's event loop.

The metrics port has its own server (`exporter/http1.py`) for many identical responses. The admin port has few requests
of all kinds, and a streaming proxy.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog
import uvicorn
from starlette.types import ASGIApp

_log = structlog.get_logger()

CONNECTIONS = 200
"""At once; the page of one admin, with all its frames, opens a dozen."""

TICK_SECONDS = 1.0

GRACE_SECONDS = 2
"""The time for responses in progress when the process stops."""


class _Faults(logging.Handler):
    """Logs an internal error that uvicorn reports: its type and place, without its message, which may hold data."""

    def emit(self, record: logging.LogRecord) -> None:
        kind, _, trace = record.exc_info or (None, None, None)
        if kind is None:
            return  # a response cut off because Grafana's was: no internal error
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = {} if trace is None else {"where": f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"}
        _log.error("admin.answer.failed", kind=kind.__name__, **where)


def _report_faults() -> None:
    """Log internal errors, and no invalid requests."""
    logger = logging.getLogger("uvicorn.error")
    logger.handlers, logger.propagate = [_Faults(logging.ERROR)], False


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, and with a slower tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Stop accepting connections, and stop."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Renew the Date header once per second. uvicorn's own loop ticks ten times per second, at a higher cost than
        the rest of an idle server."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._ending.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `__main__`."""
        yield


async def serve(app: ASGIApp, listener: socket.socket, trusted_proxies: Sequence[str] = ()) -> None:
    """Serve until cancelled, and then finish responses in progress, for GRACE_SECONDS at most. `trusted_proxies`:
    addresses or networks of proxies whose X-Forwarded headers are used."""
    _report_faults()
    server = _Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            lifespan="off",
            ws="none",
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_SECONDS,
            forwarded_allow_ips=list(trusted_proxies),
        )
    )
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.end()
        with suppress(asyncio.CancelledError):
            await serving
        raise
