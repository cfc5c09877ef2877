"""A server without any protection, in place of both ports: every class of attack finds something there.

It believes each identity, answers each path and method, reflects what it is sent, and has no limit.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from attack.target import Instance, read_port
from attack.wire import Budget
from servers.ports import LOOPBACK


class Weak(BaseHTTPRequestHandler):
    """Answers everything with 200, and closes: HTTP/1.0."""

    def respond(self) -> None:
        """The name of a user, the path and the headers as they came, for every origin."""
        body = f'user,path\n=1+1,{unquote(self.path)}\n{{"value": "a@example.org"}}\n{self.headers}'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Set-Cookie", "hivesync_analytics=admin")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_TRACE = respond  # noqa: N815 - of http.server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


@contextmanager
def weak_target(
    directory: Path, *, one_at_a_time: bool = False, tls: ssl.SSLContext | None = None
) -> Iterator[Instance]:
    """The server as a target; `one_at_a_time`: an idle connection keeps all others waiting."""
    state = directory / "state"
    state.mkdir()
    state.chmod(0o755)
    (state / "key").write_text("secret")
    kind = HTTPServer if one_at_a_time else ThreadingHTTPServer
    with kind((LOOPBACK, 0), Weak) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"{'https' if tls else 'http'}://{LOOPBACK}:{server.server_address[1]}"
            metrics, admin = (read_port(name, url, Budget()) for name in ("metrics", "admin"))
            yield Instance(metrics, admin, api_key="weak", jwt_secret="weak", state_directory=state, connections=20)
        finally:
            server.shutdown()
            thread.join()
