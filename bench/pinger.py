"""Another client of Redis, which measures the latencies of successive PINGs: `python -m bench.pinger URL`.

Begins at a line on its standard input, ends at the next one and prints milliseconds as JSON.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from urllib.parse import urlsplit

PAUSE_SECONDS = 0.0005
"""Pause between a reply and the next PING, as of a client with other work to do."""


def main(url: str) -> None:
    """Answer lines on standard input until it is closed."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 6379)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print("ready", flush=True)
        while sys.stdin.readline():
            took = []
            while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
                started = time.perf_counter()
                connection.sendall(b"PING\r\n")
                connection.recv(100)
                took.append((time.perf_counter() - started) * 1000)
            sys.stdin.readline()
            print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
