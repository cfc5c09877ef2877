"""Faults of Prometheus, Grafana and the Analytics section: the doctor names each, with the line that makes it good."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from starlette.responses import Response

from exporter.addresses import reachable
from exporter.doctor.admin import LOCATION
from exporter.settings import Settings
from tests.admin.access.credentials import public_pem, rsa_key, token
from tests.exporter.doctor.faults import LOOK, WRONG, Fault, check, env, parametrised
from tests.exporter.doctor.house import House

MANUAL = Path(__file__).parents[3] / "docs" / "operating.md"
NO_WEB = "http://127.0.0.1:1"


def grafana(**changes: object) -> Callable[[House], object]:
    """Harm by another behaviour of Grafana."""
    return lambda house: house.grafana.update(changes)


def prometheus(**changes: object) -> Callable[[House], object]:
    """Harm by other data of Prometheus."""
    return lambda house: house.prometheus.update(changes)


def target(**changes: object) -> Callable[[House], object]:
    """Harm by another target of Prometheus."""
    return lambda house: house.prometheus["targets"]["activeTargets"][0].update(changes)


def first_rule(house: House) -> None:
    house.prometheus["rules"]["groups"][0]["rules"][0]["health"] = "err"


def without_a_rule(house: House) -> None:
    house.prometheus["rules"]["groups"][0]["rules"].pop()


def without_a_panel(house: House) -> None:
    house.grafana["dashboards"]["hivesync-analytics"].pop(3)


def with_token(text: str, **settings: str) -> Callable[[House], object]:
    """Harm by a token to be tried."""

    def harm(house: House) -> None:
        house.token = text
        env(**settings)(house)

    return harm


def weak_rsa(house: House) -> None:
    path = Path(house.directory / "key.pem")
    path.write_bytes(public_pem(rsa_key(1024)))
    house.env["HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE"] = str(path)


JOB = "scrape_configs:\n  - job_name: hivesync"

PROMETHEUS = [
    Fault(
        "no Prometheus",
        env(prometheus_url=NO_WEB),
        "prometheus.reachable",
        WRONG,
        "start Prometheus, or correct",
        False,
    ),
    Fault(
        "another path",
        lambda house: house.env.update(HIVESYNC_PROMETHEUS_URL=house.env["HIVESYNC_PROMETHEUS_URL"] + "/x"),
        "prometheus.reachable",
        WRONG,
        "HIVESYNC_PROMETHEUS_URL=http://prometheus:9090",
        False,
    ),
    Fault(
        "another server's answer",
        prometheus(query=Response("a page")),
        "prometheus.reachable",
        WRONG,
        "HIVESYNC_PROMETHEUS_URL=http://prometheus:9090",
        False,
    ),
    Fault("another job", target(labels={"job": "app"}), "prometheus.scrapes", WRONG, JOB, False),
    Fault("no target", prometheus(targets={"activeTargets": []}), "prometheus.scrapes", WRONG, JOB, False),
    Fault("a target that is down", target(health="down"), "prometheus.scrapes", WRONG, "curl http://127.0.0.1:", False),
    Fault(
        "another exporter's target", target(scrapeUrl="http://other:1/metrics"), "prometheus.scrapes", LOOK, JOB, False
    ),
    Fault(
        "no rules",
        prometheus(rules={"groups": []}),
        "prometheus.rules",
        WRONG,
        "rule_files:\n  - rules/thresholds.yml",
        False,
    ),
    Fault("an old rule file", without_a_rule, "prometheus.rules", LOOK, "cp prometheus/rules/*.yml", False),
    Fault("a rule that fails", first_rule, "prometheus.rules", WRONG, "promtool check rules", False),
    Fault(
        "no Alertmanager",
        prometheus(alertmanagers={"activeAlertmanagers": []}),
        "prometheus.alertmanager",
        LOOK,
        "alertmanagers:",
        False,
    ),
]

GRAFANA = [
    Fault("no Grafana", env(grafana_url=NO_WEB), "grafana.reachable", WRONG, "HIVESYNC_GRAFANA_URL=", False),
    Fault("no path", grafana(path=""), "grafana.reachable", WRONG, "serve_from_sub_path = true", False),
    Fault(
        "anonymous access",
        grafana(anonymous=True),
        "grafana.anonymous",
        WRONG,
        "[auth.anonymous]\nenabled = false",
        False,
    ),
    Fault("no proxy's name", grafana(believes=()), "grafana.proxy", WRONG, "[auth.proxy]\nenabled = true", False),
    Fault("every address' name", grafana(believes=("*",)), "grafana.proxy", WRONG, "whitelist = 127.0.0.1", False),
    Fault("another user", grafana(login="admin"), "grafana.proxy", WRONG, "header_property = username", False),
    Fault("an editor", grafana(role="Admin"), "grafana.proxy", WRONG, "auto_assign_org_role = Viewer", False),
    Fault("no frames", grafana(frames=False), "grafana.embedding", WRONG, "allow_embedding = true", False),
    Fault(
        "no datasource",
        grafana(datasources={"hivesync-prometheus": "OK"}),
        "grafana.datasources",
        WRONG,
        "cp -r grafana/provisioning/datasources",
        False,
    ),
    Fault(
        "an ill datasource",
        grafana(datasources={"hivesync-prometheus": "ERROR", "hivesync-postgres": "OK"}),
        "grafana.datasources",
        WRONG,
        "GF_HIVESYNC_PROMETHEUS_URL=",
        False,
    ),
    Fault("no dashboards", grafana(dashboards={}), "grafana.dashboards", WRONG, "python -m grafana && cp", False),
    Fault("an old dashboard", without_a_panel, "grafana.dashboards", WRONG, "python -m grafana && cp", False),
    Fault(
        "a panel without a value", grafana(frames_of_data=[]), "grafana.panel", LOOK, "see prometheus.scrapes", False
    ),
]

ADMIN = [
    Fault(
        "no credential",
        env(admin_api_key="", admin_jwt_secret=""),
        "admin.credentials",
        LOOK,
        "HIVESYNC_ADMIN_JWT_SECRET=",
        False,
    ),
    Fault(
        "a short secret",
        env(admin_jwt_secret="8fK2mQz9XwVb"),
        "admin.credentials",
        LOOK,
        "openssl rand -hex 24",
        False,
    ),
    Fault(
        "a common key",
        env(admin_api_key="changeme-changeme"),
        "admin.credentials",
        WRONG,
        "openssl rand -hex 24",
        False,
    ),
    Fault("a short RSA key", weak_rsa, "admin.credentials", LOOK, "openssl genrsa", False),
    Fault(
        "a token of another secret",
        with_token(token("another secret, which is long enough")),
        "admin.token",
        WRONG,
        "HIVESYNC_ADMIN_JWT_SECRET=...",
        False,
    ),
    Fault(
        "a token that has expired",
        with_token(token(exp=int(time.time()) - 100)),
        "admin.token",
        WRONG,
        "a new login",
        False,
    ),
    Fault(
        "a token with another algorithm",
        with_token(token(rsa_key(), "RS256")),
        "admin.token",
        WRONG,
        "for RS256 and ES256",
        False,
    ),
    Fault("half a token", with_token("eyJ"), "admin.token", WRONG, "the whole token, without Bearer", False),
    Fault(
        "a token with another claim",
        with_token(token(scope=None, tier="Admin")),
        "admin.token",
        WRONG,
        "HIVESYNC_ADMIN_JWT_CLAIM=tier=Admin",
    ),
    Fault(
        "a token of no admin",
        with_token(token(scope="user")),
        "admin.token",
        WRONG,
        "HIVESYNC_ADMIN_JWT_CLAIM=NAME=VALUE",
        False,
    ),
    Fault(
        "a token without a key",
        with_token(token(), admin_jwt_secret=""),
        "admin.token",
        WRONG,
        "HIVESYNC_ADMIN_JWT_SECRET=...",
        False,
    ),
]


@parametrised([*PROMETHEUS, *GRAFANA, *ADMIN])
def test_a_fault_of_a_web_server_is_found_and_made_good(house: House, fault: Fault) -> None:
    check(house, fault, "settings", "prometheus", "grafana", "admin")


def test_a_good_token_is_said_to_be_let_in(house: House) -> None:
    house.token = token()
    assert [each.found for each in house.examine("admin") if each.check == "admin.token"] == [
        "would be let in, as an admin's"
    ]


def test_the_proxy_s_configuration_is_that_of_the_manual() -> None:
    (documented,) = re.findall(r"```nginx\n(.*?)\n```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    assert (
        LOCATION.format(scheme="http", address=reachable(Settings.model_fields["admin_listen"].default)) == documented
    )
