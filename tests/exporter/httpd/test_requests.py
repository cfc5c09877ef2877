"""The HTTP server: valid requests, in pieces of any size, and answers from memory."""

from __future__ import annotations

import socket
import time
from email.utils import parsedate_to_datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.httpd.connections import Limits
from exporter.httpd.ready import READY, REQUESTS, ReadyResponses
from tests.exporter.httpd.echo import LONG, echo, lives
from tests.serving import Client, Serving, request, serving
from tests.waiting import until


def test_a_connection_serves_request_after_request(client: Client) -> None:
    for number in range(200):
        path = f"/{number % 7}"
        answer = client.ask(path, {"Accept": f"a/{number % 3}"})
        assert (answer.status, answer.body.decode()) == (200, f"GET {path} a/{number % 3}|")
        assert "connection" not in answer.headers
    assert answer.headers["x-extra"] == "1"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_the_date_is_that_of_the_answer() -> None:
    """Of an answer from memory too."""
    with serving(echo, Limits(tick_seconds=0.05)) as server, Client(server) as client:
        for path in ("/", "/ready"):
            client.ask(path)
            first = client.ask(path)
            assert abs(parsedate_to_datetime(first.headers["date"]).timestamp() - time.time()) < 3
            until(lambda: client.ask(path).headers["date"] != first.headers["date"], "a second passed")  # noqa: B023


def test_headers_that_come_several_times_are_one_list(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nAccept: a\r\nACCEPT:  b \r\nAccept-Encoding:gzip\r\n\r\n")
    assert client.read().body == b"GET / a, b|gzip"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a?b=c", "/a"),
        ("/a%20b%3Fc?d", "/a b?c"),
        ("http://host:1/a?b", "/a"),
        ("//a", "//a"),
        ("/%", "/%"),
    ],
)
def test_the_path_is_what_stands_before_the_query_decoded(client: Client, target: str, path: str) -> None:
    assert client.ask(target).body.decode("latin-1") == f"GET {path} |"


PIPELINED = (
    request("/first", {"Accept": "x"})
    + request("/known")
    + request("/known")
    + request("/posted", method="POST", body=request("/known"))
    + b"POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"5;ext=1\r\nhello\r\n2a\r\n"
    + b"GET /known HTTP/1.1\r\nHost: localhost\r\n\r\n".ljust(42)
    + b"\r\n0\r\n"
    + b"Accept: trailer\r\nHost: trailer\r\n\r\n"
    + request("/head", method="HEAD")
    + b"\r\n"
    + request("/known")
)
ANSWERS = ["GET /first x|", "GET /known |", "GET /known |", "POST /posted |", "POST /chunked |", "", "GET /known |"]


@settings(max_examples=60)
@given(cuts=st.sets(st.integers(1, len(PIPELINED) - 1), max_size=12))
def test_however_a_stream_of_requests_is_cut_up_they_are_the_same(server: Serving, cuts: set[int]) -> None:
    """Even if a piece looks like a whole earlier request, and is the body of another."""
    with Client(server) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert client.ask("/known").body == b"GET /known |"
        edges = [0, *sorted(cuts), len(PIPELINED)]
        for start, end in pairwise(edges):
            client.send(PIPELINED[start:end])
        assert [client.read(head=not body).body.decode() for body in ANSWERS] == ANSWERS


def test_a_body_that_comes_alone_and_looks_like_a_request_is_none(server: Serving, client: Client) -> None:
    """Bytes of earlier requests are looked up between requests only."""
    inner = request("/inner")
    assert client.ask("/inner").body == b"GET /inner |"
    for piece in (inner[:-2] + b"Content-Length: %d\r\n\r\n" % (2 * len(inner)), inner, inner):
        client.send(piece)
        assert lives(server), "and has read that piece before"
    client.send(request("/after"))
    assert [client.read().body for _ in range(2)] == [b"GET /inner |", b"GET /after |"]


