"""The file of `--web.config.file`: every key, and errors that name file and key and no secret."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.errors import SettingsError
from exporter.web_config.file import CIPHERS, CURVES, WebConfig, read_file
from exporter.web_config.port import PortConfig
from exporter.web_config.tls import build_context, names_of
from tests.certificates import Authority
from tests.exporter.web_config.secured import HASH, TLS

EVERYTHING = """
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: authority.crt
  client_allowed_sans: [prometheus.example, 127.0.0.1]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: true
  curve_preferences: [X25519]
http_server_config:
  http2: false
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    X-XSS-Protection: "1"
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  alice: HASH
  7: HASH
rate_limit:
  interval: 1m1.5s
  burst: 20
""".replace("HASH", HASH)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a certificate, its key and its authority."""
    authority = Authority.create()
    authority.write(tmp_path / "authority.crt")
    authority.issue(tmp_path, "server")
    authority.issue(tmp_path, "other")
    (tmp_path / "text.txt").write_text("text")
    return tmp_path


def written(folder: Path, content: str | dict[str, Any]) -> Path:
    file = folder / "web.yml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def test_every_key_of_the_format_is_read(folder: Path) -> None:
    config = read_file(written(folder, EVERYTHING))
    assert set(config.basic_auth_users) == {"alice", "7"}
    assert (config.rate_limit.interval, config.rate_limit.burst) == (61.5, 20)
    context = build_context(config.tls_server_config, folder)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert {"ECDHE-ECDSA-AES128-GCM-SHA256"} == {
        cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"
    }
    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert PortConfig(folder / "web.yml", "metrics", "F").scheme == "https"


@pytest.mark.parametrize("content", ["", "{}", "# nothing\n", "tls_server_config:\nbasic_auth_users:\n"])
def test_a_file_that_sets_nothing_protects_nothing(folder: Path, content: str) -> None:
    assert read_file(written(folder, content)) == WebConfig()
    assert PortConfig(folder / "web.yml", "metrics", "F").context is None


def test_certificate_key_and_authority_may_stand_in_the_file(folder: Path) -> None:
    texts = {"cert": "server.crt", "key": "server.key", "client_ca": "authority.crt"}
    tls = {name: (folder / file).read_text() for name, file in texts.items()}
    config = read_file(written(folder, {"tls_server_config": {**tls, "client_auth_type": "VerifyClientCertIfGiven"}}))
    assert build_context(config.tls_server_config, folder).verify_mode is ssl.CERT_OPTIONAL
    assert "BEGIN PRIVATE KEY" not in repr(config)


