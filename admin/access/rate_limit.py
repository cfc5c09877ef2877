"""The rate limit of invalid credentials per address, and of their log lines.

    authentication, login -> rate limit (this) -> 429 for an invalid credential

Memory and log are bounded for any traffic: by a number of addresses, and of lines per minute.
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
"""After FAILURES invalid credentials in so many seconds, further ones of that address are answered by 429."""

ADDRESSES_AT_MOST = 4096
"""The most addresses kept; the address with the oldest latest failure is dropped first."""

LINES_A_MINUTE = 30

_IPV6_PREFIX = 64
"""The smallest network of one subscriber, who has all of its addresses."""

Clock = Callable[[], float]


def client_address(client: tuple[str, int] | list[object] | None) -> str:
    """The unit of counting: an IPv4 address, or an IPv6 network of 64 bits. `client` as in ASGI."""
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


class RateLimit:
    """Failures by address; `clock` is monotonic (seconds)."""

    def __init__(self, clock: Clock, failures: int = FAILURES, window_seconds: float = WINDOW_SECONDS) -> None:
        self._clock = clock
        self._failures = failures
        self._window_seconds = window_seconds
        self._of: OrderedDict[str, deque[float]] = OrderedDict()
        self._log = RefusalLog(clock)

    def retry_after(self, address: str) -> int:
        """Whole seconds until the address may try again; 0 if it may now."""
        times = self._of.get(address)
        if times is None or len(times) < self._failures:
            return 0
        return max(0, math.ceil(times[0] + self._window_seconds - self._clock()))

    def failed(self, address: str) -> None:
        """Count an invalid credential."""
        times = self._of.pop(address, None) or deque(maxlen=self._failures)
        times.append(self._clock())
        self._of[address] = times
        while len(self._of) > ADDRESSES_AT_MOST:
            self._of.popitem(last=False)

    def log(self, event: str, address: str, reason: Reason | str) -> None:
        """Log a refusal with its reason, never with the credential."""
        self._log.write(event, address=address, reason=str(reason))


class RefusalLog:
    """Writes the first lines of a minute, whatever requests arrive; the next line has the number of those left out."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._minute = -math.inf
        self._lines = 0
        self._left_out = 0

    def write(self, event: str, **fields: str) -> None:
        """Log a refusal."""
        now = self._clock()
        if now >= self._minute + 60:
            self._minute, self._lines = now, 0
        if self._lines >= LINES_A_MINUTE:
            self._left_out += 1
            return
        self._lines += 1
        left_out = {"left_out": self._left_out} if self._left_out else {}
        self._left_out = 0
        _log.warning(event, **fields, **left_out)
