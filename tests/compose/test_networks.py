"""Networks, ports and addresses of docker-compose.yml and its overlay: every service reaches the services that it is
configured with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from exporter.settings import Settings
from presentation.panels import GRAFANA_PATH
from tests.compose.stack import COMPOSE, EACH, EVERY, OVERLAY, ROOT, URL, Service, listens_at, services, stack


def test_only_the_analytics_section_is_published_and_only_here() -> None:
    published = {name: service["ports"] for name, service in EVERY.items() if "ports" in service}
    admin = Settings.model_fields["admin_listen"].default.port
    assert published == {"exporter": [f"127.0.0.1:{admin}:{admin}"]}
    assert EVERY["exporter"]["environment"]["HIVESYNC_ADMIN_LISTEN"].endswith(f":{admin}")


def test_grafana_believes_the_exporter_and_nobody_else() -> None:
    monitoring = stack(COMPOSE)["networks"]["monitoring"]
    address = EVERY["exporter"]["networks"]["monitoring"]["ipv4_address"]
    assert EVERY["grafana"]["environment"]["GF_AUTH_PROXY_WHITELIST"] == address
    (addresses,) = monitoring["ipam"]["config"]
    assert ip_address(address) in ip_network(addresses["subnet"])
    assert ip_address(address) not in ip_network(addresses["ip_range"]), "another container may get it"
    # With one common network, Grafana sees one address.
    assert EVERY["grafana"]["networks"].keys() & EVERY["exporter"]["networks"].keys() == {"monitoring"}
    root = urlsplit(EVERY["grafana"]["environment"]["GF_SERVER_ROOT_URL"])
    assert (root.path, root.port) == (GRAFANA_PATH, Settings.model_fields["admin_listen"].default.port)
    assert f"{GRAFANA_PATH}api/health" in EVERY["grafana"]["healthcheck"]["test"][-1]


def test_the_exporter_believes_the_proxy_in_front_and_nobody_else() -> None:
    """A connection to the published port comes from the gateway of the one network that is not internal."""
    networks = stack(COMPOSE, OVERLAY)["networks"]
    (outside,) = [name for name in EVERY["exporter"]["networks"] if not networks[name].get("internal")]
    (addresses,) = networks[outside]["ipam"]["config"]
    assert ip_address(addresses["gateway"]) in ip_network(addresses["subnet"])
    assert EVERY["exporter"]["environment"]["HIVESYNC_ADMIN_TRUSTED_PROXIES"] == addresses["gateway"]
    (other,) = networks["monitoring"]["ipam"]["config"]
    assert not ip_network(addresses["subnet"]).overlaps(ip_network(other["subnet"]))
    public = EVERY["exporter"]["environment"]["HIVESYNC_PUBLIC_URL"]
    assert EVERY["grafana"]["environment"]["GF_SERVER_ROOT_URL"] == f"{public}{GRAFANA_PATH}"


def test_what_watches_reaches_no_further() -> None:
    networks = stack(COMPOSE, OVERLAY)["networks"]
    assert [name for name, network in networks.items() if network.get("internal")] == ["monitoring"]
    assert EVERY["prometheus"]["networks"].keys() == {"monitoring"}


def addresses(service: Service) -> set[tuple[str, int]]:
    """The services and ports that a service is configured with, as `http://name:port` and the like."""
    told = " ".join(str(word) for word in (*service["environment"].values(), *service.get("command", [])))
    found = {(host, int(port)) for host, port in URL.findall(told) if host in EVERY}
    told_without_port = re.findall(r"-storageNode=([\w-]+)", told)
    return found | {(host, 8400) for host in told_without_port}


@pytest.mark.parametrize(("known", "name"), EACH)
def test_who_is_told_of_whom_reaches_them(known: Mapping[str, Service], name: str) -> None:
    for other, port in addresses(known[name]):
        assert port in listens_at(known[other]), f"{name} -> {other}:{port}"
        assert known[name]["networks"].keys() & known[other]["networks"].keys(), f"{name} -> {other}"


@pytest.mark.parametrize(
    ("files", "configuration"), [((COMPOSE,), "prometheus.yml"), ((COMPOSE, OVERLAY), "scale.yml")]
)
def test_prometheus_scrapes_and_tells_services_that_are_there(files: tuple[Path, ...], configuration: str) -> None:
    known = services(*files)
    prometheus = known["prometheus"]
    assert f"--config.file=/etc/prometheus/{configuration}" in prometheus["command"]
    read = yaml.safe_load((ROOT / "prometheus" / configuration).read_text())
    scraped = [
        target for job in read["scrape_configs"] for group in job["static_configs"] for target in group["targets"]
    ]
    told = [target for group in read["alerting"]["alertmanagers"][0]["static_configs"] for target in group["targets"]]
    assert len(scraped) == len(of_ours_with_metrics(known))
    for address in (*scraped, *told):
        host, _, port = address.partition(":")
        assert int(port) in listens_at(known[host])
        assert known[host]["networks"].keys() & prometheus["networks"].keys()


def of_ours_with_metrics(known: Mapping[str, Service]) -> list[str]:
    return [name for name, service in known.items() if "HIVESYNC_METRICS_LISTEN" in service["environment"]]


def test_the_configuration_for_two_hosts_is_the_one_for_one_otherwise() -> None:
    one, two = (yaml.safe_load((ROOT / "prometheus" / f"{name}.yml").read_text()) for name in ("prometheus", "scale"))
    for part in ("global", "rule_files", "alerting"):
        assert one[part] == two[part]
    hosts = [group["labels"]["log_host"] for group in two["scrape_configs"][0]["static_configs"]]
    assert len(set(hosts)) == len(hosts) == 2
    ours = yaml.safe_load((ROOT / "prometheus" / "remote_write.yml").read_text())["remote_write"][0]
    commented = (ROOT / "prometheus" / "remote_write.yml").read_text()
    assert f"# url: {two['remote_write'][0]['url']} #" in commented
    assert two["remote_write"][0].keys() == ours.keys()
