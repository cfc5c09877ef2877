"""Ports with a web configuration: guarded, scraped by their own scheme, and asked through the control socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.doctor.findings import Verdict
from tests.exporter.doctor.faults import LOOK, WRONG
from tests.exporter.doctor.house import House
from tests.exporter.web_config.secured import HASH, TLS, Place, SecuredExporter

PASSWORDS = {"basic_auth_users": {"prometheus": HASH}}
ENCRYPTED = {"tls_server_config": TLS}
CERTIFICATES = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "authority.crt"}
MUTUAL = {"tls_server_config": TLS | CERTIFICATES}

BY_PASSWORD = "    basic_auth:\n      username: prometheus"
BY_TLS = "    scheme: https\n    tls_config:\n      ca_file: "
BY_CERTIFICATE = "      cert_file: prometheus.crt\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "web")


def open_port(house: House, place: Place, port: str, content: dict[str, object]) -> None:
    """Listen on every interface, with this web configuration."""
    prefix = {"metrics": "", "admin": "ADMIN_"}[port]
    house.env[f"HIVESYNC_{port.upper()}_LISTEN"] = "0.0.0.0:23456"
    house.env[f"HIVESYNC_{prefix}WEB_CONFIG_FILE"] = str(place.write(**content))


@pytest.mark.parametrize(
    ("port", "content", "found"),
    [
        ("metrics", ENCRYPTED | PASSWORDS, ""),
        ("metrics", MUTUAL, ""),
        ("metrics", ENCRYPTED, "/metrics is encrypted, and open"),
        ("metrics", PASSWORDS, "/metrics: its passwords pass the network unencrypted"),
        ("metrics", {"rate_limit": {"interval": "1s", "burst": 9}}, "/metrics listens on every interface"),
        ("admin", ENCRYPTED, ""),
        ("admin", PASSWORDS, "the Analytics section: its passwords"),
        ("admin", {}, "the Analytics section listens on every interface"),
    ],
)
def test_a_port_on_every_interface_is_guarded_by_its_web_configuration(
    port: str, content: dict[str, object], found: str, house: House, place: Place
) -> None:
    open_port(house, place, port, content)
    texts = [each.found for each in house.new_findings("admin") if each.check == "admin.ports"]
    assert len(texts) == bool(found)
    assert all(text.startswith(found) for text in texts)


@pytest.mark.parametrize(
    ("content", "has", "has_not"),
    [
        (PASSWORDS, (BY_PASSWORD,), (BY_TLS, BY_CERTIFICATE)),
        (ENCRYPTED, (BY_TLS,), (BY_PASSWORD, BY_CERTIFICATE)),
        (MUTUAL | PASSWORDS, (BY_TLS, BY_CERTIFICATE, BY_PASSWORD), ()),
        ({}, (), (BY_TLS, BY_CERTIFICATE, BY_PASSWORD)),
    ],
)
def test_the_scrape_configuration_is_that_of_the_port(
    content: dict[str, object], has: tuple[str, ...], has_not: tuple[str, ...], house: House, place: Place
) -> None:
    house.env["HIVESYNC_WEB_CONFIG_FILE"] = str(place.write(**content))
    house.prometheus["targets"] = {"activeTargets": []}
    (found,) = house.new_findings("prometheus")
    assert found.check == "prometheus.scrapes"
    assert all(part in found.mend for part in has)
    assert not any(part in found.mend for part in has_not)


def test_a_target_of_the_other_scheme_is_found(house: House, place: Place) -> None:
    house.env["HIVESYNC_WEB_CONFIG_FILE"] = str(place.write(**ENCRYPTED))
    (target,) = house.prometheus["targets"]["activeTargets"]
    target["health"] = "down"
    (found,) = house.new_findings("prometheus")
    assert (found.check, found.verdict) == ("prometheus.scrapes", WRONG)
    assert "by another scheme than https" in found.found
    assert BY_TLS in found.mend
    target["scrapeUrl"] = target["scrapeUrl"].replace("http:", "https:")
    target["health"] = "up"
    assert house.new_findings("prometheus") == []


@pytest.mark.parametrize("content", [PASSWORDS, ENCRYPTED, MUTUAL | PASSWORDS])
def test_an_exporter_behind_its_guard_is_asked_through_its_socket(
    content: dict[str, object], house: House, place: Place, tmp_path: Path
) -> None:
    file = place.write(**content)
    with SecuredExporter(tmp_path / "running", web_config_file=file) as running:
        house.env["HIVESYNC_WEB_CONFIG_FILE"] = str(file)
        house.env["HIVESYNC_STATE_DIR"] = str(running.state)
        house.env["HIVESYNC_METRICS_LISTEN"] = running.address_of("metrics")
        (found,) = (each for each in house.examine("state") if each.check == "state.exporter")
        assert found.verdict is Verdict.OK
        assert "its port is guarded by the web configuration" in found.found
    assert {(each.check, each.verdict) for each in house.new_findings("state")} == {("state.exporter", LOOK)}