def test_all_cipher_suites_and_curves_are_known_to_openssl(folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(":".join(name for name in CIPHERS.values() if name) + ":@SECLEVEL=0")
    assert {cipher["name"] for cipher in context.get_ciphers()} >= {name for name in CIPHERS.values() if name}
    for curve in CURVES.values():
        context.set_ecdh_curve(curve)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- a list", "should be a mapping with tls_server_config"),
        ("a: [", "line 1: is not valid YAML"),
        ("a: 1\na: 2", "line 1: is not valid YAML: a key is there twice"),
        ("basic_auth_users: {alice: !!python/name:os.system }", "is not valid YAML"),
        ({"tls_config": {}}, "tls_config: there is no such key"),
        ({"tls_server_config": {"ca_file": "x"}}, "tls_server_config.ca_file: there is no such key"),
        ({"tls_server_config": {"cert_file": "server.crt"}}, "tls_server_config.key_file: is missing"),
        ({"tls_server_config": {"client_auth_type": "NoClientCert"}}, "tls_server_config.cert_file: is missing"),
        ({"tls_server_config": {**TLS, "cert_file": "nowhere"}}, "tls_server_config.cert_file: "),
        ({"tls_server_config": {**TLS, "key_file": "nowhere"}}, "nowhere cannot be read: No such file"),
        ({"tls_server_config": {**TLS, "key_file": "other.key"}}, "key_file: does not belong to the certificate"),
        ({"tls_server_config": {**TLS, "key_file": "text.txt"}}, "tls_server_config.key_file: no certificate and key"),
        ({"tls_server_config": {**TLS, "min_version": "SSL3"}}, "tls_server_config.min_version: "),
        ({"tls_server_config": {**TLS, "min_version": "TLS13", "max_version": "TLS12"}}, "min_version: is newer than"),
        (
            {"tls_server_config": {**TLS, "cipher_suites": ["RC4"]}},
            "tls_server_config.cipher_suites.0: is not a cipher",
        ),
        ({"tls_server_config": {**TLS, "curve_preferences": ["X"]}}, "tls_server_config.curve_preferences.0: "),
        ({"tls_server_config": {**TLS, "curve_preferences": ["X25519", "CurveP256"]}}, "more than one curve"),
        ({"tls_server_config": {**TLS, "client_auth_type": "Always"}}, "tls_server_config.client_auth_type: "),
        ({"tls_server_config": {**TLS, "client_auth_type": "RequireAnyClientCert"}}, "use RequireAndVerifyClientCert"),
        ({"tls_server_config": {**TLS, "client_auth_type": "RequireClientCert"}}, "use RequireAndVerifyClientCert"),
        ({"tls_server_config": {**TLS, "client_ca_file": "authority.crt"}}, "client_auth_type: is missing"),
        ({"tls_server_config": {**TLS, "client_allowed_sans": ["a"]}}, "client_allowed_sans: needs client_auth_type"),
        (
            {
                "tls_server_config": {
                    **TLS,
                    "client_auth_type": "RequireAndVerifyClientCert",
                    "client_ca_file": "text.txt",
                }
            },
            "tls_server_config.client_ca_file: no certificates",
        ),
        ({"http_server_config": {"headers": {"Server": "x"}}}, "http_server_config.headers: Server cannot be set"),
        ({"http_server_config": {"headers": {"X-Frame-Options": "x"}}}, "X-Frame-Options should be deny or sameorigin"),
        (
            {"http_server_config": {"headers": {"X-XSS-Protection": "1\r\nX: y"}}},
            "X-XSS-Protection should be printable ASCII",
        ),
        ({"http_server_config": {"http2": "often"}}, "http_server_config.http2: "),
        ({"basic_auth_users": {"alice": "hunter2"}}, "basic_auth_users.alice: should be a bcrypt hash"),
        ({"basic_auth_users": ["hunter2"]}, "basic_auth_users: "),
        ({"rate_limit": {"interval": "hunter2"}}, "rate_limit.interval: should be a duration"),
        ({"rate_limit": {"interval": "1s", "burst": -1}}, "rate_limit.burst: "),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_error_names_file_and_key_and_nothing_secret(
    folder: Path, content: str | dict[str, Any], problem: str
) -> None:
    file = written(folder, content)
    with pytest.raises(SettingsError) as caught:
        PortConfig(file, "metrics", "--web.config.file")
    message = str(caught.value)
    assert message.startswith(f"--web.config.file: {file}: ")
    assert problem in message
    assert "hunter2" not in message


def test_a_file_that_is_not_there_or_no_text_is_said(folder: Path) -> None:
    (folder / "bytes").write_bytes(b"\xff")
    for name, problem in (("nowhere", "No such file or directory"), ("bytes", "not UTF-8"), (".", "Is a directory")):
        with pytest.raises(SettingsError, match=f"cannot be read: {problem}"):
            read_file(folder / name)


def test_names_of_a_certificate_are_compared_as_they_are_usually_written() -> None:
    names = (("DNS", "a.example"), ("IP Address", "2001:DB8:0:0:0:0:0:1"), ("email", "a@b"), ("URI", "spiffe://x/y"))
    assert names_of({"subjectAltName": names}) == {"a.example", "2001:db8::1", "a@b", "spiffe://x/y"}
    assert names_of({}) == set()
