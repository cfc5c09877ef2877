"""Free TCP ports on 127.0.0.1 for servers that must return on the same port after a restart.

Not the kernel's choice (bind to 0): the kernel takes it from the range of outgoing connections, where a client that
keeps trying a stopped server can get the server's own port, and so connect to itself.
"""

from __future__ import annotations

import atexit
import random
import socket

LOOPBACK = "127.0.0.1"
BELOW_OUTGOING_PORTS = range(20_000, 32_000)


def free_port(preferred: int | None = None) -> int:
    """Return a port without a listener that no other process has from here: the preferred one, if possible."""
    candidates = random.SystemRandom().sample(BELOW_OUTGOING_PORTS, k=200)
    if preferred is not None:
        candidates.insert(0, preferred)
    return next(port for port in candidates if _claim(port) and _is_free(port))


def _claim(port: int) -> bool:
    """Claim the port until this process ends, long before a server listens there and after it is killed.

    The claim is the UDP port of the same number, which no other program uses, and which needs no clean-up.
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
