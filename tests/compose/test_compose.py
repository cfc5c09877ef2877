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
from pathlib import Path

import pytest

from tests.compose.stack import (
    COMPOSE,
    DEMO_ENV,
    EACH,
    EVERY,
    ONE_MACHINE,
    OVERLAY,
    ROOT,
    SECRETS,
    URL,
    Service,
    listens_at,
    of_ours,
    services,
    stack,
)

AS_ROOT = {"store-rights": "gives new volumes to the user that the store runs as; for that one capability, and offline"}


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
