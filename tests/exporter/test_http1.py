"""The HTTP server: valid and invalid requests, in pieces of any size, and misbehaving clients."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.http1 import HEAD_BYTES, MESSAGE_BYTES, READ_BYTES, URL_BYTES, Answer, Limits, Request, Response
from tests.serving import Client, Serving, request, serving
from tests.waiting import patience, until

PATIENT = Limits(idle_seconds=60, busy_seconds=60, linger_seconds=60, stop_seconds=60, tick_seconds=0.02)
"""Long limits for tests of time-outs, which shorten one of them."""

LONG = b"x" * 1_000_000


def echo(asked: Request) -> Response:
    """A response with the parts of the request: method, path and Accept header."""
    if asked.path in (b"/long", b"/huge"):
        return Response(HTTPStatus.OK, LONG if asked.path == b"/long" else LONG * 20)
    if asked.path == b"/fault":
        raise ValueError("a secret")
    text = f"{asked.method} {asked.path.decode('latin-1')} {asked.accept}|{asked.accept_encoding}"
    return Response(HTTPStatus.OK, text.encode("latin-1"), headers={"x-extra": "1"})


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(echo) as server:
        yield server


@pytest.fixture
def client(server: Serving) -> Iterator[Client]:
    with Client(server) as client:
        yield client


def lives(server: Serving) -> bool:
    """Whether the server answers another client."""
    with Client(server) as other:
        return other.ask("/life").body == b"GET /life |"


# Requests ----------------------------------------------------------------------------------------------------------


def test_a_connection_serves_request_after_request(client: Client) -> None:
    for number in range(200):
        path = f"/{number % 7}"
        answer = client.ask(path, {"Accept": f"a/{number % 3}"})
        assert (answer.status, answer.body.decode()) == (200, f"GET {path} a/{number % 3}|")
        assert "connection" not in answer.headers
    assert answer.headers["x-extra"] == "1"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_the_date_is_that_of_the_answer() -> None:
    always_the_same = Response(HTTPStatus.OK, b"")
    with serving(lambda _: always_the_same, Limits(tick_seconds=0.05)) as server, Client(server) as client:
        first = client.ask()
        assert abs(parsedate_to_datetime(first.headers["date"]).timestamp() - time.time()) < 3
        until(lambda: client.ask().headers["date"] != first.headers["date"], "a second passed")


def test_headers_that_come_several_times_are_one_list(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nAccept: a\r\nACCEPT:  b \r\nAccept-Encoding:gzip\r\n\r\n")
    assert client.read().body == b"GET / a, b|gzip"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a?b=c", "/a"),
        ("/a%20b%3Fc?d", "/a b?c"),
        ("http://host:1/a?b", "/a"),
        ("http://host", ""),
        ("//a", "//a"),
        ("/%", "/%"),
        ("/%ff", "/\xff"),
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


def test_nobody_is_asked_to_continue(client: Client) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n")
    answer = client.read()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.rest() == b""


# Invalid requests ----------------------------------------------------------------------------------------------------


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
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nlots\r\n", 400),
        (b"GET /" + b"u" * URL_BYTES + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"GET /" + b"u" * 1_000_000, 414),
        (request("/", {"X": "x" * 1_000_000}), 431),
        (request("/", {f"X-{n}": "x" for n in range(10_000)}), 431),
        (b"GET / HTTP/1.1\r\n" + b"N" * 1_000_000, 431),
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
    for length in (1, READ_BYTES - 100, READ_BYTES, HEAD_BYTES - READ_BYTES - 200):
        assert client.ask("/", {"X": "x" * length}).status == 200
    assert client.ask("/" + "u" * (URL_BYTES - 1)).status == 200
    assert client.ask("/", method="PUT", body=b"b" * (MESSAGE_BYTES - READ_BYTES)).status == 200


@settings(max_examples=100)
@given(
    junk=st.lists(
        st.one_of(
            st.binary(max_size=300),
            st.sampled_from([b"GET / HTTP/1.1\r\n", b"Host: h\r\n", b"\r\n", b"Content-Length: 3\r\n", b" ", b":"]),
        ),
        max_size=12,
    )
)
def test_whatever_is_sent_the_answer_is_http_and_others_are_served(server: Serving, junk: list[bytes]) -> None:
    with Client(server) as client:
        client.send(b"".join(junk))
        client.socket.shutdown(socket.SHUT_WR)
        answered = client.rest()
    assert not answered or answered.startswith(b"HTTP/1.1 ")
    assert b"Traceback" not in answered
    assert lives(server)


def test_a_fault_of_ours_ends_that_connection_and_tells_the_client_nothing() -> None:
    faults: list[BaseException] = []
    with serving(echo, faults=faults) as server, Client(server) as client:
        client.send(request("/fault"))
        assert client.rest() == b""
        assert lives(server)
    assert [str(fault) for fault in faults] == ["a secret"], "and we are told"


# Misbehaving clients -------------------------------------------------------------------------------------------------


def test_a_client_that_requests_and_does_not_read_is_soon_no_longer_read() -> None:
    answered: list[bytes] = []

    def answer(asked: Request) -> Response:
        answered.append(asked.path)
        return echo(asked)

    with serving(answer) as server, Client(server, receive_buffer=4096) as greedy:
        greedy.socket.settimeout(patience(0.5))
        with suppress(TimeoutError):  # once every buffer on the way is full of unread data
            for _ in range(1_000_000):
                greedy.socket.sendall(request("/long") * 100)
            pytest.fail("everything was read")
        assert lives(server)
        assert 0 < answered.count(b"/long") < 50


def test_who_reads_late_is_answered_all_the_same_and_in_order(server: Serving) -> None:
    paths = [f"/{number}" for number in range(3_000)]
    with Client(server, receive_buffer=4096) as client:
        asking = threading.Thread(target=lambda: client.send(b"".join(map(request, paths))))
        asking.start()
        assert [client.read().body.decode() for _ in paths] == [f"GET {path} |" for path in paths]
        asking.join()


def is_cut(client: Client) -> bool:
    """Whether the server has closed the connection; reads nothing."""
    client.socket.setblocking(False)
    try:
        return client.socket.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_a_request_that_comes_too_slowly_is_cut_however_steadily_it_comes() -> None:
    with serving(echo, replace(PATIENT, busy_seconds=0.3)) as server:
        for begun in (b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n"):
            with Client(server) as slow, Client(server) as other:
                slow.send(begun)

                def drips(slow: Client = slow, other: Client = other) -> bool:
                    assert other.ask().status == 200, "whoever asks in time is not cut"
                    try:
                        slow.send(b"x")
                    except OSError:
                        return False
                    return not is_cut(slow)

                until(lambda: not drips(), "cut")


def test_the_time_for_a_request_begins_with_the_request() -> None:
    busy = patience(1.5)
    limits = replace(PATIENT, busy_seconds=busy)
    with serving(echo, limits) as server, Client(server) as client, Client(server) as other:
        connected = time.monotonic()
        until(lambda: other.ask() and time.monotonic() > connected + busy + 0.2, "more than a request may take")
        client.send(request()[:-1])
        begun = time.monotonic()
        until(lambda: other.ask() and time.monotonic() > begun + 0.2, "some ticks")
        client.send(request()[-1:])
        assert client.read().status == 200


@pytest.mark.parametrize("asked", [request("/long") * 50, request("/huge")], ids=["much", "something long"])
def test_who_does_not_read_is_cut(asked: bytes) -> None:
    with serving(echo, replace(PATIENT, busy_seconds=0.3)) as server, Client(server, receive_buffer=4096) as greedy:
        greedy.send(asked)
        until(lambda: gets_nowhere(greedy), "cut")


def test_who_says_nothing_or_nothing_more_is_cut() -> None:
    with (
        serving(echo, replace(PATIENT, idle_seconds=0.3)) as server,
        Client(server) as silent,
        Client(server) as served,
    ):
        assert served.ask().status == 200
        for client in (silent, served):
            until(lambda: is_cut(client), "cut")  # noqa: B023 - called here


def test_who_was_told_to_go_and_does_not_is_cut() -> None:
    with serving(echo, replace(PATIENT, linger_seconds=0.3)) as server, Client(server) as refused:
        refused.send(b"nonsense\r\n\r\n")
        assert refused.read().status == 400
        until(lambda: gets_nowhere(refused), "cut")


def gets_nowhere(client: Client) -> bool:
    """Whether sending fails."""
    client.socket.settimeout(patience())
    try:
        client.send(b"\r\n")
    except OSError:
        return True
    return False


def test_at_the_limit_the_connection_that_was_still_for_longest_makes_room() -> None:
    with serving(echo, Limits(connections=3, tick_seconds=0.02)) as server, ExitStack() as stack:
        first, second, third = (stack.enter_context(Client(server)) for _ in range(3))
        for client in (first, second, third):
            assert client.ask().status == 200
        busy_since = time.monotonic()
        until(lambda: first.ask() and third.ask() and time.monotonic() > busy_since + 0.2, "some ticks")
        fourth = stack.enter_context(Client(server))
        assert fourth.ask().status == 200
        assert second.rest() == b""
        assert first.ask().status == third.ask().status == fourth.ask().status == 200


def test_there_are_never_more_connections_than_half_of_the_file_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.http1.resource.getrlimit", lambda _: (7, 7))
    with serving(echo) as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(10)]
        for client in clients[-3:]:
            assert client.ask().status == 200
        assert [client.rest() for client in clients[:-3]] == [b""] * 7


# The end -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked() -> threading.Event:
    return threading.Event()


@pytest.fixture
def telling(asked: threading.Event) -> Answer:
    """An echo that reports each request to the test."""

    def answer(request: Request) -> Response:
        asked.set()
        return echo(request)

    return answer


def test_at_the_end_what_was_asked_is_answered_and_whoever_asks_nothing_let_go(
    asked: threading.Event, telling: Answer
) -> None:
    with (
        serving(telling, Limits(stop_seconds=30)) as server,
        Client(server) as silent,
        Client(server, receive_buffer=4096) as reading,
    ):
        reading.send(request("/long") * 20)
        assert asked.wait(patience())
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert silent.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address)
        assert [reading.read().body for _ in range(20)] == [LONG] * 20
        assert reading.rest() == b""
        stopping.join()


def test_at_the_end_whoever_does_not_read_is_waited_for_no_longer_than_the_limit(
    asked: threading.Event, telling: Answer
) -> None:
    with serving(telling, Limits(stop_seconds=0.2)) as server, Client(server, receive_buffer=4096) as greedy:
        greedy.send(request("/long") * 50)
        assert asked.wait(patience())
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < patience(5)
        with pytest.raises((EOFError, ConnectionResetError)):
            deque((greedy.read() for _ in range(50)), maxlen=0)


def test_at_the_end_a_connection_that_was_just_made_is_closed_too() -> None:
    for _ in range(20):
        with serving(echo) as server, Client(server) as client:
            server.stop()
            assert client.rest() == b""
