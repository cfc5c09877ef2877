"""How often an address may be wrong, and how much of that is logged.

    door, login -> attempts (this) -> 429, before anything is verified

Both are bounded whatever is sent: so many addresses are remembered, so many lines written a minute.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

import structlog

from admin.access.tokens import Reason

_log = structlog.get_logger()

FAILURES = 10
WINDOW_SECONDS = 300.0
"""So many wrong credentials in so long; then an address has to wait."""

ADDRESSES_AT_MOST = 4096
"""Remembered; beyond that the one that was wrong longest ago is forgotten."""

LINES_A_MINUTE = 30

_IPV6_PREFIX = 64
"""What one subscriber has at the least: whoever has one of its addresses has all."""

Clock = Callable[[], float]


def client_address(client: tuple[str, int] | list[object] | None) -> str:
    """Who counts as one: an IPv4 address, or an IPv6 network of 64 bits. `client` as ASGI has it."""
    host = str(client[0]) if client else "unknown"
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)


class Attempts:
    """Who was wrong how often; `clock` never goes back (seconds)."""

    def __init__(self, clock: Clock, failures: int = FAILURES, window_seconds: float = WINDOW_SECONDS) -> None:
        self._clock = clock
        self._failures = failures
        self._window_seconds = window_seconds
        self._of: OrderedDict[str, deque[float]] = OrderedDict()
        self._log = _RefusalLog(clock)

    def seconds_to_wait(self, address: str) -> int:
        """0 while it may try; else whole seconds, at least 1."""
        times = self._of.get(address)
        if times is None or len(times) < self._failures:
            return 0
        return max(0, math.ceil(times[0] + self._window_seconds - self._clock()))

    def failed(self, address: str) -> None:
        """It was wrong once more."""
        times = self._of.pop(address, None) or deque(maxlen=self._failures)
        times.append(self._clock())
        self._of[address] = times
        while len(self._of) > ADDRESSES_AT_MOST:
            self._of.popitem(last=False)

    def log(self, event: str, address: str, reason: Reason | str) -> None:
        """One line that somebody was not let in, and why; never with what."""
        self._log.write(event, address, str(reason))


class _RefusalLog:
    """The first lines of a minute; how many were left out is said in the next."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._minute = -math.inf
        self._lines = 0
        self._left_out = 0

    def write(self, event: str, address: str, reason: str) -> None:
        now = self._clock()
        if now >= self._minute + 60:
            self._minute, self._lines = now, 0
        if self._lines >= LINES_A_MINUTE:
            self._left_out += 1
            return
        self._lines += 1
        left_out = {"left_out": self._left_out} if self._left_out else {}
        self._left_out = 0
        _log.warning(event, address=address, reason=reason, **left_out)
