"""docker-compose.yml and its overlay: valid, hardened, and without a reference to anything that does not exist.

A container engine is not needed: the files are checked against Compose's own schema, and against the rest of the
repository. `docker compose` reads them too, where it is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from demo import feed
from exporter.settings import PREFIX, RollupSettings, Settings, read_settings
from exporter.settings import SECRETS as SECRET_SETTINGS
from presentation.panels import GRAFANA_PATH
from rollup import __main__ as rollup
from tests.compose.stack import (
    COMPOSE,
    DEMO_ENV,
    EXAMPLE_ENV,
    OURS,
    OVERLAY,
    ROOT,
    SECRETS,
    Service,
    fill_in,
    services,
    stack,
    variables_in,
    variables_of,
)

EVERY = services(COMPOSE, OVERLAY)
ONE_MACHINE = services(COMPOSE)
EACH = [
    *(pytest.param(ONE_MACHINE, name, id=f"one machine-{name}") for name in sorted(ONE_MACHINE)),
    *(pytest.param(EVERY, name, id=f"several-{name}") for name in sorted(EVERY)),
]
"""Every service, as it is in the one file and with the overlay."""

AS_ROOT = {"store-rights": "gives new volumes to the user that the store runs as; for that one capability, and offline"}

URL = re.compile(r"[a-z]+://(?:[^/@\s]*@)?([a-z][\w.-]*):(\d+)")


def listens_at(service: Service) -> set[int]:
    """The ports of a service, by its options and variables."""
    told = [str(word) for word in service.get("command", [])] if isinstance(service.get("command"), list) else []
    told += [value for name, value in service["environment"].items() if name.endswith("_LISTEN")]
    ports = {int(port) for word in told for port in re.findall(r"(?:[Ll]isten.*|Addr=|^[\d.]+):(\d+)$", word)}
    known = {"postgres": 5432, "valkey": 6379, "grafana": 3000}
    return ports | {port for image, port in known.items() if service["image"].partition(":")[0].endswith(image)}


def of_ours() -> dict[str, Service]:
    """The services that run the image of this repository."""
    return {name: service for name, service in EVERY.items() if service["image"].startswith(OURS)}


@pytest.mark.parametrize("path", [COMPOSE, OVERLAY], ids=lambda path: path.name)
def test_the_files_keep_to_the_schema(path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_compose_reads_the_files_where_it_is_installed() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        return
    for files in ([COMPOSE], [COMPOSE, OVERLAY]):
        options = [word for path in files for word in ("--file", str(path))]
        command = [docker, "compose", "--env-file", str(DEMO_ENV), *options, "config", "--quiet"]
        read = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert read.returncode == 0, read.stderr


@pytest.mark.parametrize(("known", "name"), EACH)
def test_a_service_may_do_no_more_than_it_needs(known: Mapping[str, Service], name: str) -> None:
    service = known[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "devices", "userns_mode"} & service.keys()
    assert service.get("network_mode") in (None, "none")
    assert service["mem_limit"]
    assert 0 < service["pids_limit"] <= 512
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    root = str(service["user"]).startswith(("0:", "root"))
    assert root == (name in AS_ROOT) == ("cap_add" in service)
    if root:
        assert (service["cap_add"], service["network_mode"]) == (["CHOWN"], "none")


@pytest.mark.parametrize(("known", "name"), EACH)
def test_a_service_says_whether_it_is_well_or_ends_by_itself(known: Mapping[str, Service], name: str) -> None:
    service = known[name]
    check = service["healthcheck"]
    if check.get("disable"):
        assert listens_at(service) == set()
        return
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries", "start_period", "start_interval"} <= check.keys()
    assert service["restart"] == "unless-stopped"
    for host, port in URL.findall(" ".join(check["test"])):
        raise AssertionError(f"a name is looked up: {host}:{port}")
    for port in re.findall(r"127\.0\.0\.1:(\d+)", " ".join(check["test"])):
        assert int(port) in listens_at(service)


def test_only_the_analytics_section_is_published_and_only_here() -> None:
    published = {name: service["ports"] for name, service in EVERY.items() if "ports" in service}
    admin = Settings.model_fields["admin_listen"].default.port
    assert published == {"exporter": [f"127.0.0.1:{admin}:{admin}"]}
    assert EVERY["exporter"]["environment"]["HIVESYNC_ADMIN_LISTEN"].endswith(f":{admin}")


def test_images_are_pinned_by_their_version() -> None:
    images = {service["image"] for name, service in EVERY.items() if name not in of_ours()}
    assert len(images) >= 8
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.?\d*(-[a-z]+)?$", image)] == []
    assert all("build" in service for name, service in ONE_MACHINE.items() if name in of_ours())


@pytest.mark.parametrize(("known", "name"), EACH)
def test_what_a_service_mounts_is_there(known: Mapping[str, Service], name: str) -> None:
    service = known[name]
    for mount in service.get("volumes", []):
        source, target, *_ = mount.split(":")
        assert target.startswith("/")
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert mount.endswith(":ro"), f"{name} may write into the repository"
        else:
            assert source in stack(COMPOSE, OVERLAY)["volumes"] or source == "/dev/null", source
    for path in service.get("env_file", []):
        assert path["required"] is (path["path"] != ".env")
        assert not path["required"] or (ROOT / path["path"]).is_file()


def test_every_volume_network_and_secret_is_used_and_is_there() -> None:
    whole = stack(COMPOSE, OVERLAY)
    volumes = {mount.partition(":")[0] for service in EVERY.values() for mount in service.get("volumes", [])}
    assert {name for name in volumes if not name.startswith((".", "/"))} == whole["volumes"].keys()
    assert {name for service in EVERY.values() for name in service["networks"]} == whole["networks"].keys()
    assert {name for service in EVERY.values() for name in service.get("secrets", [])} == whole["secrets"].keys()
    assert all(secret["file"] == f"./secrets/{name}" for name, secret in whole["secrets"].items())


@pytest.mark.parametrize(("known", "name"), EACH)
def test_a_secret_is_a_file_and_nobody_has_one_that_is_not_needed(known: Mapping[str, Service], name: str) -> None:
    service = known[name]
    given = set(service.get("secrets", []))
    told = [str(word) for word in (*service["environment"].values(), *service.get("command", []))]
    named = {secret for word in told for secret in re.findall(rf"{SECRETS}(\w+)", word)}
    if name == "alertmanager":
        named |= set(re.findall(rf"{SECRETS}(\w+)", (ROOT / "prometheus" / "alertmanager.yml").read_text()))
    # The overlay may replace the secret that a variable names in the file below.
    assert named <= given
    assert given - named <= {"database_url"}
    assert not [value for value in told if re.search(r"://[^/\s:]*:[^@/\s]+@", value)], "a password is in the file"


def environment_names(*files: Path) -> set[tuple[str, str]]:
    return {(name, variable) for name, service in services(*files).items() for variable in service["environment"]}


def test_every_variable_of_ours_is_a_setting() -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    known |= {f"{PREFIX}{field.upper()}_FILE" for field in SECRET_SETTINGS}
    used = {variable for _, variable in environment_names(COMPOSE, OVERLAY) if variable.startswith(PREFIX)}
    assert len(used) > 10
    assert used <= known


def test_grafana_is_told_what_grafana_env_knows_and_little_else() -> None:
    known = variables_of(ROOT / "grafana" / "grafana.env")
    own = set(EVERY["grafana"]["environment"]) - known.keys()
    assert own == {"GF_HIVESYNC_DB_PASSWORD__FILE", "GF_LOG_MODE"}
    asked = (ROOT / "grafana" / "provisioning" / "datasources" / "hivesync.yaml").read_text()
    assert "$GF_HIVESYNC_DB_PASSWORD\n" in asked
    mounts = dict(mount.split(":")[:2] for mount in EVERY["grafana"]["volumes"])
    assert mounts["./grafana/generated"] == known["GF_HIVESYNC_DASHBOARDS"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"


def test_grafana_believes_the_exporter_and_nobody_else() -> None:
    monitoring = stack(COMPOSE)["networks"]["monitoring"]
    address = EVERY["exporter"]["networks"]["monitoring"]["ipv4_address"]
    assert EVERY["grafana"]["environment"]["GF_AUTH_PROXY_WHITELIST"] == address
    (addresses,) = monitoring["ipam"]["config"]
    assert ip_address(address) in ip_network(addresses["subnet"])
    assert ip_address(address) not in ip_network(addresses["ip_range"]), "it may be given to somebody else"
    # With one common network, Grafana sees one address.
    assert EVERY["grafana"]["networks"].keys() & EVERY["exporter"]["networks"].keys() == {"monitoring"}
    root = urlsplit(EVERY["grafana"]["environment"]["GF_SERVER_ROOT_URL"])
    assert (root.path, root.port) == (GRAFANA_PATH, Settings.model_fields["admin_listen"].default.port)
    assert f"{GRAFANA_PATH}api/health" in EVERY["grafana"]["healthcheck"]["test"][-1]


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


@pytest.mark.parametrize("files", [(COMPOSE,), (COMPOSE, OVERLAY)], ids=["one machine", "several"])
def test_who_waits_for_whom_can_be_kept(files: tuple[Path, ...]) -> None:
    known = services(*files)
    waits = [(name, on, how) for name, service in known.items() for on, how in service.get("depends_on", {}).items()]
    assert len(waits) > 8
    for name, on, how in waits:
        other = known[on]
        if how["condition"] == "service_healthy":
            assert not other["healthcheck"].get("disable"), f"{name} waits for {on}"
        else:
            assert (how["condition"], other["restart"]) == ("service_completed_successfully", "no")
        # A service of a profile may be absent, unless the waiting service is of the same profile.
        always = set(known[name].get("profiles", [])) or {"default"}
        there = set(other.get("profiles", [])) or always
        assert how.get("required", True) is (always <= there), f"{name} waits for {on}"


def test_nobody_waits_in_a_circle() -> None:
    def leads_to(name: str, seen: tuple[str, ...] = ()) -> None:
        assert name not in seen, " -> ".join((*seen, name))
        for on in EVERY[name].get("depends_on", {}):
            leads_to(on, (*seen, name))

    for name in EVERY:
        leads_to(name)


@pytest.mark.parametrize("name", sorted(of_ours()))
def test_what_our_image_runs_can_be_run(name: str) -> None:
    module, *arguments = EVERY[name]["command"]
    if module == "rollup":
        rollup._parse(arguments)
    elif module == "demo.feed":
        feed._parse(arguments)
    else:
        assert (module, arguments) == ("exporter", [])
        assert EVERY[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "exporter", "health"]


@cache
def options_of(program: str) -> str:
    helped = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    return helped.stdout + helped.stderr


@pytest.mark.prometheus
@pytest.mark.alertmanager
@pytest.mark.victoriametrics
def test_the_options_of_what_others_made_are_options_of_theirs() -> None:
    """Options are checked for the installed programs; those of a VictoriaMetrics cluster are not installed."""
    alertmanager = shutil.which("prometheus-alertmanager") or "alertmanager"
    programs = {"prometheus": "prometheus", "alertmanager": alertmanager, "vmagent": "vmagent"}
    run = [(ONE_MACHINE["prometheus"], "prometheus"), *((EVERY[name], program) for name, program in programs.items())]
    for service, program in run:
        known = set(re.findall(r"^\s+--?([\w.-]+)", options_of(program), re.MULTILINE))
        options = {word.lstrip("-").partition("=")[0] for word in service["command"]}
        assert options
        assert options - known == set()


@pytest.mark.victoriametrics
def test_vmagent_understands_the_configuration() -> None:
    command = ["vmagent", "-dryRun", "-promscrape.config=prometheus/scale.yml", "-promscrape.config.strictParse=false"]
    checked = subprocess.run(
        [*command, "-remoteWrite.url=http://vminsert:8480/"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.prometheus
def test_prometheus_understands_the_configuration_for_two_hosts() -> None:
    command = ["promtool", "check", "config", "prometheus/scale.yml"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_what_may_be_set_from_outside_stands_in_the_example_with_its_default() -> None:
    text = EXAMPLE_ENV.read_text()
    shown = dict(re.findall(r"^#?([A-Z][A-Z_]*)=(\S*)$", text, re.MULTILINE))
    variables = variables_in(COMPOSE)
    assert len(variables) > 10
    assert {name for name in shown if not name.startswith(PREFIX)} == variables.keys()
    for name, defaults in variables.items():
        assert len(defaults) <= 1, name
        if re.search(rf"^#{name}=", text, re.MULTILINE) and defaults and name != "PRICES_FILE":
            assert defaults == {shown[name]}, name
    settings = {name.removeprefix(PREFIX).lower() for name in shown if name.startswith(PREFIX)}
    assert settings <= Settings.model_fields.keys()
    assert not settings & set(SECRET_SETTINGS)


def test_the_overlay_adds_few_variables_and_their_names_say_so() -> None:
    assert variables_in(OVERLAY).keys() - variables_in(COMPOSE).keys() == {
        "LOGS_B_DIR",
        "STORE_MEMORY",
        "STORE_RETENTION",
    }


def test_the_demos_variables_are_asked_for() -> None:
    given = variables_of(DEMO_ENV)
    assert given.pop("COMPOSE_PROFILES") == "demo"
    assert given
    assert given.keys() <= variables_in(COMPOSE).keys()
    assert fill_in("${PRICES_FILE:+set}", {"PRICES_FILE": "x"}) == "set"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The secrets of the demo."""
    subprocess.run([ROOT / "tools" / "secrets.sh", "--demo", str(tmp_path / "secrets")], check=True)
    return tmp_path / "secrets"


@pytest.mark.parametrize("name", sorted(of_ours()))
@pytest.mark.parametrize("files", [(COMPOSE,), (COMPOSE, OVERLAY)], ids=["one machine", "several"])
def test_our_settings_are_complete_and_right(
    files: tuple[Path, ...], name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = services(*files)
    if name not in known:
        return
    monkeypatch.chdir(tmp_path)
    for variable, value in known[name]["environment"].items():
        if value != "":
            monkeypatch.setenv(variable, str(value).replace(SECRETS, f"{secrets}/"))
    module = known[name]["command"][0]
    settings = read_settings(None, RollupSettings if module == "rollup" else Settings)
    urls = [settings.database_url, settings.rollup_database_url, settings.redis_url]
    named = {urlsplit(url.get_secret_value()).hostname for url in urls if url is not None}
    assert named <= known.keys()


def test_the_second_exporter_runs_collectors_that_there_are() -> None:
    names = EVERY["exporter-b"]["environment"]["HIVESYNC_COLLECTORS"].split(",")
    assert names == ["ai_log", "preview_log"]
    assert "HIVESYNC_COLLECTORS" not in EVERY["exporter"]["environment"]
