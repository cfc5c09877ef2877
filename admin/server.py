"""The admin port: uvicorn with what nobody needs left out, in the exporter's own loop.

The metrics port has a server of its own (`exporter/http1.py`), made for the same bytes over and over. Here are few
requests, of all kinds, and a proxy that streams.
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
"""At once; one administrator's page, with all its frames, makes a dozen."""

TICK_SECONDS = 1.0

GRACE_SECONDS = 2
"""How long an answer that is on its way may take once the process is to stop."""


class _Faults(logging.Handler):
    """What uvicorn says of a fault of ours, as one line of the log: which error and where, and nothing that it says, as
    that may hold data."""

    def emit(self, record: logging.LogRecord) -> None:
        kind, _, trace = record.exc_info or (None, None, None)
        if kind is None:
            return  # an answer that was broken off, as Grafana broke it off: nobody's fault here
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = {} if trace is None else {"where": f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"}
        _log.error("admin.answer.failed", kind=kind.__name__, **where)


def _report_faults() -> None:
    """Faults are reported; that somebody sends what is no HTTP is not."""
    logger = logging.getLogger("uvicorn.error")
    logger.handlers, logger.propagate = [_Faults(logging.ERROR)], False


class _Server(uvicorn.Server):
    """One that leaves signals to `__main__`, and wakes up no oftener than it has to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Take no more connections, and end."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Once a second the date in the headers is made anew; uvicorn's own loop looks ten times as often whether it is
        to end, which costs more than all else here while nobody asks."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._ending.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


async def serve(app: ASGIApp, listener: socket.socket, trusted_proxies: Sequence[str] = ()) -> None:
    """Serve until cancelled; what is being answered then is finished first, for GRACE_SECONDS at most. The proxies are
    addresses or networks of those who may say for whom a request comes."""
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
