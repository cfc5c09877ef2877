"""Requests that are too large, too slow or without an end, and clients that do not read; at both ports."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from attack.classes.framing import OPEN_PATH, at_both, filled
from attack.findings import Finding, judged, not_applicable, shown
from attack.target import Instance
from attack.wire import Connection, Port, ask, request

SUBJECT = "limits"

ENDLESS_BYTES = 24 * 1024 * 1024
"""Of a request without an end; the connection should end long before."""

HEAD_SECONDS, BODY_SECONDS, READ_SECONDS, IDLE_SECONDS = 25.0, 60.0, 60.0, 120.0
"""Twice the limits of a client (docs/operating.md#limits-of-a-client), for a machine that is busy with the attacks."""

START = b"GET {path} HTTP/1.1\r\nHost: {host}\r\n"
POST = b"POST {path} HTTP/1.1\r\nHost: {host}\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def _too_large(data: bytes, statuses: Sequence[int], target: Instance, port: Port) -> Finding:
    """A request over a limit: one of these refusals, and the end of the connection."""
    with Connection(port, target.source()) as connection:
        connection.send(filled(port, data))
        answer = connection.answer()
        is_ended = connection.is_ended(10)
    held = answer is not None and answer.status in statuses and is_ended
    return judged(held, shown(answer) + ("" if is_ended else ", stays open"))


def _endless(begin: bytes, piece: bytes, target: Instance, port: Port) -> Finding:
    """A request that goes on and on: it is refused, and the rest is not read for long."""
    with Connection(port, target.source()) as connection:
        connection.send(filled(port, begin))
        sent = 0
        block = piece * (65_536 // len(piece))
        while sent < ENDLESS_BYTES and connection.send(block):
            sent += len(block)
    others = ask(port, OPEN_PATH[port.name])
    held = sent < ENDLESS_BYTES and others is not None and others.status == 200
    return judged(held, f"disconnected after {sent / 2**20:.1f} MiB" if held else f"{sent / 2**20:.0f} MiB were read")


def _slowly(begin: bytes, drop: bytes, seconds: float, target: Instance, port: Port) -> Finding:
    """A byte each second: the request is refused, or the connection ends."""
    started = time.monotonic()
    with Connection(port, target.source(), seconds=1.0) as connection:
        connection.send(filled(port, begin))
        while (took := time.monotonic() - started) < seconds:
            if not connection.send(drop) or connection.is_ended(1.0):
                return judged(True, f"disconnected after {took:.0f} s")
    return judged(False, f"open after {seconds:.0f} s")


def _idle(asks: bool, target: Instance, port: Port) -> Finding:
    """A connection without a request, or without a further one."""
    started = time.monotonic()
    with Connection(port, target.source()) as connection:
        if asks:
            connection.send(request(port, OPEN_PATH[port.name]))
            connection.answer()
        is_ended = connection.is_ended(IDLE_SECONDS)
    return judged(is_ended, f"disconnected after {time.monotonic() - started:.0f} s" if is_ended else "stays open")


def _handshake(target: Instance, port: Port) -> Finding:
    """The first bytes of a TLS handshake, and no more."""
    if not port.tls:
        return not_applicable("the port has no TLS")
    started = time.monotonic()
    plain = Port(port.name, port.host, port.number, False, port.budget, port.authority)
    with Connection(plain, target.source()) as connection:
        connection.send(b"\x16\x03\x01\x02\x00\x01")
        is_ended = connection.is_ended(HEAD_SECONDS)
    return judged(is_ended, f"disconnected after {time.monotonic() - started:.0f} s" if is_ended else "stays open")


def _unread(target: Instance, port: Port) -> Finding:
    """Requests without end whose responses are not read: the instance stops reading, and disconnects."""
    many = request(port, "/metrics" if port.name == "metrics" else OPEN_PATH["admin"]) * 50
    started = time.monotonic()
    with Connection(port, target.source(), seconds=2.0, small=True) as connection:
        sent = 0
        while (took := time.monotonic() - started) < READ_SECONDS and sent < ENDLESS_BYTES:
            if connection.send(many):
                sent += len(many)
            elif _is_cut(connection):
                return judged(True, f"disconnected after {took:.0f} s")
    return judged(False, f"open after {took:.0f} s, {sent / 1024:.0f} KiB were read")


def _is_cut(connection: Connection) -> bool:
    """Whether a send fails at once, and not after a wait."""
    started = time.monotonic()
    return not connection.send(b"GET") and time.monotonic() - started < 1.0


def _half_closed(target: Instance, port: Port) -> Finding:
    """A hundred clients that close their end in the middle of a request: each connection ends."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Connection(port, target.source())) for _ in range(100)]
        for client in clients:
            client.send(filled(port, START))
            client.socket.shutdown(1)
        ended = sum(client.is_ended(10) for client in clients)
    return judged(ended == len(clients), f"{ended} of {len(clients)} ended")


_LARGE: Sequence[tuple[str, bytes, Sequence[int]]] = [
    ("a URL of 64 KB", b"GET {path}?" + b"u" * 65_536 + b" HTTP/1.1\r\nHost: {host}\r\n\r\n", (414, 431)),
    ("a header of 64 KB", START + b"X: " + b"x" * 65_536 + b"\r\n\r\n", (431,)),
    ("a header's name of 64 KB", START + b"x" * 65_536 + b": x\r\n\r\n", (431,)),
    ("5,000 headers", START + b"".join(b"X%d: x\r\n" % number for number in range(5_000)) + b"\r\n", (431,)),
    ("101 headers of one byte", START + b"".join(b"X%d:\r\n" % number for number in range(101)) + b"\r\n", (431,)),
    ("a body of 10 GB, announced", POST + b"Content-Length: 10000000000\r\n\r\n", (413,)),
    (
        "a body of 10 GB, to be asked for",
        POST + b"Expect: 100-continue\r\nContent-Length: 10000000000\r\n\r\n",
        (413, 417),
    ),
    ("a chunk of 2 GB", CHUNKED + b"7fffffff\r\n" + b"x" * 200_000, (413, 405, 415, 403)),
    ("headers after the body (trailers), 1 MB", CHUNKED + b"0\r\n" + b"T: x\r\n" * 170_000, (413, 431, 405, 415, 403)),
]
_ENDLESS: Sequence[tuple[str, bytes, bytes]] = [
    ("an endless URL", b"GET {path}?", b"u"),
    ("an endless header", START + b"X: ", b"x"),
    ("endless headers", START, b"X: x\r\n"),
    ("an endless body", POST + b"Content-Length: 100000000000\r\n\r\n", b"x"),
    ("endless chunks", CHUNKED, b"1\r\nx\r\n"),
    ("an endless extension of a chunk", CHUNKED + b"1;", b"x"),
    ("endless trailers", CHUNKED + b"0\r\n", b"T: x\r\n"),
    ("endless bytes before a request", b"", b"\r\n"),
]
_SLOW: Sequence[tuple[str, bytes, bytes, float]] = [
    ("slow headers", START + b"X: ", b"x", HEAD_SECONDS),
    ("a slow URL", b"GET {path}?", b"u", HEAD_SECONDS),
    ("a slow body", POST + b"Content-Length: 60000\r\n\r\n", b"x", BODY_SECONDS),
    ("slow chunks", CHUNKED, b"1\r\nx\r\n", BODY_SECONDS),
]


ATTACKS = [
    *(one for name, data, statuses in _LARGE for one in at_both(SUBJECT, name, partial(_too_large, data, statuses))),
    *(one for name, begin, piece in _ENDLESS for one in at_both(SUBJECT, name, partial(_endless, begin, piece))),
    *at_both(SUBJECT, "100 clients that close their end in a request", _half_closed),
    *(
        one
        for name, begin, drop, seconds in _SLOW
        for one in at_both(SUBJECT, name, partial(_slowly, begin, drop, seconds), waits=True)
    ),
    *at_both(SUBJECT, "a connection without a request", partial(_idle, False), waits=True),
    *at_both(SUBJECT, "a connection without a further request", partial(_idle, True), waits=True),
    *at_both(SUBJECT, "half a TLS handshake", _handshake, waits=True),
    *at_both(SUBJECT, "responses that are not read", _unread, waits=True),
]
