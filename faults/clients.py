"""Faults of clients: connections that send nothing, half a request, or read no answer, on both ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from faults.process import idle_connections
from faults.promises import CLIENTS
from faults.scene import Scene
from faults.table import fault
from servers.ports import LOOPBACK

MANY, QUICK_MANY = 1_000, 200
HALF = b"GET /metrics HTTP/1.1\r\nHost: local"
WHOLE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
UNREAD_REQUESTS = 500


def _number(scene: Scene) -> int:
    return QUICK_MANY if scene.quick else MANY


@fault("clients", CLIENTS, quick=True)
def idle_clients(scene: Scene) -> Iterator[None]:
    """A thousand connections to each port send nothing."""
    with idle_connections(scene.exporter, _number(scene)):
        yield


@contextmanager
def _sending(ports: tuple[int, ...], number: int, data: bytes) -> Iterator[None]:
    """Hold that many connections to each port, which send these bytes and read nothing."""
    with ExitStack() as held:
        for port in ports:
            for _ in range(number):
                client = held.enter_context(socket.socket())
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.settimeout(2)
                with suppress(OSError):
                    client.connect((LOOPBACK, port))
                    client.setblocking(False)
                    client.send(data)
        yield


@fault("clients", CLIENTS)
def clients_with_half_a_request(scene: Scene) -> Iterator[None]:
    """Many connections to each port send half a request."""
    exporter = scene.exporter
    with _sending((exporter.metrics_port, exporter.admin_port), _number(scene) // 2, HALF):
        yield


@fault("clients", CLIENTS)
def clients_that_read_nothing(scene: Scene) -> Iterator[None]:
    """Clients of each port send many requests and read no answer."""
    exporter = scene.exporter
    with _sending((exporter.metrics_port, exporter.admin_port), 20, WHOLE * UNREAD_REQUESTS):
        yield


@fault("clients", CLIENTS)
def clients_with_garbage(scene: Scene) -> Iterator[None]:
    """Clients of each port send random bytes."""
    exporter = scene.exporter
    with _sending((exporter.metrics_port, exporter.admin_port), 50, scene.random.randbytes(2_000)):
        yield
