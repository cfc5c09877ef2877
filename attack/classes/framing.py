"""Request smuggling: requests whose end two servers could see in different places, sent to both ports.

Each is followed by a second request. Held: one refusal, nothing for the second request, and the connection ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attack.findings import Attack, Finding, judged, shown
from attack.target import LOGIN, Instance
from attack.wire import ANSWER_SECONDS, Connection, Port, Reply

SUBJECT = "request smuggling"
REFUSALS = (400, 408, 411, 413, 414, 417, 431, 501, 505)
"""Refusals of HTTP itself. Those of the application (401, 403, 404, 405, 415) would not tell."""

OPEN_PATH = {"metrics": "/-/healthy", "admin": LOGIN}
"""A path that is answered with 200 without a credential."""

_HOST = b"Host: {host}\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"


def _post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"POST {path} HTTP/1.1\r\n" + _HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def _get(*lines: bytes) -> bytes:
    return b"GET {path} HTTP/1.1\r\n" + b"".join(lines) + b"\r\n"


END = b"0\r\n\r\n"

SMUGGLING: Sequence[tuple[str, bytes]] = [
    ("Content-Length and Transfer-Encoding", _post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=END)),
    ("Transfer-Encoding and Content-Length", _post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=END)),
    ("two Content-Length", _post(b"Content-Length: 0", b"Content-Length: 5", body=b"hello")),
    ("two equal Content-Length", _post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    ("a list of Content-Length", _post(b"Content-Length: 5, 5", body=b"hello")),
    *(
        (f"Content-Length {value.decode('latin-1')!r}", _post(b"Content-Length: " + value, body=b"hello"))
        for value in (
            b"+5",
            b"-1",
            b"0x5",
            b"5 5",
            b"5.0",
            b"5e0",
            b"18446744073709551621",
            b"\xb2",
            b"",
        )
    ),
    *(
        (f"Transfer-Encoding {value.decode('latin-1')!r}", _post(b"Transfer-Encoding: " + value, body=END))
        for value in (
            b"identity",
            b"gzip",
            b"gzip, chunked",
            b"chunked, identity",
            b"chunked, chunked",
            b"xchunked",
            b"chunked\x0b",
            b'"chunked"',
            b"chunked;q=1",
            b"x, chunked",
            b"\xa0chunked",
        )
    ),
    ("two Transfer-Encoding", _post(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", body=END)),
    ("a blank before the colon", _post(b"Transfer-Encoding : chunked", body=END)),
    ("a folded Transfer-Encoding", _post(b"Transfer-Encoding:\r\n chunked", body=END)),
    ("a folded header", _get(_HOST, b"X: a\r\n b\r\n")),
    ("a header that begins with a blank", _get(_HOST, b" X: a\r\n")),
    ("a first header that begins with a blank", b"GET {path} HTTP/1.1\r\n Host: {host}\r\n\r\n"),
    ("bare line feeds", b"GET {path} HTTP/1.1\nHost: {host}\n\n"),
    ("a bare line feed between headers", _get(_HOST, b"X: a\nY: b\r\n")),
    ("a bare carriage return in a header", _get(_HOST, b"X: a\rY: b\r\n")),
    ("a NUL in a header", _get(_HOST, b"X: a\x00b\r\n")),
    ("a header without a colon", _get(_HOST, b"X\r\n")),
    ("a header without a name", _get(_HOST, b": a\r\n")),
    ("Transfer-Encoding in HTTP/1.0", b"POST {path} HTTP/1.0\r\n" + _HOST + _CHUNKED + b"\r\n" + END),
    *(
        (
            f"a chunk of size {size.decode('latin-1')!r}",
            _post(b"Transfer-Encoding: chunked", body=size + b"\r\nx\r\n" + END),
        )
        for size in (
            b"0x1",
            b"-1",
            b"+1",
            b"1 1",
            b"g",
            b"",
            b"FFFFFFFFFFFFFFFFF",
            b"1_",
        )
    ),
    ("a chunk longer than its size", _post(b"Transfer-Encoding: chunked", body=b"1\r\nxx\r\n" + END)),
    ("a chunk that ends with a line feed", _post(b"Transfer-Encoding: chunked", body=b"1\r\nx\n" + END)),
    ("a chunk's size that ends with a line feed", _post(b"Transfer-Encoding: chunked", body=b"1\nx\r\n" + END)),
    ("a chunk's extension with a line feed", _post(b"Transfer-Encoding: chunked", body=b"1;a\nb\r\nx\r\n" + END)),
]

REFUSED_FIRST = b"GET {path} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"


def filled(port: Port, data: bytes) -> bytes:
    """The bytes for a port."""
    return data.replace(b"{host}", port.authority.encode()).replace(b"{path}", OPEN_PATH[port.name].encode())


def _second(port: Port) -> bytes:
    return filled(port, _get(_HOST))


def refused_once(port: Port, source: str, data: bytes, statuses: Sequence[int] = REFUSALS) -> Finding:
    """Held if the only response is a refusal, or the connection just ends."""
    answers: list[Reply | None] = []
    with Connection(port, source) as connection:
        connection.send(data)
        while (answer := connection.answer()) is not None and len(answers) < 4:
            answers.append(answer)
        is_ended = connection.is_ended(ANSWER_SECONDS)
    first = answers[0] if answers else None
    text = ", ".join(map(shown, answers)) or "disconnected"
    is_refused = first is None or first.status in statuses
    return judged(len(answers) <= 1 and is_refused and is_ended, text if is_ended else f"{text}, stays open")


def at_both(subject: str, name: str, run: Callable[[Instance, Port], Finding], *, waits: bool = False) -> list[Attack]:
    """An attack on each port."""
    return [
        Attack(subject, f"{name} ({which})", lambda t, n=which: run(t, getattr(t, n)), waits)  # type: ignore[misc]
        for which in ("metrics", "admin")
    ]


def _smuggled(data: bytes) -> Callable[[Instance, Port], Finding]:
    return lambda target, port: refused_once(port, target.source(), filled(port, data) + _second(port))


def _body_is_a_request(_: Instance, port: Port) -> Finding:
    """The body of a request is a request itself: it is not answered."""
    inner = _second(port)
    outer = filled(port, b"PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: %d\r\n\r\n" % len(inner))
    with Connection(port, seconds=3) as connection:
        connection.send(outer + inner)
        answers = [answer for answer in (connection.answer(), connection.answer()) if answer is not None]
    return judged(len(answers) == 1 and answers[0].status != 200, ", ".join(map(shown, answers)))


ATTACKS = [
    *(attack for name, data in SMUGGLING for attack in at_both(SUBJECT, name, _smuggled(data))),
    *at_both(SUBJECT, "requests pipelined after a refused one", _smuggled(REFUSED_FIRST + _get(_HOST) * 20)),
    *at_both(SUBJECT, "a request in the body of another", _body_is_a_request),
]
