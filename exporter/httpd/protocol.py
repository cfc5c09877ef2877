"""HTTP/1.1 of one connection: uvicorn's protocol (llhttp parses), which accepts no more than the limits.

`connections.py` has the limits on time and number. A refusal is sent after the responses to all earlier requests, and
nothing is read after it. Requests whose end two programs could see in different places are refused, not repaired.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import httptools
import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from exporter.httpd.connections import ClientConnections, Security
from exporter.httpd.ready import ReadyResponses

PIECE_BYTES = 2 * 1024
"""Bytes that are parsed at once: after a piece with several requests, parsing waits for their responses."""

URL_BYTES = 8 * 1024
HEAD_BYTES = 16 * 1024
"""Limit of a request line with its headers."""

HEADERS = 100

BLANK_BYTES = 1024
"""Limit of the empty lines before a request, which the parser skips."""

BODY_BYTES = 64 * 1024
"""Limit of a body where none is needed. A small one is read and ignored."""

DISCARDED_BYTES = 4 * 1024 * 1024
"""Bytes that are read and discarded after a refusal, while the client may read it."""

BodyLimit = Callable[[bytes], int]
"""The limit of a body, by the request's target."""


class _Refused(Exception):
    """Raised in a callback of the parser, which then stops; `status` is None where nothing is to be answered."""

    def __init__(self, status: HTTPStatus | None) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Port:
    """The shared objects of all connections of a port."""

    config: uvicorn.Config
    state: ServerState
    connections: ClientConnections
    ready: ReadyResponses
    logger: logging.Logger
    """For faults of the application."""
    body_limit: BodyLimit
    security: Security | None