def test_the_end_of_a_request_is_no_request(server: Serving, client: Client) -> None:
    whole = request("/", {"Accept": "x"})
    for piece in (whole[:30], whole[30:]):
        client.send(piece)
        assert lives(server), "and has read that piece before"
    assert client.read().status == 200
    with Client(server) as other:
        other.send(whole[30:])
        assert other.read().status == 400


@pytest.mark.parametrize(
    "sent",
    [
        request("/", {"Connection": "close"}),
        request("/", {"Connection": "Close, TE"}),
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        request("/", {"Connection": "close"}) + request("/more"),
        request("/", {"Connection": "close"}) + b"\xff" * 1000,
    ],
    ids=lambda sent: repr(sent[:60]),
)
def test_whoever_wants_no_more_is_told_so_and_let_go(server: Serving, sent: bytes) -> None:
    for _ in range(2):  # these bytes are known the second time
        with Client(server) as client:
            client.send(sent)
            answer = client.read()
            assert (answer.status, answer.body, answer.headers["connection"]) == (200, b"GET / |", "close")
            assert client.rest() == b""


def test_half_a_connection_is_enough_to_be_answered(server: Serving) -> None:
    with Client(server, receive_buffer=4096) as client:
        client.send(request("/a") + request("/long") * 20 + request("/b") + request("/c")[:-1])
        client.socket.shutdown(socket.SHUT_WR)
        assert [len(client.read().body) for _ in range(22)] == [len("GET /a |"), *[len(LONG)] * 20, len("GET /b |")]
        assert client.rest() == b""


def test_an_upgrade_is_not_made_and_nothing_is_read_after_it(client: Client) -> None:
    """Neither the request's body, which would follow the change of protocol, nor a second request."""
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    client.send(request("/", upgrade, body=request("/smuggled")) + request("/smuggled"))
    answer = client.read()
    assert (answer.status, answer.body, answer.headers["connection"]) == (200, b"GET / |", "close")
    assert client.rest() == b""


def test_a_body_is_asked_for_only_by_the_application(server: Serving) -> None:
    """The client need not send it after an answer, so that nothing after it would be certain to be a request."""
    expecting = b"POST %s HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    with Client(server) as client:
        client.send(expecting % b"/")
        answer = client.read()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert client.rest() == b""
    with Client(server) as client:
        client.send(expecting % b"/body")
        assert client.take(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"12345")
        assert client.read().body == b"5"


# Answers from memory -------------------------------------------------------------------------------------------------


def test_a_request_that_comes_again_is_answered_from_memory(client: Client) -> None:
    first, *others = [client.ask("/ready") for _ in range(3)]
    assert (first.body, first.headers["x-extra"]) == (b"GET /ready |", "1")
    assert [(other.status, other.body, other.headers["x-extra"]) for other in others] == [(200, b"kept", "1")] * 2
    assert client.ask("/ready", {"Accept": "x"}).body == b"GET /ready x|", "which is another request"


@pytest.mark.parametrize(
    "again",
    [
        request("/ready", {"Connection": "close"}),
        b"GET /ready HTTP/1.0\r\n\r\n",
        request("/ready") + request("/ready"),
        request("/ready", {"X": "x" * 2000}),
    ],
    ids=["the last", "HTTP/1.0", "two at once", "long"],
)
def test_only_one_short_request_of_many_is_answered_from_memory(server: Serving, again: bytes) -> None:
    for _ in range(2):
        with Client(server) as client:
            client.send(again)
            for _ in range(again.count(b"/ready")):
                assert client.read().body == b"GET /ready |"


def test_many_different_requests_take_no_more_memory_than_some() -> None:
    ready = ReadyResponses()
    for number in range(REQUESTS * 3):
        ready.learn(b"%d" % number, {READY: lambda: b"kept"})
    assert sum(ready.find(b"%d" % number) is not None for number in range(REQUESTS * 3)) <= REQUESTS
