"""Connections of the attacker: any bytes out, responses in, and a bound on all of it together.

    classes/ -> wire (this) -> the port under attack

Each attack may have an address of its own in 127.0.0.0/8, so that a rate limit of one attack does not answer for
another.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from types import SimpleNamespace, TracebackType
from typing import Any, Self, cast

ANSWER_SECONDS = 15.0
ANSWER_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 256 * 1024


class BoundReachedError(Exception):
    """The time, the connections or the bytes of the run are used up."""


@dataclass
class Budget:
    """The bounds of one run, shared by its threads."""

    seconds: float = 420.0
    connections: int = 20_000
    bytes: int = 512 * 1024 * 1024
    _until: float = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.seconds

    def spend(self, *, connections: int = 0, bytes: int = 0) -> None:  # noqa: A002 - the unit
        """Use a part. Raises BoundReachedError."""
        with self._lock:
            self.connections -= connections
            self.bytes -= bytes
            if self.connections < 0 or self.bytes < 0 or time.monotonic() > self._until:
                raise BoundReachedError("the bound of the run in time, connections or bytes is reached")


@dataclass(frozen=True)
class Port:
    """A port under attack; `host` is its address."""

    name: str
    host: str
    number: int
    tls: bool
    budget: Budget
    authority: str = ""
    """The value of the Host header."""

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if self.tls else "http"


@dataclass(frozen=True)
class Reply:
    """A response: names of headers in lower case."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""

    def header(self, name: str) -> str:
        """The values of a header, joined; empty without it."""
        return ", ".join(value for key, value in self.headers if key == name)

    @property
    def everything(self) -> bytes:
        """Headers and body, to search in."""
        return b"\n".join([*(f"{name}: {value}".encode("latin-1") for name, value in self.headers), self.body])


class _Reader(io.BufferedReader):
    """The responses of a connection, which the end of one response does not close."""

    def close(self) -> None:
        pass


class Connection:
    """One connection. A closed or reset connection is no error: it has no further responses."""

    def __init__(self, port: Port, source: str = "", seconds: float = ANSWER_SECONDS, *, small: bool = False) -> None:
        """`source`: an address of this machine; `small`: with a small buffer for responses. Raises OSError."""
        port.budget.spend(connections=1)
        self._port = port
        self.socket = _connected(port, source, seconds, small=small)
        self._reader = _Reader(socket.SocketIO(self.socket, "r"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Send these bytes; False if the other end has closed the connection."""
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            self._port.budget.spend(bytes=len(piece))
            try:
                self.socket.sendall(piece)
            except OSError:
                return False
        return True

    def answer(self, method: str = "GET") -> Reply | None:
        """The next response; None if the connection ends, or nothing valid comes in time."""
        response = HTTPResponse(cast("socket.socket", SimpleNamespace(makefile=lambda *_: self._reader)), method=method)
        try:
            response.begin()
            body = response.read(ANSWER_BYTES)
        except (OSError, HTTPException, ValueError):
            return None
        return Reply(response.status, [(name.lower(), value) for name, value in response.getheaders()], body)

    def is_ended(self, within: float) -> bool:
        """Whether the other end closes the connection within that time; discards what it sends."""
        until = time.monotonic() + within
        with suppress(TimeoutError):
            while (left := until - time.monotonic()) > 0:
                self.socket.settimeout(left)
                try:
                    if not self.socket.recv(PIECE_BYTES):
                        return True
                except (ConnectionError, ssl.SSLEOFError):
                    return True
        return False


def ask(port: Port, path: str, *, method: str = "GET", **options: Any) -> Reply | None:
    """A request on a connection of its own, and its response. `source` as in Connection; other options as in
    `request`."""
    source = options.pop("source", "")
    try:
        with Connection(port, source) as connection:
            connection.send(request(port, path, method=method, **options))
            return connection.answer(method)
    except OSError:
        return None


def request(
    port: Port, path: str, *, method: str = "GET", headers: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> bytes:
    """The bytes of a request, with Host unless it is given, and with the length of a body."""
    lines = list(headers)
    names = {name.lower() for name, _ in lines}
    if "host" not in names:
        lines.insert(0, ("Host", port.authority))
    if (body or method == "POST") and not names & {"content-length", "transfer-encoding"}:
        lines.append(("Content-Length", str(len(body))))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def _connected(port: Port, source: str, seconds: float, *, small: bool) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in port.host else socket.AF_INET)
    try:
        made.settimeout(seconds)
        if small:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if source and port.host.startswith("127."):
            with suppress(OSError):  # not every system has all of 127.0.0.0/8
                made.bind((source, 0))
        made.connect((port.host, port.number))
        if port.tls:
            # The certificate is that of the instance under attack on this machine, and nothing of value is sent to it.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context.wrap_socket(made, server_hostname="localhost")
    except BaseException:
        made.close()
        raise
    return made
