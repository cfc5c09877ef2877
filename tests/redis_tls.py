"""Redis with TLS, users and a password, as a child process, and the certificates for it and its clients.

certificates = make_certificates(directory)
with RedisServer(directory, certificates) as server:
    server.url_of("reader:pw@", f"?ssl_ca_certs={certificates.authority}")
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import redis
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from servers.child import Child, ChildError
from servers.ports import LOOPBACK, free_port

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
    certificates = Certificates(*(directory / f"{name}.pem" for name in Certificates.__dataclass_fields__))
    key, authority = _signed("authority")
    _, stranger = _signed("stranger")
    for path, certificate in ((certificates.authority, authority), (certificates.stranger, stranger)):
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
    for path, key_path in (
        (certificates.server, certificates.server_key),
        (certificates.client, certificates.client_key),
    ):
        own, certificate = _signed(path.stem, key, authority)
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        key_path.write_bytes(_pem(own, NoEncryption()))
    certificates.locked_key.write_bytes(_pem(own, BestAvailableEncryption(KEY_PASSWORD.encode())))
    return certificates


def _pem(key: ec.EllipticCurvePrivateKey, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _signed(
    name: str, issuer_key: ec.EllipticCurvePrivateKey | None = None, issuer: x509.Certificate | None = None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A key and its certificate; without an issuer, a self-signed one of an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(LOOPBACK))]), critical=False)
    )
    return key, builder.sign(issuer_key or key, SHA256())


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
