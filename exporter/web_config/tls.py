"""`tls_server_config` as a context of Python's ssl module.

`port.py` builds one at the start and after a change, and gives it to each new connection.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exporter.errors import SettingsError
from exporter.web_config.file import CIPHERS, CURVES, TlsServer

VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}

VERIFYING = {"VerifyClientCertIfGiven": ssl.CERT_OPTIONAL, "RequireAndVerifyClientCert": ssl.CERT_REQUIRED}
"""The types by which a certificate matters. `RequestClientCert` asks for one, and uses it for nothing."""


def build_context(tls: TlsServer, directory: Path) -> ssl.SSLContext:
    """Return the context for new connections. Raises SettingsError, which names the key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    _set_versions(context, tls)
    if names := [CIPHERS[name] for name in tls.cipher_suites if CIPHERS[name]]:
        context.set_ciphers(":".join(names))
    if len(tls.curve_preferences) > 1:
        raise SettingsError(
            "tls_server_config.curve_preferences: more than one curve is not supported: name one, or none"
        )
    for curve in tls.curve_preferences:
        context.set_ecdh_curve(CURVES[curve])
    _load_certificate(context, tls, directory)
    _verify_clients(context, tls, directory)
    return context


def _set_versions(context: ssl.SSLContext, tls: TlsServer) -> None:
    least, most = VERSIONS[tls.min_version], VERSIONS[tls.max_version]
    if least > most:
        raise SettingsError("tls_server_config.min_version: is newer than max_version")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the old versions
        context.minimum_version, context.maximum_version = least, most


def _load_certificate(context: ssl.SSLContext, tls: TlsServer, directory: Path) -> None:
    pairs = (("cert", tls.cert, tls.cert_file), ("key", tls.key.get_secret_value(), tls.key_file))
    for name, text, file in pairs:
        if not text and not file:
            raise SettingsError(f"tls_server_config.{name}_file: is missing, and so is {name}")
    with (
        _as_file("cert", tls.cert, tls.cert_file, directory) as certificate,
        _as_file("key", tls.key.get_secret_value(), tls.key_file, directory) as key,
    ):
        try:
            context.load_cert_chain(certificate, key, password="")  # an encrypted key must not ask at the terminal
        except (ssl.SSLError, ValueError) as error:
            mismatch = "KEY_VALUES_MISMATCH" in str(error)
            problem = "does not belong to the certificate" if mismatch else "no certificate and key in PEM, unencrypted"
            raise SettingsError(f"tls_server_config.key_file: {problem}") from None


@contextmanager
def _as_file(name: str, text: str, file: str, directory: Path) -> Iterator[str]:
    """The path of the file or, for text in the configuration, of a file in memory."""
    if file:
        path = directory / file
        try:
            path.read_bytes()
        except OSError as error:
            raise SettingsError(f"tls_server_config.{name}_file: {path} cannot be read: {error.strerror}") from None
        yield str(path)
        return
    descriptor = os.memfd_create(name)
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _verify_clients(context: ssl.SSLContext, tls: TlsServer, directory: Path) -> None:
    kind = tls.client_auth_type
    if kind in ("RequireAnyClientCert", "RequireClientCert"):
        raise SettingsError(
            f"tls_server_config.client_auth_type: {kind} is not supported, as it accepts any certificate without a"
            " check: use RequireAndVerifyClientCert with client_ca_file"
        )
    if kind in ("", "NoClientCert") and (tls.client_ca_file or tls.client_ca):
        raise SettingsError("tls_server_config.client_auth_type: is missing, though client CAs are set")
    if tls.client_allowed_sans is not None and kind != "RequireAndVerifyClientCert":
        raise SettingsError("tls_server_config.client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert")
    if kind not in VERIFYING:
        return
    context.verify_mode = VERIFYING[kind]
    if not tls.client_ca_file and not tls.client_ca:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    with _as_file("client_ca", tls.client_ca, tls.client_ca_file, directory) as authorities:
        try:
            context.load_verify_locations(authorities)
        except ssl.SSLError:
            raise SettingsError("tls_server_config.client_ca_file: no certificates in PEM") from None


def names_of(certificate: Mapping[str, Any]) -> set[str]:
    """The subject's alternative names of a verified certificate, as `getpeercert` returns it."""
    names = set()
    for kind, name in certificate.get("subjectAltName", ()):
        names.add(str(ipaddress.ip_address(name)) if kind == "IP Address" else name)
    return names