class GuardedProtocol(HttpToolsProtocol):
    """One client: its requests are answered in order, and not read any further while it does not read its responses."""

    def __init__(self, port: Port, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(port.config, port.state, {}, loop)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # the last request is answered all the same
        self.logger = port.logger
        self.opening: asyncio.Task[None] | None = None
        """The task that opens the connection, until it is open."""
        self.since = loop.time()
        self._port = port
        self._ready = port.ready
        self._limits = port.connections.limits
        self._running: RequestResponseCycle | None = None
        self._alone: bytes | None = None  # the bytes of the running request, where they came in one piece
        self._held = b""  # read, and not parsed before earlier requests are answered
        self._refusal: HTTPStatus | None = None  # to be sent after earlier responses
        self._last = False  # no further request is accepted
        self._discarded = 0
        self._ended = False  # the last response is sent, and this end is closed
        self._eof = False  # the client has closed its end
        self._unsent = 0  # bytes of responses at the last check
        self._begun = False  # a request has begun and is not complete
        self._headed = False  # and its headers are complete
        self._begun_at = 0.0  # or, once the headers are complete, the time of their end
        self._count = 0  # bytes of the part that is being read
        self._head = 0
        self._most = 0
        self._blank = 0  # bytes since the last request that belong to none: empty lines

    # Callbacks of asyncio ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        if self._port.connections.ending:
            self.shutdown()
        elif self._port.security is not None and not self._port.security.admits(transport):
            self._last = True
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None:
            self._running.disconnected = True  # uvicorn tells only the latest request
        super().connection_lost(exc)
        self._held = b""
        self.pipeline.clear()
        self._port.connections.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._last:
            self._discarded += len(data)
            if self._discarded > DISCARDED_BYTES:
                self.abort()
            return
        if self._held:
            self._held += data
        elif self._begun or self._is_working() or self.flow.write_paused:
            self._parse_all(data)
        elif (response := self._ready.find(data)) is not None:
            self.since = self.loop.time()
            self.transport.write(response)
        else:
            self._parse_all(data)
            if self._is_working() and not (self._begun or self.pipeline or self._last):
                self._alone = data

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's closes at once
        """Keep the connection for the responses in progress; an application that takes longer learns of the client's
        end."""
        self._eof = self._last = True
        self.since = self.loop.time()
        return self._is_working()

    # Calls by the server -------------------------------------------------------------------------------------------

    @property
    def is_answering(self) -> bool:
        """Whether a whole request has come, and its response has not been sent yet."""
        return self._is_working() and not self._begun

    @property
    def is_holding(self) -> bool:
        """Whether reading waits for responses."""
        return bool(self._held)

    def check(self, now: float) -> None:
        """Refuse or close the connection if it has waited too long."""
        limits = self._limits
        if self.transport is None:
            patience = limits.head_seconds
        elif self.transport.get_write_buffer_size():
            if (unsent := self._count_unsent()) != self._unsent:
                self._unsent, self.since = unsent, now
            patience = limits.write_seconds
        elif self._ended or self._eof:
            patience = limits.linger_seconds
        elif self._begun and self._refusal is None:
            if now - self._begun_at > (limits.body_seconds if self._headed else limits.head_seconds):
                self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            return
        elif self._is_working():
            return  # the application has limits of its own
        else:
            patience = limits.idle_seconds
        if now - self.since > patience:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def shutdown(self) -> None:
        """Accept no more requests, and close once the accepted ones are answered."""
        self._last, self._held = True, b""
        if self.cycle is not None:
            self._close_after(self.cycle)
        super().shutdown()

    # Reading -------------------------------------------------------------------------------------------------------

    def _parse_all(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            if self.pipeline:
                self._held = data[start:]
                self.flow.pause_reading()
                return
            self._parse(data[start : start + PIECE_BYTES])
            if self._last:
                return

    def _parse(self, piece: bytes) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._last = True  # what follows is in another protocol
        except httptools.HttpParserError as error:
            refused = error.__context__
            self._refuse(refused.status if isinstance(refused, _Refused) else HTTPStatus.BAD_REQUEST)
        if self._begun:
            self._count += len(piece)
            if self._count > self._most + PIECE_BYTES:  # the piece in which the part began is counted whole
                too_large = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                self._refuse(too_large if self._headed else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            self._blank += len(piece)
            if self._blank > BLANK_BYTES + PIECE_BYTES:  # with the piece in which the last request ended
                self._refuse(HTTPStatus.BAD_REQUEST)

    def on_message_begin(self) -> None:
        """llhttp: the first byte of a request."""
        if self._last:
            raise _Refused(None)
        self._alone = None
        super().on_message_begin()
        self._begun, self._headed = True, False
        self._begun_at = self.since = self.loop.time()
        self._count, self._head, self._most, self._blank = 0, 0, HEAD_BYTES, 0

    def on_url(self, url: bytes) -> None:
        """llhttp: a piece of the target."""
        self.url += url
        self._head += len(url)
        if len(self.url) > URL_BYTES:
            raise _Refused(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """llhttp: a header; after the body a trailer, which is ignored."""
        if self._headed:
            return
        self._head += len(name) + len(value) + 4
        if self._head > HEAD_BYTES or len(self.headers) >= HEADERS:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """llhttp: everything before the body is complete."""
        self._check_head()
        super().on_headers_complete()
        self._headed = True
        self._begun_at = self.loop.time()
        self._count = 0
        if not self.pipeline or self.pipeline[0][0] is not self.cycle:
            self._running = self.cycle  # started, not put behind another
        # The body may not come once a response is sent; what follows an upgrade may be in another protocol.
        ends = self.expect_100_continue or self.parser.should_upgrade() or not self.parser.should_keep_alive()
        if ends or not self.cycle.keep_alive:
            self._close_after(self.cycle)

    def _close_after(self, cycle: RequestResponseCycle) -> None:
        """Close the connection after this response, and say so in its headers, which older uvicorns do not."""
        cycle.keep_alive = False
        cycle.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]

    def _check_head(self) -> None:
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise _Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        hosts = codings = length = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                codings += 1
                if version == "1.0" or value.strip().lower() != b"chunked":
                    raise _Refused(HTTPStatus.BAD_REQUEST)
            elif name == b"content-length":
                length = int(value)
        if hosts > 1 or codings > 1 or (version == "1.1" and not hosts):
            raise _Refused(HTTPStatus.BAD_REQUEST)
        most = self._port.body_limit(self.url)
        if length > most:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        self._most = 2 * most if codings else most  # chunks have sizes of their own

    def on_message_complete(self) -> None:
        """llhttp: the last byte of a request."""
        self._begun = False
        super().on_message_complete()
        self._last = not self.cycle.keep_alive

    # Answering -----------------------------------------------------------------------------------------------------

    def _is_working(self) -> bool:
        running = self._running
        return running is not None and not (running.response_complete or running.disconnected)

    def _start(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        """uvicorn: a response is complete. Start the next one, and parse more once none is left."""
        self.since = self.loop.time()
        if self._alone is not None:
            self._ready.learn(self._alone, self.scope["state"])
            self._alone = None
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start(*self.pipeline.pop())
        if self._held and not self.pipeline:
            held, self._held = self._held, b""
            self._parse_all(held)
        self.flow.resume_reading()
        if self._is_working():
            return
        if self._refusal is not None:
            self._send_refusal(self._refusal)
        elif self._eof:
            self.transport.close()

    def _count_unsent(self) -> int:
        """The bytes that the client has not acknowledged. The kernel takes more from this process only after it has
        sent a third of its buffer, which may be a megabyte: its part counts."""
        queued = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)

    def _refuse(self, status: HTTPStatus | None) -> None:
        """Answer the earlier requests, send this error, and read no further."""
        unfinished = self._begun and self._headed
        self._last, self._begun = True, False
        if self._ended or self._refusal is not None:
            return
        if unfinished and self.pipeline:
            self.pipeline.popleft()  # the request that is refused
        elif unfinished:
            if self.cycle.response_started:
                self._end() if self.cycle.response_complete else self.abort()
                return
            self.cycle.disconnected = True  # as if the client had left
            self.cycle.message_event.set()
        if status is not None:
            self._refusal = status
            if not self._is_working():
                self._send_refusal(status)

    def _send_refusal(self, status: HTTPStatus) -> None:
        """Send the error, and end the connection."""
        body = f"{status.phrase}\n".encode()
        fields = [
            *self.server_state.default_headers,
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(b"".join((STATUS_LINE[status], lines, b"\r\n", body)))
        self._end()

    def _end(self) -> None:
        """Close this end, and wait for the client to close its own: closing with unread data resets the connection, and
        the client may lose the response."""
        self._ended = True
        self.since = self.loop.time()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()


class _Flow(FlowControl):
    """uvicorn's flow control, which resumes reading for an application's `receive` too: not past requests that wait."""

    def __init__(self, transport: asyncio.Transport, protocol: GuardedProtocol) -> None:
        super().__init__(transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        if not self._protocol.is_holding:
            super().resume_reading()
