"""Another client of Redis: PINGs one after the other, and says how long the answers took: `python -m bench.pinger URL`.

Told a line it begins, told another one it ends and prints milliseconds as JSON.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from urllib.parse import urlsplit

PAUSE_SECONDS = 0.0005
"""Between an answer and the next question, as a client has that does something else as well."""


def main(url: str) -> None:
    """Answer to lines on standard input until it is closed."""
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
