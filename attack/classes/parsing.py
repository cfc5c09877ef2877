"""Bytes that are no HTTP: other protocols, broken request lines and headers, random bytes."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from attack.classes.framing import at_both, filled, refused_once
from attack.findings import Finding, judged, not_applicable, shown
from attack.target import Instance
from attack.wire import Connection, Port, Reply, ask

SUBJECT = "no HTTP"
ROUNDS = 60

GARBAGE: Sequence[tuple[str, bytes]] = [
    ("HTTP/2 without TLS", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    ("SMTP", b"EHLO evil.example\r\n\r\n"),
    ("Redis", b"*1\r\n$8\r\nFLUSHALL\r\n\r\n"),
    ("PostgreSQL", b"\x00\x00\x00\x08\x04\xd2\x16\x2f\r\n\r\n"),
    ("HTTP/0.9", b"GET {path}\r\n\r\n"),
    ("HTTP/3.7", b"GET {path} HTTP/3.7\r\nHost: {host}\r\n\r\n"),
    ("HTTP/1.1.1", b"GET {path} HTTP/1.1.1\r\nHost: {host}\r\n\r\n"),
    ("HTTP/11", b"GET {path} HTTP/11\r\nHost: {host}\r\n\r\n"),
    ("a method that is unknown", b"FETCH {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ("a method in lower case", b"get {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ("no target", b"GET  HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ("a target without a slash", b"GET metrics HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ("a blank in the target", b"GET {path} x HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ("a byte above ASCII in the target", b"GET {path}\xc3\xa9 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ("a NUL in the target", b"GET {path}\x00 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ("a TAB in the request line", b"GET\t{path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a megabyte of zeros", bytes(1_000_000)),
    ("a megabyte of line ends", b"\r\n" * 500_000 + b"x\r\n\r\n"),
]

TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + random.Random(1).randbytes(193)  # noqa: S311 - no secret


def _garbage(data: bytes, target: Instance, port: Port) -> Finding:
    return refused_once(port, target.source(), filled(port, data))


def _hello(target: Instance, port: Port) -> Finding:
    """The beginning of TLS, on a port without it."""
    if port.tls:
        return not_applicable("the port has TLS")
    return refused_once(port, target.source(), TLS_HELLO)


def _plain(target: Instance, port: Port) -> Finding:
    """A request without TLS, on a port with it: a redirect or an error of TLS, and none of the content."""
    if not port.tls:
        return not_applicable("the port has no TLS")
    with Connection(replace(port, tls=False), target.source()) as connection:
        connection.send(filled(port, b"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        answer = connection.answer()
    return judged(answer is None or answer.status >= 300, shown(answer))


def _random(target: Instance, port: Port) -> Finding:
    """Random pieces of HTTP and bytes; afterwards a good request is answered."""
    chance = random.Random(7)  # noqa: S311 - the same bytes in every run
    pieces: Sequence[bytes] = [
        b"GET / HTTP/1.1\r\n",
        b"Host: h\r\n",
        b"\r\n",
        b"\n",
        b":",
        b" ",
        b"\x00",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"\xff" * 50,
    ]
    bad: list[Reply] = []
    for _ in range(ROUNDS):
        junk = b"".join(chance.choice((*pieces, chance.randbytes(40))) for _ in range(12))
        with Connection(port, target.source()) as connection:
            connection.send(junk)
            _shut(connection)
            while (answer := connection.answer()) is not None:
                if answer.status >= 500 and answer.status not in (501, 505):
                    bad.append(answer)
    after = ask(port, "/")
    return judged(not bad and after is not None, f"{len(bad)} errors of the server, then {shown(after)}")


def _shut(connection: Connection) -> None:
    """Send nothing more."""
    with suppress(OSError):
        connection.socket.shutdown(socket.SHUT_WR)


ATTACKS = [
    *(attack for name, data in GARBAGE for attack in at_both(SUBJECT, name, partial(_garbage, data))),
    *at_both(SUBJECT, "TLS on a port without it", _hello),
    *at_both(SUBJECT, "HTTP on a port with TLS", _plain),
    *at_both(SUBJECT, f"random bytes, {ROUNDS} times", _random),
]
