"""Redis with TLS, users and a password, as a child process, and the certificates for it and its clients.

certificates = make_certificates(directory)
with RedisServer(directory, certificates) as server:
    server.url_of("reader:pw@", f"?ssl_ca_certs={certificates.authority}")
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from servers.child import Child, ChildError
from servers.ports import LOOPBACK, free_port
from tests.certificates import Authority

KEY_PASSWORD = "of-the-key"


@dataclass(frozen=True)
class Certificates:
    """Files (PEM) of the authority, of the server and of a client signed by it, and of another authority."""

    authority: Path
    stranger: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    locked_key: Path
    """The key of the client, encrypted with KEY_PASSWORD."""


def make_certificates(directory: Path) -> Certificates:
    """Create certificates, valid for a day and for 127.0.0.1."""
    authority = Authority.create()
    server, client = (authority.issue(directory, name) for name in ("server", "client"))
    key = load_pem_private_key(client.key.read_bytes(), None)
    locked_key = directory / "locked.key"
    encryption = BestAvailableEncryption(KEY_PASSWORD.encode())
    locked_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return Certificates(
        authority=authority.write(directory / "authority.crt"),
        stranger=Authority.create("stranger").write(directory / "stranger.crt"),
        server=server.certificate,
        server_key=server.key,
        client=client.certificate,
        client_key=client.key,
        locked_key=locked_key,
    )


class RedisServer(Child):
    """Debian's Redis, in memory only, with a port for TLS, one without, and a Unix socket."""

    name = "Redis"

    def __init__(self, directory: Path, certificates: Certificates, *, wants_certificates: bool = False) -> None:
        """`wants_certificates`: require certificates of clients."""
        super().__init__(directory)
        self.port, self.plain_port = free_port(), free_port()
        self.socket = self.directory / "redis.sock"
        self._certificates = certificates
        self._wants_certificates = wants_certificates

    @property
    def url(self) -> str:
        """The URL of the port without TLS."""
        return f"redis://{LOOPBACK}:{self.plain_port}/0"

    def url_of(self, user: str = "", rest: str = "/0") -> str:
        """The URL of the port with TLS; `user` ends with an @."""
        return f"rediss://{user}{LOOPBACK}:{self.port}{rest}"

    def command(self) -> Sequence[str]:
        binary = shutil.which("redis-server")
        if binary is None:
            raise ChildError("Redis is not installed (on Debian: apt-get install redis-server)")
        options = {
            "port": str(self.plain_port),
            "tls-port": str(self.port),
            "tls-cert-file": str(self._certificates.server),
            "tls-key-file": str(self._certificates.server_key),
            "tls-ca-cert-file": str(self._certificates.authority),
            "tls-auth-clients": "yes" if self._wants_certificates else "no",
            "bind": LOOPBACK,
            "unixsocket": str(self.socket),
            "dir": str(self.directory),
            "save": "",
        }
        return [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]

    def is_ready(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.RedisError:
                return False
