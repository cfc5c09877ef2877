"""The Dockerfile: clean for hadolint, and built from existing files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from exporter.settings import Settings
from tests.compose.stack import COMPOSE, DOCKERFILE, OURS, OVERLAY, ROOT, copies, services, stages, words

HADOLINT = Path(sys.executable).with_name("hadolint")


def test_hadolint_finds_nothing() -> None:
    linted = subprocess.run([HADOLINT, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


def test_what_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    ignored: list[str] = []
    sent: list[str] = []
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            (sent if line.startswith("!") else ignored).append(line.lstrip("!"))
    assert ignored[0] == "*"
    sources = [source for source, _ in copies()]
    assert len(sources) > 8
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.rstrip("/").partition("/")[0] in sent, source
    assert [name for name in sent if not any(source.startswith(name) for source in sources)] == []
    assert not [name for name in (".git", ".env", "secrets", ".venv", "tests") if any(fnmatch(name, s) for s in sent)]


def test_base_images_are_pinned_and_the_same_python_all_along() -> None:
    bases = {stage.base for stage in stages().values()} - stages().keys()
    assert len(bases) == 2
    assert [base for base in bases if not re.search(r":\d+\.\d+\.\d+-", base)] == []
    (version,) = {found[1] for base in bases if (found := re.match(r"python:(\d+\.\d+)\.", base))}
    assert set(re.findall(r"lib/python([\d.]+)/", DOCKERFILE.read_text())) == {version}
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert requires == f">={version}"


def test_nobody_runs_as_root() -> None:
    (user,) = stages()["base"].of("USER")
    number = user.partition(":")[0]
    assert number.isdecimal()
    assert int(number) > 0
    (made,) = [arguments for arguments in stages()["base"].of("RUN") if "useradd" in arguments]
    assert f"--uid {number} " in made
    assert {str(s["user"]) for n, s in services(COMPOSE, OVERLAY).items() if s["image"].startswith(OURS)} == {user}
    for stage in stages().values():
        assert stage.base != "base" or stage.of("USER") == []


def test_what_compose_builds_is_a_stage_and_the_last_one_is_the_image() -> None:
    targets = {service["build"]["target"] for service in services(COMPOSE).values() if "build" in service}
    assert targets == {"analytics", "demo"}
    assert targets <= stages().keys()
    assert list(stages())[-1] == "analytics"
    arguments = {name for s in services(COMPOSE).values() for name in s.get("build", {}).get("args", {})}
    assert arguments == {argument.partition("=")[0] for stage in stages().values() for argument in stage.of("ARG")}


def test_what_the_image_runs_and_shows_is_ours() -> None:
    (entry,) = stages()["base"].of("ENTRYPOINT")
    assert words(entry) == ["python", "-m"]
    assert [words(command)[0] for s in stages().values() for command in s.of("CMD")] == ["demo.feed", "exporter"]
    ports = {str(Settings.model_fields[name].default.port) for name in ("metrics_listen", "admin_listen")}
    assert set(stages()["analytics"].of("EXPOSE")[0].split()) == ports


def test_directories_that_settings_name_are_made_for_the_user() -> None:
    (made,) = [arguments for arguments in stages()["base"].of("RUN") if "install --directory" in arguments]
    for field in ("state_dir", "ai_events_log", "preview_log"):
        path = Settings.model_fields[field].default
        assert f" {path.parent if field != 'state_dir' else path}" in made


def test_only_locked_packages_come_in() -> None:
    text = DOCKERFILE.read_text()
    installs = re.findall(r"pip (?:--python \S+ )?install ([^&\n]*)", text)
    assert len(installs) == 3
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps wheels/" not in line] == []
    assert "npm ci " in text


def test_the_build_tool_is_one_locked_package() -> None:
    (command,) = [a for a in stages()["build"].of("RUN") if "build.lock" in a]
    expression = re.search(r"sed -n '([^']+)' (\S+)", command)
    assert expression
    found = subprocess.run(
        ["sed", "-n", expression[1], ROOT / expression[2]], capture_output=True, text=True, check=True
    ).stdout
    assert re.match(r"setuptools==\d", found)
    assert found.count("==") == 1
    assert found.count("--hash=sha256:") >= 1
    assert not found.rstrip().endswith("\\")


def test_every_package_that_is_copied_in_is_installed() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    (tops,) = [
        [s.rstrip("/") for s, d in copies() if s.endswith("/") and s == d and (ROOT / s / "__init__.py").exists()]
    ]
    assert {"exporter", "rollup", "grafana"} <= set(tops)
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts) for top in tops for path in (ROOT / top).rglob("__init__.py")
    }
    assert packages == set(configured)


def test_what_the_page_has_from_npm_is_locked() -> None:
    (source, *_) = [source for source, _ in copies() if source.endswith("package-lock.json")]
    lock = json.loads((ROOT / source).read_text())
    kept = {name: package for name, package in lock["packages"].items() if name and not package.get("dev")}
    assert kept
    assert [name for name, package in kept.items() if "integrity" not in package] == []
