"""Other servers of a page of metrics: prometheus_client's own server, and nginx with the bytes in a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from bench.command import debian_version, installed
from demo.exporting import PROJECT
from servers.child import Child
from servers.fetch import fetch
from servers.ports import LOOPBACK, free_port

NGINX = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
  access_log off;
  default_type "text/plain; version=0.0.4; charset=utf-8";
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 100000000;
  open_file_cache max=8;
  client_body_temp_path {directory};
  proxy_temp_path {directory};
  fastcgi_temp_path {directory};
  uwsgi_temp_path {directory};
  scgi_temp_path {directory};
  server {{ listen {address}; root {directory}; }}
}}
"""


class PageServer(Child):
    """A server of a fixed page at /metrics."""

    def __init__(self, directory: Path, page: str) -> None:
        super().__init__(directory)
        self.port = free_port()
        (self.directory / "metrics").write_text(page)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def is_ready(self) -> bool:
        try:
            return fetch(f"{self.url}/metrics")[0] == 200
        except (OSError, HTTPException):
            return False


class PrometheusClient(PageServer):
    """`prometheus_client.start_http_server` with metrics of the same names and labels."""

    name = "prometheus_client"

    def __init__(self, directory: Path, page: str) -> None:
        super().__init__(directory, page)
        self.environment = {**self.environment, "PYTHONPATH": str(PROJECT)}

    def command(self) -> Sequence[str]:
        return [
            sys.executable,
            "-m",
            "bench.peers.prometheus_client_server",
            str(self.port),
            str(self.directory / "metrics"),
        ]


class Nginx(PageServer):
    """nginx with a single process."""

    name = "nginx"

    def __init__(self, directory: Path, page: str) -> None:
        """Raises NotMeasured when nginx is not installed."""
        self._program = installed("nginx", "nginx-light")
        super().__init__(directory, page)
        self.version = debian_version("nginx-light")
        configuration = NGINX.format(directory=self.directory, address=f"{LOOPBACK}:{self.port}")
        (self.directory / "nginx.conf").write_text(configuration)

    def command(self) -> Sequence[str]:
        return [self._program, "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]
