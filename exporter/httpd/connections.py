"""The open connections of one port: a bounded number, each with limits on the time it may wait.

`server.py` accepts connections and ticks; `protocol.py` is one connection.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

PORTS = 2
"""Ports of the process; together their connections use at most half of its file descriptors."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits per client; the defaults suit a reader on a slow connection, and bound the cost of many idle ones."""

    connections: int = 256
    """Connections at once, and never more than this port's share of the file descriptors. At the limit, a new
    connection replaces the one with the longest inactivity."""
    idle_seconds: float = 75.0
    """Time between requests: more than a scrape interval, so that a connection is kept from one scrape to the next."""
    head_seconds: float = 10.0
    """Time for the request line and the headers from their first byte, and for a TLS handshake: Prometheus' own default
    for a whole scrape."""
    body_seconds: float = 30.0
    """Time for a body, after the headers."""
    write_seconds: float = 10.0
    """Time without a byte of the response being read."""
    linger_seconds: float = 2.0
    """Time for the client to close its end after a refusal; until then its data is discarded, so that it can read the
    refusal."""
    stop_seconds: float = 2.0
    """Time for responses in progress after a stop."""
    tick_seconds: float = 1.0
    """Interval at which time limits are checked and the Date header is updated; the precision of the limits."""


class Client(Protocol):
    """One connection, as this module sees it."""

    since: float
    """The time of its last progress."""

    @property
    def is_answering(self) -> bool:
        """Whether a whole request has come, and its response has not been sent yet."""

    def check(self, now: float) -> None:
        """Refuse or close a connection that has waited too long."""

    def abort(self) -> None:
        """Close at once."""


class Security(Protocol):
    """The TLS of a port."""

    @property
    def context(self) -> ssl.SSLContext | None:
        """The context of a new connection; None without TLS."""

    def admits(self, transport: asyncio.BaseTransport) -> bool:
        """Whether a client, whose handshake is complete, may send requests."""


class ClientConnections:
    """The connections of one port, from their acceptance on."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.ending = False
        """Whether new connections are closed at once."""
        self.most = max(1, min(limits.connections, _descriptors() // (2 * PORTS)))
        self._open: dict[Client, None] = {}
        self._none_left = asyncio.Event()

    def make_room(self) -> None:
        """At the limit, close a connection: of those without a request in work, the one with the longest inactivity."""
        while len(self._open) >= self.most:
            stillest = min(self._open, key=lambda each: (each.is_answering, each.since))
            del self._open[stillest]
            stillest.abort()

    def opened(self, connection: Client) -> None:
        """Register a connection."""
        self._open[connection] = None
        self._none_left.clear()

    def closed(self, connection: Client) -> None:
        """Remove a closed connection."""
        self._open.pop(connection, None)
        if not self._open:
            self._none_left.set()

    def check(self, now: float) -> None:
        """Apply the time limits."""
        for connection in tuple(self._open):
            connection.check(now)

    async def end(self) -> None:
        """Close every connection at once."""
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._none_left.wait(), self.limits.stop_seconds)


def _descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft
