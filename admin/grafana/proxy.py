"""A streaming reverse proxy to Grafana, limited to the requests of panels.

    middleware -> proxy (this) -> paths (which requests), headers (under which name) -> Grafana

Grafana's port is not published, as each of its clients could claim any user name. The proxy is its only client and
always claims the same viewer's name. Bodies are passed on unchanged; nothing is decoded, cached or followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import quote

import httpx2
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from admin.grafana import paths
from admin.grafana.headers import from_grafana, to_grafana
from admin.grafana.paths import READ_METHODS, Decision
from admin.grafana.probe import PERIOD_SECONDS, GrafanaProbe
from admin.problem import problem
from presentation.panels import GRAFANA_PATH

_log = structlog.get_logger()

PUBLIC_PATH = GRAFANA_PATH.rstrip("/")
"""Grafana's path in its own configuration (`root_url` in grafana/grafana.env)."""

CONNECTIONS = 64
"""At once, enough for the pages of a few admins; further requests wait."""


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """Time-outs and sizes."""

    connect_seconds: float = 3.0
    idle_seconds: float = 60.0
    """Without a byte from Grafana, whose own limit for a data source is 30 s."""
    client_seconds: float = 20.0
    """Without a byte of the client's body."""
    body_bytes: int = 2**20
    """Of a request. Queries have a few thousand bytes."""


class GrafanaProxy:
    """An ASGI application to be mounted at `/grafana`, behind the middleware. Of `url`, Grafana's address for this
    process, scheme, host and port are used; paths are passed on unchanged."""

    def __init__(
        self,
        url: str,
        limits: ProxyLimits | None = None,
        *,
        public_path: str = PUBLIC_PATH,
        period_seconds: float = PERIOD_SECONDS,
    ) -> None:
        parts = httpx2.URL(url)
        self._limits = limits or ProxyLimits()
        self._origin = httpx2.URL(scheme=parts.scheme, host=parts.host, port=parts.port)
        self._own = f"{parts.scheme}://{parts.netloc.decode()}".lower()
        # A bare transport: no cookies, no redirects, no credentials from files, no proxy from the environment.
        self._transport = httpx2.AsyncHTTPTransport(
            limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        )
        self._probe = GrafanaProbe(f"{self._own}{public_path}/api/health", period_seconds)

    @property
    def up(self) -> bool | None:
        """Whether Grafana responds; None before the first probe."""
        return self._probe.up

    async def run(self) -> None:
        """Keep `up` true, until cancelled."""
        await self._probe.run()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()
        await self._probe.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "websocket":  # Grafana Live, which panels do not need
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        path = paths.below(scope, scope.get("root_path", ""))
        decision = Decision.REFUSE if path is None else paths.decide(scope["method"], path)
        if path is not None and decision is Decision.PASS:
            target = f"{quote(scope.get('root_path', ''))}/{path}".encode()  # the request's own bytes
            await self._pass_on(_Exchange(scope, receive, send, self._limits, target))
            return
        if decision is Decision.EMPTY:
            answer = Response(status_code=204)
        elif decision is Decision.METHOD:
            answer = problem(405, headers={"Allow": ", ".join(READ_METHODS)})
        else:
            # 403, not 404: Grafana's page shows a dashboard without its folder only if the folder is forbidden.
            answer = problem(403, detail="This part of Grafana is not available here.")
        await answer(scope, receive, send)

    async def _pass_on(self, exchange: _Exchange) -> None:
        """Pass on Grafana's response until the client leaves."""
        answering = asyncio.ensure_future(self._exchange(exchange))
        leaving = asyncio.ensure_future(exchange.client_left())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)
        if not answering.cancelled():
            answering.result()

    async def _exchange(self, exchange: _Exchange) -> None:
        try:
            refused = await self._try(exchange)
        except _BodyRefused as error:
            refused = problem(error.status)
        except _ClientLeft:
            return
        except httpx2.TimeoutException as error:
            self._missed(exchange, error)
            refused = problem(504, detail="Grafana did not respond in time.")
        except httpx2.LocalProtocolError:
            refused = problem(400)  # the request is no valid HTTP
        except (httpx2.TransportError, OSError) as error:
            self._missed(exchange, error)
            refused = problem(502, detail="Grafana does not respond.")
        if refused is not None and not exchange.started:
            await refused(exchange.scope, exchange.receive, exchange.send)

    async def _try(self, exchange: _Exchange) -> Response | None:
        """Pass on Grafana's response; the refusal if there is none to pass on."""
        scope, limits = exchange.scope, self._limits
        with_body = scope["method"] not in READ_METHODS
        headers = to_grafana(scope, with_body=with_body)
        if headers is None:
            return problem(400)
        if _announced(headers) > limits.body_bytes:
            return problem(413)
        query: bytes = scope["query_string"]
        request = httpx2.Request(
            scope["method"],
            self._origin,
            headers=headers,
            stream=exchange if with_body else httpx2.ByteStream(b""),
            extensions={
                "target": exchange.target + (b"?" + query if query else b""),
                "timeout": {
                    "connect": limits.connect_seconds,
                    "pool": limits.idle_seconds,
                    "write": limits.idle_seconds,
                    "read": limits.idle_seconds,
                },
            },
        )
        if not with_body:
            exchange.body_is_read()
        response = await self._answer(request)
        exchange.body_is_read()
        async with aclosing(response):
            status = response.status_code
            if not 200 <= status < 600:
                return problem(502, detail="The response of Grafana is invalid.")
            headers = from_grafana(response.headers.raw, status, self._own)
            await exchange.start(status, headers)
            async for part in response.aiter_raw():
                await exchange.send({"type": "http.response.body", "body": part, "more_body": True})
        await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})
        return None

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        """The beginning of Grafana's answer.

        A connection that was used before may be closed by Grafana at the very moment at which it is used again: reading
        is tried again then, until it had a connection of its own. Whether a request with a body was heard, and what it
        did, is not known.
        """
        while True:
            connection = _Connection()
            request.extensions["trace"] = connection.note
            try:
                return await self._transport.handle_async_request(request)
            except (httpx2.ReadError, httpx2.RemoteProtocolError):
                if connection.is_new or request.method not in READ_METHODS:
                    raise  # otherwise it is closed and in the pool no more, so that this has an end

    def _missed(self, exchange: _Exchange, error: Exception) -> None:
        kind = type(error).__name__
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            self._probe.note(False, kind)
        elif exchange.started:
            # The response ends without its end, so that the client sees that it is incomplete.
            _log.warning("admin.grafana.interrupted", kind=kind)
        else:
            _log.warning("admin.grafana.unanswered", kind=kind)


