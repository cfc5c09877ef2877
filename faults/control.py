"""The control: a process of the same kind as the exporter, with the same HTTP server and event loop, that answers with
constant bytes: `python -m faults.control PORT BYTES`. Its answers, measured in the same seconds, are those of a program
that no fault concerns."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

import uvloop
from starlette.responses import PlainTextResponse

from demo.exporting import PROJECT
from exporter.httpd.server import serve
from servers.child import Child
from servers.fetch import fetch
from servers.ports import LOOPBACK, free_port


class ControlServer(Child):
    """The control as a child process."""

    name = "Control"

    def __init__(self, directory: Path, body_bytes: int) -> None:
        super().__init__(directory)
        self.port = free_port()
        self._bytes = body_bytes
        self.environment = {**self.environment, "PYTHONPATH": str(PROJECT)}

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "faults.control", str(self.port), str(self._bytes)]

    def is_ready(self) -> bool:
        try:
            return fetch(f"{self.url}/metrics")[0] == 200
        except (OSError, HTTPException):
            return False


def main(port: int, body_bytes: int) -> None:
    """Serve until killed."""
    with socket.create_server((LOOPBACK, port), backlog=1024) as listener:
        uvloop.run(serve(PlainTextResponse("#" * body_bytes), listener, "metrics"))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
