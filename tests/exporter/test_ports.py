"""Attacks from outside on both ports of a real exporter, whose sources are down: it answers, and its memory is flat."""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.rows import NO_DATABASE, NOWHERE
from tests.running import RunningExporter, get
from tests.serving import Client, request
from tests.waiting import patience, until

PORTS = ("metrics", "admin")
PATH = {"metrics": "/metrics", "admin": "/admin/analytics/"}
STATUS = {"metrics": 200, "admin": 401}
"""The answer to a request for the port's path without a credential."""

MEGABYTE = 1_000_000


class LimitedExporter(RunningExporter):
    """An exporter with that many file descriptors."""

    descriptors = 1024

    def command(self) -> Sequence[str]:
        return ["/bin/sh", "-c", f'ulimit -n {self.descriptors}; exec "$@"', "sh", *super().command()]

    def address_of(self, port: str) -> tuple[str, int]:
        host, _, number = self.variables[f"HIVESYNC_{port.upper()}_LISTEN"].rpartition(":")
        return host, int(number)

    def status_of(self, port: str) -> int:
        """The answer to a good request."""
        host, number = self.address_of(port)
        return get(f"http://{host}:{number}{PATH[port]}")[0]

    def memory(self) -> int:
        """Resident bytes."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024


@contextmanager
def running(directory: Path, descriptors: int = 1024) -> Iterator[LimitedExporter]:
    exporter = LimitedExporter(directory, database_url=NO_DATABASE, redis_url=NOWHERE)
    exporter.descriptors = descriptors
    exporter.launch()
    try:
        until(lambda: accepts(exporter.address_of("admin")), "the admin port answers")
        yield exporter
    finally:
        exporter.stop()


def accepts(address: tuple[str, int]) -> bool:
    """Whether the port answers: the section is loaded after the start."""
    try:
        with Client(address) as client:
            return client.ask(PATH["admin"]).status == STATUS["admin"]
    except (OSError, EOFError):
        return False


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LimitedExporter]:
    with running(tmp_path_factory.mktemp("ports")) as exporter:
        yield exporter


@pytest.fixture(params=PORTS)
def port(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# Endless requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "piece", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x" * 65_536, 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X: x\r\n" * 10_000, 431),
        (b"GET /", b"u" * 65_536, 414),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n", b"b" * 65_536, 413),
        (
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"10000\r\n" + b"b" * 65_536 + b"\r\n",
            None,
        ),
    ],
    ids=["header", "headers", "URL", "length", "chunks"],
)
def test_an_endless_request_is_refused_early_and_costs_no_memory(
    exporter: LimitedExporter, port: str, start: bytes, piece: bytes, status: int | None
) -> None:
    """A body whose length is not known may be answered before its limit; the client is cut there."""
    assert exporter.status_of(port) == STATUS[port]
    before = exporter.memory()
    with Client(exporter.address_of(port)) as client:
        client.send(start.replace(b"%s", PATH[port].encode()))

        def is_answered() -> bool:
            with suppress(OSError):
                client.send(piece)
            return client.peek() != b""

        until(is_answered, "refused", poll=0.0001)
        assert client.read().status == (status or {"metrics": 405, "admin": 401}[port])
        until(lambda: gets_nowhere(client, piece), "cut", poll=0.0001)
    assert exporter.status_of(port) == STATUS[port]
    assert exporter.memory() - before < 10 * MEGABYTE


def gets_nowhere(client: Client, piece: bytes) -> bool:
    """Whether sending fails."""
    try:
        client.send(piece)
    except OSError:
        return True
    return False


# Many connections ------------------------------------------------------------------------------------------------


@pytest.fixture
def enough_descriptors() -> Iterator[None]:
    """For the connections of a test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("descriptors", [64, 256, 1024])