def _announced(headers: list[tuple[bytes, bytes]]) -> float:
    """The Content-Length; 0 if it is missing or no number."""
    length = next((value for name, value in headers if name == b"content-length"), b"0")
    return float(length) if length.isdigit() else 0


class _Connection:
    """The connection of one request: made for it, or used before."""

    def __init__(self) -> None:
        self.is_new = False

    async def note(self, event: str, _: Mapping[str, object]) -> None:
        """What httpx tells of a request (its extension `trace`)."""
        self.is_new |= event == "connection.connect_tcp.started"


class _BodyRefused(Exception):
    """A body that is too long or too slow; `status` is that of the response."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _ClientLeft(Exception):
    """The client has closed the connection."""


class _Exchange(httpx2.AsyncByteStream):
    """One request of a client: its body as it arrives, and the response as it leaves."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: ProxyLimits, target: bytes) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.target = target
        self.started = False
        self._limits = limits
        self._body_read = asyncio.Event()

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Start the response."""
        self.started = True
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    def body_is_read(self) -> None:
        """Note the end of the body: the next message is the client's disconnection."""
        self._body_read.set()

    async def client_left(self) -> None:
        """Return once the client has left."""
        await self._body_read.wait()
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, more = 0, True
        while more:
            try:
                async with asyncio.timeout(self._limits.client_seconds):
                    message = await self.receive()
            except TimeoutError:
                raise _BodyRefused(408) from None
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size > self._limits.body_bytes:
                raise _BodyRefused(413)
            if part:
                yield part
        self._body_read.set()
