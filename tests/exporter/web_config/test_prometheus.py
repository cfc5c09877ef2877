"""A real Prometheus scrapes a real exporter over TLS: with a password, and with certificates on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
import yaml

from servers.prometheus import PrometheusServer
from tests.certificates import Authority
from tests.exporter.web_config.secured import HASH, TLS, Place, SecuredExporter, serial_of
from tests.running import get
from tests.waiting import until

pytestmark = pytest.mark.prometheus


@contextmanager
def scraping(place: Place, exporter: SecuredExporter, **client: Any) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes over TLS with these parts of a scrape configuration."""
    target = {
        "job_name": "hivesync",
        "scheme": "https",
        "static_configs": [{"targets": [exporter.address_of("metrics")]}],
        "tls_config": {"ca_file": str(place.folder / "authority.crt")} | client.pop("tls_config", {}),
        **client,
    }
    configuration = place.folder / "prometheus.yml"
    configuration.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [target]}))
    with PrometheusServer(place.folder / "prometheus", configuration=configuration) as prometheus:
        yield prometheus


def value_of(prometheus: PrometheusServer, query: str) -> float | None:
    """The value of an expression; None without a sample."""
    _, _, body = get(f"{prometheus.url}/api/v1/query?{urlencode({'query': query})}")
    result = orjson.loads(body)["data"]["result"]
    return float(result[0]["value"][1]) if result else None


def is_scraped(prometheus: PrometheusServer, since: float) -> bool:
    """Whether a sample of the exporter was scraped after that time of Prometheus."""
    scraped = value_of(prometheus, "timestamp(hivesync_exporter_build_info)")
    return scraped is not None and scraped > since


@contextmanager
def running(folder: Path, place: Place) -> Iterator[SecuredExporter]:
    exporter = SecuredExporter(folder, web_config_file=place.file)
    exporter.launch()
    try:
        yield exporter
    finally:
        exporter.stop()


def test_prometheus_scrapes_with_a_password_and_through_replaced_certificates(tmp_path: Path) -> None:
    """The new ones are of another authority: Prometheus reads it, and reconnects."""
    place = Place(tmp_path / "web")
    place.write(tls_server_config=TLS, basic_auth_users={"alice": HASH})
    with (
        running(tmp_path, place) as exporter,
        scraping(place, exporter, basic_auth={"username": "alice", "password": "secret"}) as prometheus,
    ):
        until(lambda: is_scraped(prometheus, 0), "a scrape")
        place.authority = Authority.create()
        place.authority.write(place.folder / "authority.crt")
        renewed = place.authority.issue(place.folder, "server")
        address = exporter.address_of("metrics")
        until(lambda: presents(address, place) == renewed.serial, "the new certificate")
        now = value_of(prometheus, "vector(time())")
        assert now is not None
        until(lambda: is_scraped(prometheus, now + 2), "a scrape with the new certificate")


def presents(address: str, place: Place) -> int | None:
    """The serial number of the server's certificate; None while it is not of the authority."""
    try:
        return serial_of(address, place.context())
    except OSError:
        return None


def test_prometheus_is_refused_without_the_password(tmp_path: Path) -> None:
    place = Place(tmp_path / "web")
    place.write(tls_server_config=TLS, basic_auth_users={"alice": HASH})
    with (
        running(tmp_path, place) as exporter,
        scraping(place, exporter, basic_auth={"username": "alice", "password": "guess"}) as prometheus,
    ):
        until(lambda: value_of(prometheus, "up") == 0, "a scrape that failed")
        assert not is_scraped(prometheus, 0)


def test_prometheus_scrapes_with_certificates_on_both_sides(tmp_path: Path) -> None:
    place = Place(tmp_path / "web")
    place.write(
        tls_server_config={
            **TLS,
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "authority.crt",
            "client_allowed_sans": ["prometheus.example"],
            "min_version": "TLS13",
        }
    )
    own = {"cert_file": str(place.client.certificate), "key_file": str(place.client.key)}
    with running(tmp_path, place) as exporter:
        with scraping(place, exporter, tls_config=own) as prometheus:
            until(lambda: is_scraped(prometheus, 0), "a scrape")
        with scraping(place, exporter) as prometheus:
            until(lambda: value_of(prometheus, "up") == 0, "a scrape that failed")
