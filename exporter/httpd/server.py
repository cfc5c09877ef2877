"""The server of one port: uvicorn without its optional parts, in the exporter's event loop.

    listener -> server (this) -> protocol -> an ASGI application

Connections are accepted few at a time, so that their number is known before file descriptors are used up.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog
import uvicorn
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from exporter.httpd.connections import ClientConnections, Limits, Security
from exporter.httpd.protocol import BODY_BYTES, BodyLimit, GuardedProtocol, Port
from exporter.httpd.ready import ReadyResponses

_log = structlog.get_logger()

BURST = 16
"""Connections that are accepted before others have their turn: some, as the kernel drops those that wait too long. They
are fewer where the limit is low: a connection is not replaced before its request could be read."""

DESCRIPTORS_SECONDS = 0.1
"""The pause in accepting where no file descriptor is left."""


class _Faults(logging.Handler):
    """Logs an internal error that uvicorn reports: its type and place, without its message, which may hold data."""

    def __init__(self, port: str) -> None:
        super().__init__(logging.ERROR)
        self._port = port

    def emit(self, record: logging.LogRecord) -> None:
        kind, _, trace = record.exc_info or (None, None, None)
        if kind is None or issubclass(kind, asyncio.CancelledError | ClientDisconnect):
            return  # a response cut off by the end of the process, of the client or of Grafana's response
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = {} if trace is None else {"where": f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"}
        _log.error("http.answer.failed", port=self._port, kind=kind.__name__, **where)


def _logger(port: str) -> logging.Logger:
    """The logger of internal errors of one port; invalid requests are not logged."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    logger = logging.getLogger(f"uvicorn.error.{port}")
    logger.handlers, logger.propagate = [_Faults(port)], False
    logger.setLevel(logging.ERROR)
    return logger


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, with its own way to accept, and with a slower tick."""

    def __init__(
        self, config: uvicorn.Config, limits: Limits, name: str, body_limit: BodyLimit, security: Security | None
    ) -> None:
        super().__init__(config)
        self.servers = []
        self._connections = ClientConnections(limits)
        self._ready = ReadyResponses()
        self._security = security
        self._port = Port(
            config, self.server_state, self._connections, self._ready, _logger(name), body_limit, security
        )
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Stop accepting connections, and stop."""
        self.should_exit = True
        self._ending.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        for listener in sockets or []:
            listener.setblocking(False)
            self._accept_from(listener)
        self.started = True

    def _accept_from(self, listener: socket.socket) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept some connections: others are served after them."""
        loop = asyncio.get_running_loop()
        for _ in range(min(BURST, self._connections.most // 8 + 1)):
            try:
                client, _ = listener.accept()
            except (BlockingIOError, ConnectionError):
                return  # none is left, or the client is gone already
            except OSError:  # no file descriptor is left
                loop.remove_reader(listener)
                loop.call_later(DESCRIPTORS_SECONDS, self._accept_from, listener)
                return
            self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._connections.make_room()
        protocol = GuardedProtocol(self._port, loop)
        self._connections.opened(protocol)
        opening = protocol.opening = loop.create_task(self._open(protocol, client))
        opening.add_done_callback(lambda _: self._opened(protocol, client))

    async def _open(self, protocol: GuardedProtocol, client: socket.socket) -> None:
        context = None if self._security is None else self._security.context
        limits = self._connections.limits
        seconds = {"ssl_handshake_timeout": limits.head_seconds, "ssl_shutdown_timeout": limits.linger_seconds}
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, client, ssl=context, **(seconds if context is not None else {})
            )

    def _opened(self, protocol: GuardedProtocol, client: socket.socket) -> None:
        protocol.opening = None
        if protocol.transport is None:  # it failed, or was cancelled, perhaps before its first step
            client.close()
            self._connections.closed(protocol)

    async def main_loop(self) -> None:
        """Renew the Date header and check the time limits at each tick. uvicorn's own loop ticks ten times per second,
        at a higher cost than the rest of an idle server."""
        seconds = self._connections.limits.tick_seconds
        while not await self.on_tick(0):
            self._ready.dated(self.server_state.default_headers)
            self._connections.check(asyncio.get_running_loop().time())
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, finish responses in progress, and close every connection."""
        self._connections.ending = True
        for listener in sockets or []:
            asyncio.get_running_loop().remove_reader(listener)
            with suppress(OSError):
                while True:  # closed by the listener's end, a connection that was just made would be reset
                    listener.accept()[0].close()
        await super().shutdown(sockets)
        await self._connections.end()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `__main__`."""
        yield


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    port: str,
    *,
    limits: Limits | None = None,
    body_limit: BodyLimit = lambda _: BODY_BYTES,
    trusted_proxies: Sequence[str] = (),
    security: Security | None = None,
) -> None:
    """Serve until cancelled, and then finish responses in progress. `port`: the name of the port in events.
    `trusted_proxies`: addresses or networks of proxies whose X-Forwarded headers are used. `security`: the
    port's TLS; without it, there is none."""
    limits = limits or Limits()
    config = uvicorn.Config(
        app,
        http=GuardedProtocol,
        loop="none",
        access_log=False,
        log_config=None,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_graceful_shutdown=max(1, round(limits.stop_seconds)),
    )
    server = _Server(config, limits, port, body_limit, security)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.end()
        with suppress(asyncio.CancelledError):
            await serving
        raise
