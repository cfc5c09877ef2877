"""The HTTP server on a thread of this process, and a client that controls every byte.

with serving(app) as address, Client(address) as client:
    assert client.ask("/metrics").status == 200
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import uvloop
from starlette.types import ASGIApp

from exporter.httpd.connections import Limits
from exporter.httpd.server import serve as serve_port
from servers.ports import LOOPBACK
from tests.waiting import patience


@dataclass(frozen=True)
class Serving:
    """A running server."""

    address: tuple[str, int]
    _loop: asyncio.AbstractEventLoop
    _task: asyncio.Task[None]
    _thread: threading.Thread

    def stop(self) -> None:
        """Stop the server as the exporter does, and wait for its end."""
        with suppress(RuntimeError):  # the loop has ended before
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(patience())
        assert not self._thread.is_alive()


@contextmanager
def serving(
    app: ASGIApp, limits: Limits | None = None, *, faults: list[BaseException] | None = None
) -> Iterator[Serving]:
    """A server on a free port, for the duration of the context. Faults in the event loop go to `faults`; without that
    list they fail the test."""
    found: list[BaseException] = [] if faults is None else faults
    listener = socket.create_server((LOOPBACK, 0))
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []
    started = threading.Event()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: found.append(context.get("exception") or Exception(context)))
        task = asyncio.create_task(serve_port(app, listener, "test", limits=limits))
        running.append((loop, task))
        started.set()
        with suppress(asyncio.CancelledError):
            await task

    thread = threading.Thread(target=lambda: uvloop.run(serve()))
    with listener:
        thread.start()
        assert started.wait(patience())
        serving = Serving(listener.getsockname(), *running[0], thread)
        try:
            yield serving
        finally:
            serving.stop()
        assert faults is not None or not found, found


@dataclass(frozen=True)
class Answered:
    """One response; names of headers in lower case, the body as received."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """One connection. Every wait ends within the bound of `tests.waiting`, or fails the test."""

    def __init__(self, server: Serving | tuple[str, int], *, receive_buffer: int | None = None) -> None:
        """`server`: a server of this module, or an address."""
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(patience())
        try:
            self.socket.connect(server.address if isinstance(server, Serving) else server)
        except OSError:
            self.socket.close()
            raise
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send these bytes and no others."""
        self.socket.sendall(data)

    def ask(
        self, path: str = "/", headers: Mapping[str, str | bytes] | None = None, method: str = "GET", body: bytes = b""
    ) -> Answered:
        """Send a request with these headers, Host and, with a body, its length, and no others; read the response."""
        self.send(request(path, headers, method, body))
        return self.read(head=method == "HEAD")

    def read(self, *, head: bool = False) -> Answered:
        """The next response; `head`: without a body, in spite of its headers."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        top = self._take(self._received.index(b"\r\n\r\n") + 4)[:-4]
        status, *lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert len(headers) == len(lines), "a header is there twice"
        length = 0 if head else int(headers["content-length"])
        while len(self._received) < length:
            self._receive()
        body = self._take(length)
        version, code, _ = status.split(" ", 2)
        assert version == "HTTP/1.1"
        return Answered(int(code), headers, body)

    def peek(self) -> bytes:
        """The bytes that have arrived and are not read yet; b"" where there are none."""
        try:
            return self.socket.recv(65_536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""

    def take(self, count: int) -> bytes:
        """The next bytes."""
        while len(self._received) < count:
            self._receive()
        return self._take(count)

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        with suppress(EOFError):
            while True:
                self._receive()
        return bytes(self._received)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _receive(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError(f"the server has closed the connection after {bytes(self._received)!r}")
        self._received += data


def request(
    path: str = "/", headers: Mapping[str, str | bytes] | None = None, method: str = "GET", body: bytes = b""
) -> bytes:
    """A request with these headers, Host and, with a body, its length, and no others."""
    fields: dict[str, str | bytes] = {"Host": "localhost", **(headers or {})}
    if body:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1")]
    for name, value in fields.items():
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode("latin-1")))
    return b"\r\n".join([*lines, b"", body])
