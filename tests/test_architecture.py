"""The way of the data: imports flow one way, and every collector and every module is where it belongs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.collectors import build_collectors
from exporter.settings import Settings
from exporter.state import StateFile

ROOT = Path(__file__).parents[1]

LAYERS = [
    {
        "exporter",
        "exporter.errors",
        "exporter.spec",
        "exporter.windows",
        "exporter.labels",
        "exporter.vocabulary",
        "exporter.columns",
        "exporter.identities",
        "exporter.events",
        "exporter.addresses",
        "exporter.version",
        "exporter.memory",
    },
    {
        "exporter.prices",
        "exporter.gpu_usage",
        "exporter.state",
        "exporter.log_lines",
        "exporter.incident",
        "exporter.sources",
        "exporter.sources.jsonl.*",
    },
    {
        "exporter.settings",
        "exporter.sources.postgres",
        "exporter.sources.redis",
        "exporter.sources.prometheus",
        "exporter.sources.jsonl",
    },
    {"exporter.changes"},
    {"exporter.versions"},
    {"exporter.resync"},
    {"exporter.sliding", "exporter.presence", "exporter.collector"},
    {"exporter.collectors.*"},
    {"exporter.collectors"},
    {"exporter.snapshot", "exporter.oracle"},
    {"exporter.exposition", "exporter.verify", "exporter.http1"},
    {"exporter.web", "exporter.control", "exporter.health", "exporter.running"},
    {"exporter.__main__"},
]
"""Each module imports from its own layer or those before it."""

OURS = {"admin", "bench", "demo", "docs", "exporter", "grafana", "rollup", "tests"}

DRIVERS = {
    "psycopg": "exporter.sources.postgres",
    "redis": "exporter.sources.redis",
    "httpx2": "exporter.sources.prometheus",
    "pygtail": "exporter.sources.jsonl.files",
}


def modules(package: str = "exporter") -> list[tuple[str, Path]]:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(module: str) -> int:
    for index, names in enumerate(LAYERS):
        if module in names:
            return index
    parent = module.rpartition(".")[0]
    return next(index for index, names in enumerate(LAYERS) if f"{parent}.*" in names)


def test_every_module_has_a_layer() -> None:
    assert len(modules()) > 20
    assert [layer(name) for name, _ in modules()]


def test_imports_flow_one_way() -> None:
    known = dict(modules())
    backwards = [
        (name, imported)
        for name, path in known.items()
        for imported in imports(path)
        if imported in known and layer(imported) > layer(name)
    ]
    assert backwards == []


def test_only_a_source_imports_its_driver() -> None:
    allowed = {("exporter.settings", "psycopg"), ("exporter.settings", "redis")}  # to check URLs with, not to connect
    found = {
        (name, driver)
        for name, path in modules()
        for imported in imports(path)
        if (driver := imported.partition(".")[0]) in DRIVERS and DRIVERS[driver] != name
    }
    assert found - allowed == set()


def test_the_exporter_imports_no_other_package_of_ours() -> None:
    """But where everything is put together."""
    found = [(name, i) for name, path in modules() for i in imports(path) if i.partition(".")[0] in OURS - {"exporter"}]
    assert {(name, i.partition(".")[0]) for name, i in found} == {("exporter.__main__", "admin")}


def test_the_admin_section_asks_no_source_and_draws_no_dashboard() -> None:
    """It shows what the snapshot has, and knows of Grafana which panels there are and how things are called."""
    found = {(name, i) for name, path in modules("admin") for i in imports(path)}
    assert len(found) > 50
    assert {i for _, i in found if i.partition(".")[0] in OURS - {"admin", "exporter"}} <= {
        *("grafana.panels", "grafana.style"),
        *(f"grafana.panels.{name}" for name in ("ANALYTICS_PATH", "GRAFANA_PATH", "Analytics", "Panel")),
        *(i for _, i in found if i.startswith("grafana.style.")),
    }
    drivers = {"psycopg", "redis", "pygtail"}
    assert {(name, i) for name, i in found if i.partition(".")[0] in drivers} == set()
    past_the_snapshot = (
        "exporter.sources",
        "exporter.running",
        "exporter.collector.Collector",
        "exporter.collectors.build_",
    )
    opening = {(name, i) for name, i in found if i.startswith(past_the_snapshot)}
    assert {name for name, _ in opening} == {"admin.mounting"}


def test_every_collector_module_is_registered(tmp_path: Path) -> None:
    settings = Settings.model_construct()
    registered = {type(c).__module__ for c in build_collectors(settings, lambda name: StateFile(tmp_path, name))}
    present = {name for name, _ in modules() if name.startswith("exporter.collectors.")}
    assert len(present) > 8
    assert registered == present


def test_the_broad_except_stands_in_one_place() -> None:
    broad = [name for name, path in modules() if "except Exception" in path.read_text()]
    assert broad == ["exporter.snapshot"]


@pytest.mark.parametrize(("name", "least"), [("runtime", 20), ("dev", 50), ("node", 1)])
def test_the_locks_have_a_hash_for_every_package_and_name_no_host(name: str, least: int) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    assert "://" not in text
    packages = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(packages) >= least
    assert [package.partition("\n")[0] for package in packages if "--hash=sha256:" not in package] == []


def test_modules_are_short_enough_to_read_in_a_sitting() -> None:
    every = [*modules(), *modules("admin")]
    long = {str(path): count for _, path in every if (count := len(path.read_text().splitlines())) > 400}
    assert long == {}
