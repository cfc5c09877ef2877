"""Free TCP ports on 127.0.0.1 for servers that must come back on the same port after a restart.

Not the kernel's choice (bind to 0): it takes from the range of outgoing connections, where a client that
keeps trying a stopped server can be given the server's own port, and so connect to itself.
"""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
BELOW_OUTGOING_PORTS = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections do not count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """A free port: the preferred one if it is. Two who ask at once hardly ever get the same."""
    if preferred is not None and is_free(preferred):
        return preferred
    candidates = random.SystemRandom().sample(BELOW_OUTGOING_PORTS, k=200)
    return next(port for port in candidates if is_free(port))
