"""A stand-in for Grafana and the section with its proxy in front, as real servers on their own threads.

    with standing_in() as grafana, analytics(grafana.url) as section:
        answer = section.get("/grafana/api/annotations")
        assert grafana.arrived[0].header("x-webauth-user") == ...

It stands for Grafana's HTTP only: requests, byte for byte, and valid and invalid responses. It cannot show that the
pages of Grafana work through the proxy.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from admin.grafana.proxy import GrafanaProxy, ProxyLimits
from admin.site import body_limit
from exporter.httpd.server import serve
from servers.ports import LOOPBACK
from tests.admin.access.credentials import API_KEY
from tests.admin.access.guarded import access_of, on_its_own, section_of
from tests.admin.client import ROOT, Answer
from tests.waiting import patience

PANEL = "/grafana/d-solo/hivesync-analytics/panel"
QUERY = "/grafana/api/ds/query"


def quick() -> ProxyLimits:
    """For tests that wait for the end of patience; those that do not wait have the limits that are used."""
    return ProxyLimits(connect_seconds=patience(1), idle_seconds=patience(0.3), client_seconds=patience(0.3))


Answering = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Arrived:
    """One request: names of headers in lower case, in their order."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The header, or None; fails for a repeated header."""
        found = [value for key, value in self.headers if key == name]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else None


async def _fine(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"fine": True})(scope, receive, send)


@dataclass
class StandIn:
    """A stand-in for Grafana: keeps whole requests and responds with `answering`; `raw` handles requests unread."""

    url: str
    arrived: list[Arrived] = field(default_factory=list)
    answering: Answering = _fine
    raw: Answering | None = None

    def reset(self) -> None:
        """Forget all requests, and respond as at first."""
        self.arrived.clear()
        self.answering, self.raw = _fine, None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        if self.raw is not None:
            await self.raw(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        target: bytes = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        self.arrived.append(Arrived(scope["method"], target.decode("latin-1"), headers, body))
        await self.answering(scope, receive, send)


@contextmanager
def served(app: ASGIApp, close: Callable[[], Awaitable[None]] | None = None) -> Iterator[tuple[str, int]]:
    """The admin port's server with this application; `close` follows its end."""
    listener = socket.create_server((LOOPBACK, 0))
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []
    started = threading.Event()

    async def main() -> None:
        task = asyncio.create_task(serve(app, listener, "admin", body_limit=body_limit))
        running.append((asyncio.get_running_loop(), task))
        started.set()
        with suppress(asyncio.CancelledError):
            await task
        if close is not None:
            await close()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    with listener:
        thread.start()
        try:
            assert started.wait(patience())
            yield listener.getsockname()
        finally:
            loop, task = running[0]
            loop.call_soon_threadsafe(task.cancel)
            thread.join(patience())
            assert not thread.is_alive()


@contextmanager
def standing_in() -> Iterator[StandIn]:
    """A server that responds to every request, on a free port."""
    stand_in = StandIn("")
    with served(stand_in) as (host, port):
        stand_in.url = f"http://{host}:{port}"
        yield stand_in


@contextmanager
def raw_server(script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Iterator[str]:
    """The URL of a server that handles each connection with the script."""
    ready = threading.Event()
    found: list[Any] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):  # the client has left
                await script(reader, writer)
        finally:
            writer.close()

    async def main() -> None:
        ended = asyncio.Event()
        server = await asyncio.start_server(connected, LOOPBACK, 0)
        found.extend((asyncio.get_running_loop(), ended, server.sockets[0].getsockname()))
        ready.set()
        async with server:
            await ended.wait()
            server.close()
            scripts = asyncio.all_tasks() - {asyncio.current_task()}
            for task in scripts:
                task.cancel()
            await asyncio.gather(*scripts, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(patience())
        loop, ended, (host, port) = found
        yield f"http://{host}:{port}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(patience())
        assert not thread.is_alive()


@dataclass(frozen=True)
class ServedSection:
    """The Analytics section on its own port, and requests of an admin to it."""

    address: tuple[str, int]
    proxy: GrafanaProxy

    @property
    def host(self) -> str:
        """The value of the Host header."""
        return f"{self.address[0]}:{self.address[1]}"

    @contextmanager
    def connect(self) -> Iterator[http.client.HTTPConnection]:
        """A connection, closed also when the test fails; every wait ends within the bound of `tests.waiting`, or fails
        the test."""
        with closing(http.client.HTTPConnection(*self.address, timeout=patience())) as connection:
            yield connection

    def send(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        method: str = "GET",
        headers: Headers = (),
        *,
        key: str | None = API_KEY,
    ) -> None:
        """Send the head of a request with these headers, Host and the API key alone."""
        connection.putrequest(method, ROOT + path, skip_accept_encoding=True)
        if key is not None:
            connection.putheader("X-API-Key", key)
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            connection.putheader(name, value)
        connection.endheaders()

    def ask(self, path: str, method: str = "GET", headers: Headers = (), body: bytes = b"", **options: Any) -> Answer:
        """A request and its whole answer, on a connection of their own."""
        with self.connect() as connection:
            pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
            if body or method == "POST":
                pairs.append(("Content-Length", str(len(body))))
            self.send(connection, path, method, pairs, **options)
            with suppress(BrokenPipeError, ConnectionResetError):  # the answer may precede the end of the request
                connection.send(body)
            return answered(connection.getresponse())


def answered(response: http.client.HTTPResponse) -> Answer:
    """The whole response."""
    headers = [(name.lower(), value) for name, value in response.getheaders()]
    return Answer(response.status, headers, response.read())


@contextmanager
def analytics(grafana_url: str, limits: ProxyLimits | None = None) -> Iterator[ServedSection]:
    """The section with its middleware and a proxy to that Grafana."""
    proxy = GrafanaProxy(grafana_url, limits)
    behind = Starlette(routes=[Mount("/grafana", proxy)])
    with served(on_its_own(section_of(access_of(), behind)), proxy.aclose) as address:
        yield ServedSection(address, proxy)
