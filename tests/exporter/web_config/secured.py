"""An exporter with web configurations, and a client over TLS."""

from __future__ import annotations

import asyncio
import base64
import http.client
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bcrypt
import yaml

from exporter.control import ask_for_health
from exporter.errors import StateError
from tests.certificates import Authority, Issued
from tests.rows import NO_DATABASE, NOWHERE
from tests.running import RunningExporter
from tests.waiting import patience

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
USER = {"Authorization": "Basic " + base64.b64encode(b"alice:secret").decode()}
TLS = {"cert_file": "server.crt", "key_file": "server.key"}


class SecuredExporter(RunningExporter):
    """An exporter whose sources are down; it is ready once its control socket says so."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        super().__init__(directory, database_url=NO_DATABASE, redis_url=NOWHERE, **settings)

    def is_ready(self) -> bool:
        try:
            return asyncio.run(ask_for_health(self.state, 2.0)) is not None
        except StateError:
            return False

    def answers(self) -> bool:
        return self.is_ready()

    def address_of(self, port: str) -> str:
        return self.variables[f"HIVESYNC_{port.upper()}_LISTEN"]


class Place:
    """A folder with the files of a web configuration."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.file = folder / "web.yml"
        self.authority = Authority.create()
        self.authority.write(folder / "authority.crt")
        self.server = self.authority.issue(folder, "server")
        self.client = self.authority.issue(folder, "client", "prometheus.example")

    def write(self, **content: Any) -> Path:
        """Write the configuration in place."""
        self.file.write_text(yaml.safe_dump(content))
        return self.file

    def context(self, client: Issued | None = None) -> ssl.SSLContext:
        """A client's context, with a certificate of its own if given."""
        context = ssl.create_default_context(cafile=self.folder / "authority.crt")
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        return context


def ask(
    address: str,
    path: str,
    context: ssl.SSLContext,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    body: bytes | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body, over a new connection with TLS."""
    connection = http.client.HTTPSConnection(address, timeout=patience(), context=context)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def serial_of(address: str, context: ssl.SSLContext) -> int:
    """The serial number of the server's certificate on a new connection."""
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host, int(port)), patience())
    with plain, context.wrap_socket(plain, server_hostname=host) as connection:
        certificate = connection.getpeercert() or {}
    return int(str(certificate["serialNumber"]), 16)
