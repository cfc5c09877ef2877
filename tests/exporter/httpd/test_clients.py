"""The HTTP server: clients that are too slow, do not read, are too many, or still there at the end."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs
from uvicorn.protocols.http import httptools_impl

from exporter.httpd.connections import Limits
from exporter.httpd.protocol import PIECE_BYTES
from tests.exporter.httpd.echo import LONG, echo, lives
from tests.serving import Client, Serving, request, serving
from tests.waiting import patience, until

PATIENT = Limits(
    idle_seconds=60,
    head_seconds=60,
    body_seconds=60,
    write_seconds=60,
    linger_seconds=60,
    stop_seconds=60,
    tick_seconds=0.02,
)
"""Long limits for tests of time-outs, which shorten one of them."""


def test_a_client_that_requests_and_does_not_read_is_soon_no_longer_read() -> None:
    answered: list[str] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        answered.append(scope["path"])
        await echo(scope, receive, send)

    with serving(answer) as server, Client(server, receive_buffer=4096) as greedy:
        greedy.socket.settimeout(patience(0.5))
        with suppress(TimeoutError):  # once every buffer on the way is full of unread data
            for _ in range(1_000_000):
                greedy.socket.sendall(request("/long") * 100)
            pytest.fail("everything was read")
        assert lives(server)
        assert 0 < answered.count("/long") < 50


def test_who_reads_late_is_answered_all_the_same_and_in_order(server: Serving) -> None:
    paths = [f"/{number}" for number in range(3_000)]
    with Client(server, receive_buffer=4096) as client:
        asking = threading.Thread(target=lambda: client.send(b"".join(map(request, paths))))
        asking.start()
        assert [client.read().body.decode() for _ in paths] == [f"GET {path} |" for path in paths]
        asking.join()


def test_few_requests_are_parsed_before_the_first_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[object] = []
    answer = threading.Event()

    def counting(**fields: Any) -> object:
        parsed.append(fields["scope"])
        return cycle(**fields)

    cycle = httptools_impl.RequestResponseCycle
    monkeypatch.setattr(httptools_impl, "RequestResponseCycle", counting)

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/life":
            await receive()  # with which uvicorn reads on
            await asyncio.to_thread(answer.wait, patience())
        await echo(scope, receive, send)

    with serving(waiting) as server, Client(server) as client:
        client.send(request() * 2_000)
        until(lambda: parsed, "the first is in work")
        assert lives(server)
        found = len(parsed)
        answer.set()
        assert found <= PIECE_BYTES // len(request()) + 3
        assert {client.read().status for _ in range(2_000)} == {200}


def is_cut(client: Client) -> bool:
    """Whether the server has closed the connection; reads nothing."""
    client.socket.setblocking(False)
    try:
        return client.socket.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HTTP/1.1\r\nX: ",
        b"GET /",
        b"POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n",
        request("/first") + b"GET / HTTP/1.1\r\nX: ",
    ],
    ids=["headers", "URL", "body", "headers of the second request"],
)
def test_a_request_that_comes_too_slowly_is_refused_however_steadily_it_comes(begun: bytes) -> None:
    limits = replace(PATIENT, head_seconds=0.3, body_seconds=0.3)
    with capture_logs() as logged, serving(echo, limits) as server, Client(server) as slow, Client(server) as other:
        slow.send(begun)

        def is_refused() -> bool:
            assert other.ask().status == 200, "a request in time is answered"
            slow.send(b"x")
            return b"HTTP/1.1 408 Request Timeout\r\n" in slow.peek()

        until(is_refused, "refused")
        assert slow.rest().count(b"HTTP/1.1") == begun.count(b"HTTP/1.1") or begun == b"GET /"
    assert logged == []


def test_a_body_that_comes_too_slowly_after_the_answer_is_cut_without_another() -> None:
    with serving(echo, replace(PATIENT, body_seconds=0.3, linger_seconds=0.1)) as server, Client(server) as slow:
        slow.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n")
        assert slow.read().status == 200
        until(lambda: gets_nowhere(slow), "cut")
        assert slow.peek() == b""


def test_the_time_for_a_request_begins_with_the_request() -> None:
    head = patience(1.5)
    limits = replace(PATIENT, head_seconds=head)
    with serving(echo, limits) as server, Client(server) as client, Client(server) as other:
        connected = time.monotonic()
        until(lambda: other.ask() and time.monotonic() > connected + head + 0.2, "more than a request may take")
        client.send(request()[:-1])
        begun = time.monotonic()
        until(lambda: other.ask() and time.monotonic() > begun + 0.2, "some ticks")
        client.send(request()[-1:])
        assert client.read().status == 200


@pytest.mark.parametrize("asked", [request("/long") * 50, request("/huge")], ids=["much", "something long"])
def test_who_does_not_read_is_cut(asked: bytes) -> None:
    with serving(echo, replace(PATIENT, write_seconds=0.3)) as server, Client(server, receive_buffer=4096) as greedy:
        greedy.send(asked)
        until(lambda: gets_nowhere(greedy), "cut")


def test_who_reads_slowly_but_steadily_is_not_cut() -> None:
    """Some 400 kB within each limit: the kernel takes no more from the server before a megabyte is read."""
    limits = replace(PATIENT, write_seconds=patience(0.3))
    with serving(echo, limits) as server, Client(server, receive_buffer=65_536) as slow, Client(server) as other:
        slow.send(request("/huge", {"Connection": "close"}))
        started = time.monotonic()
        for step in range(60):
            slow.take(20_000)
            due = started + step * limits.write_seconds / 20
            until(lambda: other.ask() and time.monotonic() >= due, "the next step", poll=0.01)  # noqa: B023
        assert 60 * 20_000 + len(slow.rest()) > 20 * len(LONG)


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


def test_who_was_told_to_go_and_sends_on_is_cut_after_some_megabytes() -> None:
    with serving(echo, PATIENT) as server, Client(server) as refused:
        refused.send(b"nonsense\r\n\r\n")
        assert refused.read().status == 400
        until(lambda: gets_nowhere(refused, b"x" * 1_000_000), "cut", poll=0.0001)


def gets_nowhere(client: Client, data: bytes = b"\r\n") -> bool:
    """Whether sending fails."""
    client.socket.settimeout(patience())
    try:
        client.send(data)
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


def test_a_request_in_work_outlives_newer_connections_without_one() -> None:
    begun, finish = threading.Event(), threading.Event()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.to_thread(finish.wait, patience())
        await echo(scope, receive, send)

    with serving(answer, replace(PATIENT, connections=3)) as server, ExitStack() as stack:
        working = stack.enter_context(Client(server))
        working.send(request())
        assert begun.wait(patience())
        others = [stack.enter_context(Client(server)) for _ in range(10)]
        for other in others[:8]:
            assert other.rest() == b""
        finish.set()
        assert working.read().status == 200


def test_there_are_never_more_connections_than_a_share_of_the_file_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two ports with at most a quarter each."""
    monkeypatch.setattr("exporter.httpd.connections.resource.getrlimit", lambda _: (13, 13))
    with serving(echo, replace(PATIENT, connections=256, idle_seconds=10_000)) as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(10)]
        for client in clients[-3:]:
            assert client.ask().status == 200
        assert [client.rest() for client in clients[:-3]] == [b""] * 7


# The end -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked() -> threading.Event:
    return threading.Event()


@pytest.fixture
def telling(asked: threading.Event) -> ASGIApp:
    """An echo that reports each request to the test."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await echo(scope, receive, send)

    return answer


def test_at_the_end_what_was_asked_is_answered_and_whoever_asks_nothing_let_go(
    asked: threading.Event, telling: ASGIApp
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
    asked: threading.Event, telling: ASGIApp
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
