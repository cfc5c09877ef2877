"""Certificates for tests of TLS: an authority, a server and a client signed by it.

authority = Authority.create("authority")
server = authority.issue(directory, "server")
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from servers.ports import LOOPBACK


@dataclass(frozen=True)
class Issued:
    """The files of a certificate and its key (PEM), and its serial number."""

    certificate: Path
    key: Path
    serial: int


@dataclass(frozen=True)
class Authority:
    """A self-signed authority."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str = "authority") -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(_sign(name, key, key, None, ()), key)

    def write(self, file: Path) -> Path:
        """Write its certificate."""
        file.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return file

    def issue(self, directory: Path, name: str, *dns: str) -> Issued:
        """Write a certificate for 127.0.0.1 and these names, and its key, in place of those of the same name."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(name, key, self.key, self.certificate, dns)
        issued = Issued(directory / f"{name}.crt", directory / f"{name}.key", certificate.serial_number)
        issued.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        issued.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return issued


def _sign(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    dns: tuple[str, ...],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names = [x509.IPAddress(IPv4Address(LOOPBACK)), *map(x509.DNSName, dns)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return builder.sign(by, SHA256())
