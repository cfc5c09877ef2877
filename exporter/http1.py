"""An HTTP/1.1 server for responses that are ready in memory, safe against any client.

`web.py` provides the responses; this module reads requests (llhttp parses them) and sends responses: a request costs a
look-up and a write. A client that sends invalid or oversized requests, is too slow, or does not read its responses gets
an error or is disconnected, and delays no other client. None of that is logged.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote_to_bytes

import httptools

READ_BYTES = 8 * 1024
"""Bytes per read: the most that one connection can have parsed before the others have their turn, a millisecond or
two."""

URL_BYTES = 4 * 1024
HEAD_BYTES = 16 * 1024
"""Limit of a request line with its headers. Bytes are counted per read: a request that is shorter than the limit
by a read is always accepted."""

MESSAGE_BYTES = 64 * 1024
"""Limit of a whole request. No request needs a body; a small one is read and ignored."""

BURST = 16
"""Pipelined requests of one connection that are answered before the others have their turn."""

BACKLOG = 1024
KNOWN_REQUESTS = 64
KNOWN_BYTES = 1024
"""A client sends the same bytes each time. The parsed form of that many requests, up to that length, is cached."""

TEXT_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits per client; the defaults suit a reader on a slow connection, and bound the cost of many idle ones."""

    connections: int = 256
    """Connections at once, and never more than half of the file descriptors of the process. At the limit, a new
    connection replaces the one with the longest inactivity."""
    idle_seconds: float = 75.0
    """Time between requests: more than a scrape interval, so that a connection is kept from one scrape to the next."""
    busy_seconds: float = 10.0
    """Time for a request from its first to its last byte, and for reading a response: Prometheus' own default for
    both."""
    linger_seconds: float = 2.0
    """Time for the client to close its end after the last response; until then its data is discarded, so that it can
    read the response."""
    stop_seconds: float = 1.0
    """Time for sending pending responses after a stop."""
    tick_seconds: float = 1.0
    """Interval at which time limits are checked and the Date header is updated; the precision of the limits."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request: `path` without query, percent-decoded; repeated headers are joined by commas."""

    method: str
    path: bytes
    accept: str
    accept_encoding: str
    head: bool
    close: bool


class Response:
    """A response: made once, sent any number of times."""

    __slots__ = ("_body", "_date", "_head", "_whole")

    def __init__(
        self, status: HTTPStatus, body: bytes, content_type: str = TEXT_TYPE, headers: Mapping[str, str] | None = None
    ) -> None:
        fields = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in fields.items())]
        self._head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        self._body = body
        self._date = self._whole = b""

    def encoded(self, date: bytes, *, head: bool, close: bool) -> bytes:
        """Return the bytes to send; with `head`, without the body. The usual form is cached per date."""
        if head or close:
            closing = b"connection: close\r\n" if close else b""
            return b"".join((self._head, date, closing, b"\r\n", b"" if head else self._body))
        if self._date is not date:
            self._date, self._whole = date, b"".join((self._head, date, b"\r\n", self._body))
        return self._whole


Answer = Callable[[Request], Response]
"""A handler that answers from memory, at once. An exception ends the connection, and is reported by the event loop."""


@lru_cache
def plain(status: HTTPStatus) -> Response:
    """Return a response that contains its status only."""
    return Response(status, f"{status.phrase}\n".encode())


