"""The HTTP server: invalid and oversized requests, and requests whose end could be seen in different places."""

from __future__ import annotations

import random
from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from exporter.httpd.protocol import BODY_BYTES, HEAD_BYTES, HEADERS, PIECE_BYTES, URL_BYTES
from tests.exporter.httpd.echo import echo, lives
from tests.serving import Client, Serving, request, serving


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.Random(0).randbytes(500), 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 400),
        (b"GET / HTTP/3.7\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET nowhere HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"FETCH / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: \x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\n folded: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\rHost: a\r\r", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n", 400),
        (b"CONNECT other:80 HTTP/1.1\r\nHost: other:80\r\n\r\n", 400),
        (b"GET http://host HTTP/1.1\r\nHost: host\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nlots\r\n", 400),
        (b"GET /" + b"u" * URL_BYTES + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"GET /" + b"u" * 1_000_000, 414),
        (request("/", {"X": "x" * 1_000_000}), 431),
        (request("/", {f"X-{n}": "x" for n in range(10_000)}), 431),
        (request("/", {f"X-{n}": "x" for n in range(HEADERS)}), 431),
        (request("/", {f"X-{n}": "x" * 1000 for n in range(20)}), 431),
        (b"GET / HTTP/1.1\r\n" + b"N" * 1_000_000, 431),
        (b"\r\n" * 50_000, 400),
        (request("/", method="POST", body=b"b" * 1_000_000), 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000, 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: x\r\n" * 100_000, 413),
    ],
    ids=lambda value: repr(value[:70]) if isinstance(value, bytes) else None,
)
def test_what_is_no_request_is_refused_after_what_came_before(
    server: Serving, client: Client, sent: bytes, status: int
) -> None:
    """The response arrives even while the client is sending; the rest of its data is discarded."""
    with Client(server) as other:
        assert other.ask("/after").body == b"GET /after |"
    client.send(request("/before") + sent + request("/after"))
    assert client.read().body == b"GET /before |"
    answer = client.read()
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert answer.body == f"{HTTPStatus(status).phrase}\n".encode()
    client.send(request("/after"))
    assert client.rest() == b""
    assert lives(server)


def test_what_is_within_the_limits_is_never_refused(client: Client) -> None:
    for length in (1, PIECE_BYTES - 100, PIECE_BYTES, HEAD_BYTES - 100):
        assert client.ask("/", {"X": "x" * length}).status == 200
    assert client.ask("/" + "u" * (URL_BYTES - 1)).status == 200
    assert client.ask("/", method="PUT", body=b"b" * (BODY_BYTES)).status == 200


def test_a_fault_of_ours_is_an_error_that_tells_the_client_nothing() -> None:
    with capture_logs() as logged, serving(echo) as server, Client(server) as client:
        client.send(request("/fault"))
        answer = client.read()
        assert (answer.status, answer.body) == (500, b"Internal Server Error")
        assert lives(server)
    assert [(line["event"], line["port"], line["kind"]) for line in logged] == [
        ("http.answer.failed", "test", "ValueError")
    ]
    assert "a secret" not in str(logged)


def test_a_body_that_grows_too_long_while_it_is_read_ends_its_reading() -> None:
    """Without a length, it is known late; the application learns that the client has left, and nothing is logged."""
    chunks = b"400\r\n" + b"x" * 1024 + b"\r\n"
    with capture_logs() as logged, serving(echo) as server, Client(server) as client:
        client.send(b"POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks * 200)
        answer = client.read()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert client.rest() == b""
        assert lives(server)
    assert logged == []
