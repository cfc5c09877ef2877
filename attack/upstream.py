"""A hostile server in place of Grafana: notes each request, and answers with headers that should not pass.

    stage -> upstream (this) <- the proxy under attack

It also stands for the servers that headers of a token name (`jku`, `x5u`): a connection there is noted too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from servers.ports import LOOPBACK

HOSTILE = (
    ("Set-Cookie", "hivesync_analytics=stolen; Path=/"),
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("Alt-Svc", 'h3="evil.example:443"'),
    ("NEL", '{"report_to": "evil", "max_age": 1}'),
    ("Report-To", '{"group": "evil"}'),
    ("Refresh", "0; url=http://evil.example/"),
    ("Clear-Site-Data", '"cookies"'),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Credentials", "true"),
    ("Service-Worker-Allowed", "/"),
    ("Set-Cookie2", "a=b"),
    ("SourceMap", "http://evil.example/map"),
    ("Public-Key-Pins", "max-age=1"),
    ("Proxy-Authenticate", "Basic"),
    ("WWW-Authenticate", "Basic"),
    ("X-Powered-By", "upstream"),
)
"""Headers for the whole origin, or with a meaning for the browser's other pages."""


@dataclass(frozen=True)
class Noted:
    """A request as it came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name]


@dataclass
class Upstream:
    """The server's address, and its requests so far."""

    url: str
    noted: list[Noted] = field(default_factory=list)

    def take(self) -> list[Noted]:
        """The requests since the last call, without those of a probe."""
        taken, self.noted = self.noted, []
        return [one for one in taken if not one.target.endswith("/api/health")]


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Run the server on a free port."""
    server = ThreadingHTTPServer((LOOPBACK, 0), _Handler)
    server.daemon_threads = True
    found = Upstream(f"http://{LOOPBACK}:{server.server_address[1]}")
    server.found = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _respond(self) -> None:
        headers = tuple((name.lower(), value) for name, value in self.headers.items())
        self.server.found.noted.append(Noted(self.command, self.path, headers))  # type: ignore[attr-defined]
        length = self.headers.get("Content-Length", "")
        if length.isdigit():
            self.rfile.read(int(length))
        elif self.headers.get("Transfer-Encoding"):
            while self.rfile.readline().strip() not in (b"0", b""):
                self.rfile.readline()
            self.rfile.readline()
        body = b'{"upstream": true}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if not self.path.endswith("/api/health"):
            for name, value in HOSTILE:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _respond  # noqa: N815 - of http.server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass
