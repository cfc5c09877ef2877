"""The compose files and the Dockerfile as data: anchors resolved, variables filled in, overlays merged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
OVERLAY = ROOT / "docker-compose.scale.yml"
DOCKERFILE = ROOT / "Dockerfile"
DEMO_ENV = ROOT / "demo" / "compose.env"
EXAMPLE_ENV = ROOT / ".env.example"

SECRETS = "/run/secrets/"
OURS = "hivesync-analytics"

_VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-+])([^}]*))?\}")

Service = Mapping[str, Any]


def variables_in(path: Path) -> dict[str, set[str]]:
    """The variables of a compose file, each with its defaults."""
    found: dict[str, set[str]] = {}
    for name, kind, value in _VARIABLE.findall(_without_comments(path)):
        found.setdefault(name, set()).update([value] if kind == ":-" else [])
    return found


def fill_in(text: str, variables: Mapping[str, str]) -> str:
    """The text with the values of these variables, or their defaults."""

    def value(match: re.Match[str]) -> str:
        name, kind, other = match.groups()
        given = variables.get(name, "")
        if kind == ":+":
            return str(other) if given else ""
        assert given or kind == ":-", f"{name} has no default"
        return given or str(other)

    return _VARIABLE.sub(value, text)


@cache
def stack(*files: Path, env_file: Path | None = None) -> Mapping[str, Any]:
    """The files, merged by the rules of Compose that they use."""
    variables = variables_of(env_file) if env_file else {}
    merged: dict[str, Any] = {}
    for path in files:
        merged = _merge(merged, _canonical(_filled_in(yaml.safe_load(path.read_text()), variables)))
    return merged


def _filled_in(value: Any, variables: Mapping[str, str]) -> Any:
    """Fill in the variables as Compose does: in the values, after parsing."""
    if isinstance(value, dict):
        return {name: _filled_in(inner, variables) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled_in(inner, variables) for inner in value]
    return fill_in(value, variables) if isinstance(value, str) else value


def services(*files: Path) -> dict[str, Service]:
    """All services of these files."""
    return dict(stack(*files)["services"])


def variables_of(env_file: Path) -> dict[str, str]:
    """The variables that an environment file sets."""
    lines = (line for line in env_file.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@dataclass(frozen=True)
class Stage:
    """One stage of the Dockerfile."""

    base: str
    name: str
    instructions: tuple[tuple[str, str], ...]
    """Instructions, each with its arguments in one line."""

    def of(self, instruction: str) -> list[str]:
        """The arguments of each instruction of that name."""
        return [arguments for name, arguments in self.instructions if name == instruction]


def stages() -> dict[str, Stage]:
    """The stages of the Dockerfile by name."""
    text = re.sub(r"\\\n", " ", _without_comments(DOCKERFILE))
    instructions = [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]
    starts = [index for index, (name, _) in enumerate(instructions) if name == "FROM"]
    found = {}
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        base, _, name = instructions[start][1].partition(" AS ")
        found[name] = Stage(base, name, tuple((word, rest) for word, rest in instructions[start + 1 : end]))
    return found


def copies() -> Iterator[tuple[str, str]]:
    """(source, destination) of every path that is copied from the repository into the image."""
    for stage in stages().values():
        for arguments in stage.of("COPY"):
            *sources, destination = arguments.split()
            if not sources[0].startswith("--from="):
                yield from ((source, destination) for source in sources)


def words(value: str) -> list[str]:
    """The words of an instruction in JSON form."""
    return list(json.loads(value))


def _without_comments(path: Path) -> str:
    return "\n".join(re.sub(r"(^|\s)#.*$", "", line) for line in path.read_text().splitlines())


def _canonical(file: Mapping[str, Any]) -> dict[str, Any]:
    """The file with one form where Compose allows two."""
    canonical = {name: value for name, value in file.items() if not name.startswith("x-")}
    canonical["services"] = {name: _service(one) for name, one in file["services"].items()}
    for name in ("networks", "volumes", "secrets"):
        canonical[name] = {key: value or {} for key, value in (file.get(name) or {}).items()}
    return canonical


def _service(service: Mapping[str, Any]) -> dict[str, Any]:
    forms = dict(service)
    if isinstance(forms.get("networks"), list):
        forms["networks"] = {name: {} for name in forms["networks"]}
    forms["networks"] = {name: value or {} for name, value in forms.get("networks", {}).items()}
    forms["environment"] = dict(forms.get("environment", {}))
    return forms


def _merge(below: Any, above: Any) -> Any:
    """Merge as Compose does: mappings by key, lists by appending; commands and health checks are replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        merged = dict(below)
        for name, value in above.items():
            replaced = name in {"command", "entrypoint", "test"} or name not in merged
            merged[name] = value if replaced else _merge(merged[name], value)
        return merged
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *(value for value in above if value not in below)]
    return above


EVERY = services(COMPOSE, OVERLAY)
ONE_MACHINE = services(COMPOSE)
EACH = [
    *(pytest.param(ONE_MACHINE, name, id=f"one machine-{name}") for name in sorted(ONE_MACHINE)),
    *(pytest.param(EVERY, name, id=f"several-{name}") for name in sorted(EVERY)),
]
"""Every service, as it is in the one file and with the overlay."""

URL = re.compile(r"[a-z]+://(?:[^/@\s]*@)?([a-z][\w.-]*):(\d+)")
"""A URL with a host and a port: both are groups."""


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