class Server:
    """All connections, and their shared state."""

    def __init__(self, answer: Answer, limits: Limits | None = None) -> None:
        self.answer = answer
        self.limits = limits or Limits()
        self.buffer = memoryview(bytearray(READ_BYTES))  # shared by all connections: emptied before the next read
        self.known: dict[bytes, Request] = {}
        self._most = min(self.limits.connections, _descriptors() // 2)
        self._connections: dict[_Connection, None] = {}
        self._none_left = asyncio.Event()
        self._tick(0.0)

    async def serve(self, listener: socket.socket) -> None:
        """Answer until cancelled; then accept no more requests, and send pending responses."""
        loop = asyncio.get_running_loop()
        self._tick(loop.time())
        listening = await loop.create_server(lambda: _Connection(self), sock=listener, backlog=BACKLOG)
        try:
            while True:
                await asyncio.sleep(self.limits.tick_seconds)
                self._tick(loop.time())
        finally:
            listening.close()
            await asyncio.sleep(0)  # connections that were just accepted are registered only now
            await self._end_all(_Connection.finish)
            await self._end_all(_Connection.abort)

    async def _end_all(self, end: Callable[[_Connection], None]) -> None:
        for connection in tuple(self._connections):
            end(connection)
        if self._connections:
            self._none_left.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._none_left.wait(), self.limits.stop_seconds)

    def _tick(self, now: float) -> None:
        self.now = now
        self.date = f"date: {formatdate(usegmt=True)}\r\n".encode("ascii")
        for connection in tuple(self._connections):
            if now - connection.since > connection.patience(self.limits):
                connection.abort()

    def opened(self, connection: _Connection) -> None:
        """Register a connection; at the limit, close the connection with the longest inactivity."""
        if len(self._connections) >= self._most:
            stillest = min(self._connections, key=lambda other: other.since)
            del self._connections[stillest]
            stillest.abort()
        self._connections[connection] = None

    def closed(self, connection: _Connection) -> None:
        """Remove a closed connection."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._none_left.set()

    def remember(self, data: bytes, request: Request) -> None:
        """Remember that these bytes, read between two requests, are exactly this request."""
        if len(self.known) >= KNOWN_REQUESTS:
            self.known.clear()
        self.known[data] = request


class _Connection(asyncio.BufferedProtocol):
    """One client: its requests are answered in order, and not read any further while it does not read its responses."""

    _transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.since = server.now
        """The time of the last event that restarts its time limit."""
        self._server = server
        self._parser: httptools.HttpRequestParser | None = None
        self._waiting: deque[Request | Response] = deque()
        self._paused = False  # an answer is not fully sent
        self._last = False  # no further request is accepted
        self._ended = False  # everything is answered, and this end is closed
        self._hasty = False  # no wait for the client's end
        self._begun = False  # a request has begun and is not complete
        self._start_request()

    # Callbacks of asyncio ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # at most one unread response is buffered
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._parser = None  # a reference cycle
        self._waiting.clear()
        self._server.closed(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = self._server.buffer[:nbytes].tobytes()
        between_requests = not (self._begun or self._waiting or self._paused or self._last)
        if between_requests and (known := self._server.known.get(data)):
            self._send(known)
        elif not self._last:
            self._read(data)
            if between_requests and len(self._waiting) == 1 and len(data) <= KNOWN_BYTES:
                only = self._waiting[0]
                if isinstance(only, Request) and not (only.close or self._begun or self._last):
                    self._server.remember(data, only)
            self._answer()

    def pause_writing(self) -> None:
        self._paused = True
        self.since = self._server.now

    def resume_writing(self) -> None:
        self._paused = False
        self.since = self._server.now
        self._answer()

    # Calls by the server -------------------------------------------------------------------------------------------

    def patience(self, limits: Limits) -> float:
        """Return the number of seconds for which it may stay in its present state."""
        if self._paused or self._begun or self._waiting:
            return limits.busy_seconds
        return limits.linger_seconds if self._ended else limits.idle_seconds

    def finish(self) -> None:
        """Accept no more requests, and close once the accepted ones are answered."""
        self._last = self._hasty = True
        if not self._waiting:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # Reading ------------------------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        parser = self._parser = self._parser or httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):  # an upgrade was taken as the last request
            self._refuse(HTTPStatus.BAD_REQUEST)
        if self._begun:
            self._count += len(data)
            if self._count > (MESSAGE_BYTES if self._request else HEAD_BYTES):
                self._refuse(self._too_long())

    def on_message_begin(self) -> None:
        """llhttp: the first byte of a request."""
        self._start_request()
        self._begun = True
        self.since = self._server.now

    def _start_request(self) -> None:
        self._count = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._hosts = 0
        self._request: Request | None = None

    def on_url(self, url: bytes) -> None:
        """llhttp: a piece of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """llhttp: a header; after the body a trailer, which is ignored."""
        name = name.lower()
        if name in (b"accept", b"accept-encoding", b"expect"):
            before = self._headers.get(name)
            self._headers[name] = value.strip() if before is None else before + b", " + value.strip()
        self._hosts += name == b"host"

    def on_headers_complete(self) -> None:
        """llhttp: everything before the body is complete."""
        parser = self._parser
        if self._last or parser is None:
            return
        version = parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        elif version == "1.1" and self._hosts != 1:
            self._refuse(HTTPStatus.BAD_REQUEST)
        elif len(self._url) > URL_BYTES:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG)
        else:
            # Data after a request to upgrade may be in another protocol, and a client that expects "100 Continue" need
            # not send its body any more: both are answered at once, and nothing is read after them.
            answered_now = parser.should_upgrade() or b"expect" in self._headers
            self._request = Request(
                method=parser.get_method().decode("ascii"),
                path=_path(self._url),
                accept=self._headers.get(b"accept", b"").decode("latin-1"),
                accept_encoding=self._headers.get(b"accept-encoding", b"").decode("latin-1"),
                head=parser.get_method() == b"HEAD",
                close=answered_now or version == "1.0" or not parser.should_keep_alive(),
            )
            if answered_now:
                self.on_message_complete()

    def on_message_complete(self) -> None:
        """llhttp: the last byte of a request."""
        self._begun = False
        if self._request and not self._last:
            self._waiting.append(self._request)
            self._last = self._request.close

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer the earlier requests, send this error, and read no further."""
        self._begun = False
        if not self._last:
            self._waiting.append(plain(status))
            self._last = True

    def _too_long(self) -> HTTPStatus:
        if self._request:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        too_long = len(self._url) > URL_BYTES
        return HTTPStatus.REQUEST_URI_TOO_LONG if too_long else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE

    # Answering ----------------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        """Answer pending requests while the client reads the responses; resume reading when none is pending."""
        for _ in range(BURST):
            if not self._waiting or self._paused or self._transport.is_closing():
                break
            self._send(self._waiting.popleft())
        if self._transport.is_closing():
            return
        if self._waiting:
            self._transport.pause_reading()  # nor is the client's end-of-file read; its requests are answered first
            if not self._paused:
                asyncio.get_running_loop().call_soon(self._answer)
        elif self._last:
            self._end()
        else:
            self._transport.resume_reading()

    def _send(self, asked: Request | Response) -> None:
        if isinstance(asked, Request):
            response, head, close = self._server.answer(asked), asked.head, asked.close
        else:
            response, head, close = asked, False, True
        self.since = self._server.now
        self._transport.write(response.encoded(self._server.date, head=head, close=close))

    def _end(self) -> None:
        """Close this end and wait for the client to close its own: closing with unread data resets the connection, and
        the client may lose the response."""
        if self._hasty:
            self._transport.close()
        elif not self._ended:
            self._ended = True
            self._transport.write_eof()


def _path(url: bytes) -> bytes:
    """Return the path of a request's target; b"" where it has none (`*`, `host:port`)."""
    if not url.startswith(b"/"):
        try:
            url = httptools.parse_url(url).path or b""
        except httptools.HttpParserInvalidURLError:
            return b""
    return unquote_to_bytes(url.partition(b"?")[0])


def _descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft
