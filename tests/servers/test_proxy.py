"""The proxy before a server: each behaviour as a client sees it, on new and on present connections."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import pytest

from servers.ports import LOOPBACK
from servers.proxy import Behaviour, Proxy
from tests.waiting import patience

ASKED = b"a question of some length"


@contextmanager
def echo(greeting: bytes = b"") -> Iterator[int]:
    """A server that sends its greeting, and then everything back; its port."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(greeting)
            while data := connection.recv(65_536):
                connection.sendall(data)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server((LOOPBACK, 0)) as listener:
        Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with echo() as port, Proxy(port) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=patience())


def asked(client: socket.socket, seconds: float | None = None) -> bytes:
    """The answer to ASKED."""
    client.settimeout(patience() if seconds is None else seconds)
    client.sendall(ASKED)
    answer = b""
    while len(answer) < len(ASKED) and (data := client.recv(100)):
        answer += data
    return answer


@pytest.mark.parametrize("behaviour", [Behaviour.FORWARD, Behaviour.SLOW])
def test_bytes_pass_both_ways(proxy: Proxy, behaviour: Behaviour) -> None:
    proxy.behave(behaviour)
    with connect(proxy) as client:
        assert asked(client) == ASKED


def test_connections_are_refused_and_present_ones_reset(proxy: Proxy) -> None:
    with connect(proxy) as client:
        assert asked(client) == ASKED
        proxy.behave(Behaviour.REFUSE)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.behave(Behaviour.FORWARD)
    with connect(proxy) as client:
        assert asked(client) == ASKED


def test_connections_are_reset(proxy: Proxy) -> None:
    proxy.behave(Behaviour.RESET)
    with pytest.raises(ConnectionResetError), connect(proxy) as client:
        client.recv(1)


def test_a_half_closed_connection_takes_data_and_gives_none(proxy: Proxy) -> None:
    with connect(proxy) as present:
        assert asked(present) == ASKED
        proxy.behave(Behaviour.HALF_CLOSE)
        for client in (present, connect(proxy)):
            assert client.recv(1) == b""
            client.sendall(ASKED)
            client.close()


def test_a_black_hole_keeps_bytes_until_it_ends(proxy: Proxy) -> None:
    with connect(proxy) as present:
        assert asked(present) == ASKED
        proxy.behave(Behaviour.BLACK_HOLE)
        with connect(proxy) as new:
            for client in (present, new):
                with pytest.raises(TimeoutError):
                    asked(client, 0.1)
            proxy.behave(Behaviour.FORWARD)
            for client in (present, new):
                client.settimeout(patience())
                assert client.recv(len(ASKED), socket.MSG_WAITALL) == ASKED


def test_garbage_comes_in_place_of_answers_and_ends_with_its_connection(proxy: Proxy) -> None:
    proxy.behave(Behaviour.GARBAGE)
    with connect(proxy) as client:
        answer = asked(client)
        assert len(answer) == len(ASKED)
        assert answer != ASKED
        proxy.behave(Behaviour.FORWARD)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


@pytest.mark.parametrize("cut", [True, False])
def test_a_switch_moves_new_connections_and_cuts_present_ones_on_request(cut: bool) -> None:
    with echo(b"1") as one, echo(b"2") as two, Proxy(one) as proxy, connect(proxy) as present:
        assert present.recv(1) == b"1"
        proxy.switch(two, cut=cut)
        with connect(proxy) as new:
            assert new.recv(1) == b"2"
        if cut:
            with pytest.raises(ConnectionResetError):
                present.recv(1)
        else:
            assert asked(present) == ASKED