def test_any_number_of_silent_connections_leaves_room_for_others(
    tmp_path: Path, enough_descriptors: None, descriptors: int
) -> None:
    """First 205 that send half a request, as many as leave a server without descriptors after them."""
    with running(tmp_path, descriptors) as exporter, ExitStack() as stack:
        for count, sent in ((205, b"GET / HTTP/1.1\r\nHost: "), (1_500, b"")):
            for port in PORTS:
                for _ in range(count):
                    connection = stack.enter_context(socket.create_connection(exporter.address_of(port), patience()))
                    with suppress(OSError):
                        connection.sendall(sent)
                assert [exporter.status_of(each) for each in PORTS] == [STATUS[each] for each in PORTS]
            open_files = len(list(Path(f"/proc/{exporter.pid}/fd").iterdir()))
            assert open_files < descriptors
        assert "Too many open files" not in exporter.log.read_text()
        assert [event for event in exporter.events() if event["event"].startswith("runtime.")] == []


def test_a_burst_of_connections_waits_while_the_process_is_busy(
    exporter: LimitedExporter, port: str, enough_descriptors: None
) -> None:
    """A connection for which there is no place tries again after a second, and a scrape is one of them."""
    allowed = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with ExitStack() as stack:
        os.kill(exporter.pid, signal.SIGSTOP)
        stack.callback(os.kill, exporter.pid, signal.SIGCONT)
        connections = [stack.enter_context(socket.socket()) for _ in range(min(1_500, allowed))]
        for connection in connections:
            connection.setblocking(False)
            connection.connect_ex(exporter.address_of(port))
        waiting = select.poll()
        for connection in connections:
            waiting.register(connection, select.POLLOUT)
        until(
            lambda: sum(event == select.POLLOUT for _, event in waiting.poll(0)) == len(connections), "made", within=3
        )
    assert exporter.status_of(port) == STATUS[port]


# Slow clients ----------------------------------------------------------------------------------------------------


def test_a_request_that_comes_byte_by_byte_is_refused_after_ten_seconds(exporter: LimitedExporter) -> None:
    def drip(port: str) -> bytes:
        with Client(exporter.address_of(port)) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")

            def is_refused() -> bool:
                with suppress(OSError):
                    client.send(b"x")
                return client.peek() != b""

            until(is_refused, "refused")
            return client.rest()

    with ThreadPoolExecutor() as threads:
        for answer in threads.map(drip, PORTS):
            assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_clients_that_read_no_answers_cost_no_memory(exporter: LimitedExporter, port: str) -> None:
    before = exporter.memory()
    with ExitStack() as stack:
        for _ in range(50):
            client = stack.enter_context(Client(exporter.address_of(port), receive_buffer=4096))
            client.socket.setblocking(False)
            with suppress(OSError):  # both sides' buffers are full
                for _ in range(1_000):
                    client.send(request(PATH[port]) * 10)
            assert exporter.status_of(port) == STATUS[port]
        assert exporter.memory() - before < 50 * MEGABYTE


def test_many_requests_at_once_are_answered_in_turn(exporter: LimitedExporter, port: str) -> None:
    with Client(exporter.address_of(port)) as client:
        client.send(request(PATH[port]) * 200 + request("/nothing"))
        assert [client.read().status for _ in range(201)] == [STATUS[port]] * 200 + [404]


# Requests that two programs could read differently ---------------------------------------------------------------

FRAMING: dict[str, Callable[[bytes], bytes]] = {
    "no host": lambda target: b"GET %s HTTP/1.1\r\n\r\n" % target,
    "two hosts": lambda target: b"GET %s HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" % target,
    "both framings": lambda target: (
        b"GET %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        % target
    ),
    "bare line feeds": lambda target: b"GET %s HTTP/1.1\nHost: localhost\n\n" % target,
    "folded header": lambda target: b"GET %s HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b: c\r\n\r\n" % target,
    "chunked twice": lambda target: (
        b"GET %s HTTP/1.1\r\nHost: localhost\r\n" % target + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n"
    ),
    "chunked in HTTP/1.0": lambda target: (
        b"GET %s HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % target
    ),
    "another coding": lambda target: (
        b"GET %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: x, chunked\r\n\r\n" % target
    ),
}


@pytest.mark.parametrize("framing", FRAMING)
def test_a_request_that_is_not_framed_once_is_refused_with_all_after_it(
    exporter: LimitedExporter, port: str, framing: str
) -> None:
    with Client(exporter.address_of(port)) as client:
        client.send(FRAMING[framing](PATH[port].encode()) + request(PATH[port]))
        answer = client.read()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert client.rest() == b""
