"""Free TCP ports on 127.0.0.1 for servers that must come back on the same port after a restart.

Not the kernel's choice (bind to 0): it takes from the range of outgoing connections, where a client that keeps
trying a stopped server can be given the server's own port, and so connect to itself.
"""

from __future__ import annotations

import atexit
import random
import socket

LOOPBACK = "127.0.0.1"
BELOW_OUTGOING_PORTS = range(20_000, 32_000)


def free_port(preferred: int | None = None) -> int:
    """A port that nobody listens on, and that no other process has from here: the preferred one, if it is such."""
    candidates = random.SystemRandom().sample(BELOW_OUTGOING_PORTS, k=200)
    if preferred is not None:
        candidates.insert(0, preferred)
    return next(port for port in candidates if _claim(port) and _is_free(port))


def _claim(port: int) -> bool:
    """Say that the port is taken until this process ends, long before a server listens there and after it is killed.

    Said by holding the UDP port of the same number, which nobody else wants, and which needs no tidying up.
    """
    claim = socket.socket(type=socket.SOCK_DGRAM)
    try:
        claim.bind((LOOPBACK, port))
    except OSError:
        claim.close()
        return False
    atexit.register(claim.close)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections do not count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
