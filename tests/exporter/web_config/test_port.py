"""Both ports of a real exporter with web configurations: TLS, passwords, headers, and changes while it runs."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.exporter.web_config.secured import HASH, TLS, USER, Place, SecuredExporter, ask, serial_of
from tests.running import get, run_exporter
from tests.serving import Client, request
from tests.waiting import until

PATHS = ("/", "/metrics", "/-/healthy", "/-/ready", "/nothing")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "web")


@contextmanager
def running(place: Place, **content: Any) -> Iterator[SecuredExporter]:
    """An exporter with this configuration of its metrics port."""
    exporter = SecuredExporter(place.folder.parent, web_config_file=place.write(**content))
    exporter.launch()
    try:
        yield exporter
    finally:
        exporter.stop()


def test_every_path_asks_for_the_password_and_has_the_headers(place: Place) -> None:
    """Health and readiness too, as with exporter-toolkit; the container's health check needs no password."""
    headers = {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=9", "X-XSS-Protection": ""}
    with running(
        place,
        tls_server_config=TLS,
        http_server_config={"http2": True, "headers": headers},
        basic_auth_users={"alice": HASH},
    ) as exporter:
        address, context = exporter.address_of("metrics"), place.context()
        for path in PATHS:
            refused = ask(address, path, context)
            assert (refused[0], refused[1]["www-authenticate"]) == (401, 'Basic realm="hivesync-analytics"')
            for _ in range(2):
                answer = ask(address, path, context, USER)
                assert answer[0] in ((404,) if path == "/nothing" else (200, 503))
                for _, shown, _ in (answer, refused):
                    assert (shown["x-frame-options"], shown["strict-transport-security"]) == ("deny", "max-age=9")
                    assert "x-xss-protection" not in shown
        assert ask(address, "/metrics", context, {"Authorization": USER["Authorization"] + "x"})[0] == 401
        with pytest.raises(ConnectionError):
            get(f"http://{address}/metrics")
        health = exporter.command_line("health")
        assert (health.returncode, health.stdout) == (0, f"the exporter on {exporter.state} is healthy and ready\n")
        events = exporter.events()
        assert [event["port"] for event in events if event["event"] == "web.config.unsupported"] == ["metrics"]
        assert HASH not in exporter.log.read_text()


def test_one_password_does_not_open_the_connection_for_the_next_request(place: Place) -> None:
    """Nor do the bytes of a request that was answered before the users were changed."""
    with running(place, basic_auth_users={"alice": HASH}) as exporter:
        host, _, port = exporter.address_of("metrics").rpartition(":")
        with Client((host, int(port))) as client:
            for _ in range(3):
                assert client.ask("/metrics", USER).status == 200
                assert client.ask("/metrics").status == 401
            two = {"Authorization": f"{USER['Authorization']}\r\nAuthorization: Basic eDp4"}
            client.send(request("/metrics", two))
            assert client.read().status == 401
            place.write(basic_auth_users={"bob": HASH})
            until(lambda: client.ask("/metrics", USER).status == 401, "the user is gone")


def test_replaced_certificates_are_used_by_new_connections(place: Place) -> None:
    with running(place, tls_server_config=TLS) as exporter:
        address, context = exporter.address_of("metrics"), place.context()
        assert serial_of(address, context) == place.server.serial
        renewed = place.authority.issue(place.folder, "server")
        until(lambda: serial_of(address, context) == renewed.serial, "the new certificate")
        assert ask(address, "/metrics", context)[0] == 200
        assert [e["event"] for e in exporter.events() if e["event"] == "web.config.reread"]


def test_a_wrong_change_is_said_once_and_the_configuration_before_stays(place: Place) -> None:
    content: dict[str, Any] = {"tls_server_config": TLS, "basic_auth_users": {"alice": HASH}}
    with running(place, **content) as exporter:
        address, context = exporter.address_of("metrics"), place.context()

        def reasons() -> list[str]:
            events = [event for event in exporter.events() if event["event"] == "web.config.refused"]
            return [event["reason"].removeprefix(f"{place.file}: ") for event in events]

        changes: dict[str, dict[str, Any]] = {
            "basic_auth_users.alice: should be a bcrypt hash": {"basic_auth_users": {"alice": "hunter2"}},
            "tls_server_config: TLS begins or ends with a restart only": {"tls_server_config": {}},
            "basic_auth_users: the passwords end with a restart only": {"basic_auth_users": {}},
            "tls: there is no such key": {"tls": {}},
        }
        for number, (reason, change) in enumerate(changes.items(), 1):
            place.write(**content | change)
            until(lambda: len(reasons()) == number, "it is said")  # noqa: B023
            assert reasons()[-1].startswith(reason)
            assert ask(address, "/metrics", context, USER)[0] == 200
            assert ask(address, "/metrics", context)[0] == 401
        place.file.unlink()
        until(lambda: reasons()[-1].startswith("cannot be read: No such file"), "it is said")
        place.write(**content | {"basic_auth_users": {"alice": HASH, "bob": HASH}})
        until(lambda: [e for e in exporter.events() if e["event"] == "web.config.reread"], "used again")
        assert len(reasons()) == len(changes) + 1
        assert "hunter2" not in exporter.log.read_text()


@pytest.mark.parametrize(
    ("kind", "without", "of_a_stranger", "of_a_client"),
    [
        ("NoClientCert", True, True, True),
        ("RequestClientCert", True, True, True),
        ("VerifyClientCertIfGiven", True, False, True),
        ("RequireAndVerifyClientCert", False, False, True),
    ],
)
def test_client_certificates_are_required_and_verified_by_type(
    place: Place, kind: str, without: bool, of_a_stranger: bool, of_a_client: bool
) -> None:
    authority = {"client_ca_file": "authority.crt"} if kind != "NoClientCert" else {}
    stranger = Place(place.folder / "stranger").client
    with running(place, tls_server_config={**TLS, "client_auth_type": kind, **authority}) as exporter:
        for certificate, welcome in ((None, without), (stranger, of_a_stranger), (place.client, of_a_client)):
            assert is_welcome(exporter, place.context(certificate)) == welcome


def is_welcome(exporter: SecuredExporter, context: ssl.SSLContext) -> bool:
    """Whether a client is answered, or refused in the handshake."""
    try:
        return ask(exporter.address_of("metrics"), "/metrics", context)[0] == 200
    except OSError:  # also of ssl
        return False


def test_only_certificates_with_an_allowed_name_are_welcome(place: Place) -> None:
    tls = {**TLS, "client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "authority.crt"}
    other = place.authority.issue(place.folder, "other", "other.example")
    with running(place, tls_server_config={**tls, "client_allowed_sans": ["prometheus.example"]}) as exporter:
        assert is_welcome(exporter, place.context(place.client))
        assert not is_welcome(exporter, place.context(other))
        assert not is_welcome(exporter, place.context())


def test_versions_and_cipher_suites_are_those_of_the_file(place: Place) -> None:
    suites = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]
    with running(place, tls_server_config={**TLS, "max_version": "TLS12", "cipher_suites": suites}) as exporter:
        assert is_welcome(exporter, place.context())
        modern, other = place.context(), place.context()
        modern.minimum_version = ssl.TLSVersion.TLSv1_3
        other.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        assert not is_welcome(exporter, modern)
        assert not is_welcome(exporter, other)


def test_more_requests_than_the_rate_limit_are_refused(place: Place) -> None:
    with running(place, rate_limit={"interval": "1h", "burst": 5}) as exporter:
        statuses = [get(f"{exporter.url}/metrics")[0] for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3


def test_the_admin_port_has_a_file_of_its_own(place: Place) -> None:
    """Its cookies are then for TLS only, and the application behind the password sees no password."""
    file = place.write(tls_server_config=TLS, basic_auth_users={"alice": HASH})
    exporter = SecuredExporter(place.folder.parent, admin_web_config_file=file)
    exporter.launch()
    try:
        address, context = exporter.address_of("admin"), place.context()
        key = {"X-API-Key": exporter.variables["HIVESYNC_ADMIN_API_KEY"]}
        assert get(f"{exporter.url}/metrics")[0] == 200
        until(lambda: ask(address, "/admin/analytics/status", context, USER | key)[0] == 200, "the section is loaded")
        assert ask(address, "/admin/analytics/status", context, key)[0] == 401
        assert ask(address, "/admin/analytics/status", context, USER)[1]["content-type"] == "application/problem+json"
        link = exporter.command_line("login-link").stdout
        assert link.startswith(f"https://{address}/admin/analytics/login#code=")
        code = link.strip().rpartition("=")[2].encode()
        form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"https://{address}"}
        status, shown, _ = ask(address, "/admin/analytics/login", context, USER | form, "POST", b"code=" + code)
        assert status == 303
        assert "; Secure" in shown["set-cookie"]
    finally:
        exporter.stop()


def test_a_wrong_file_ends_the_start_with_its_name_and_key(place: Place) -> None:
    file = place.write(tls_server_config={"cert_file": "server.crt"})
    exporter = SecuredExporter(place.folder.parent)
    problem = f"{file}: tls_server_config.key_file: is missing, and so is key\n"
    for options, variables, name in (
        (("--web.config.file", str(file)), {}, "--web.config.file"),
        ((), {"HIVESYNC_WEB_CONFIG_FILE": str(file)}, "HIVESYNC_WEB_CONFIG_FILE"),
        ((), {"HIVESYNC_ADMIN_WEB_CONFIG_FILE": str(file)}, "HIVESYNC_ADMIN_WEB_CONFIG_FILE"),
    ):
        ended = run_exporter({**exporter.environment, **variables}, exporter.directory, options)
        assert ended.returncode == 2
        assert ended.stderr.endswith(f"hivesync-analytics cannot start:\n{name}: {problem}")
