"""The direction of data: imports go one way, and every module and every collector has its place."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from exporter.collectors import build_collectors
from exporter.settings import Settings
from exporter.state import StateFile
from tests.test_citations import files

ROOT = Path(__file__).parents[1]

LAYERS = [
    {
        "exporter",
        "exporter.errors",
        "exporter.inputs",
        "exporter.spec",
        "exporter.windows",
        "exporter.windows.units",
        "exporter.windows.cursor",
        "exporter.windows.wheel",
        "exporter.windows.minutes",
        "exporter.windows.users",
        "exporter.windows.latest",
        "exporter.windows.shared",
        "exporter.windows.sql",
        "exporter.durations",
        "exporter.labels",
        "exporter.vocabulary",
        "exporter.event_list",
        "exporter.columns",
        "exporter.identities",
        "exporter.events",
        "exporter.log_writer",
        "exporter.disk",
        "exporter.addresses",
        "exporter.redis_options",
        "exporter.urls",
        "exporter.version",
        "exporter.memory",
        "exporter.httpd",
        "exporter.httpd.connections",
        "exporter.httpd.ready",
        "exporter.worker_keys",
        "exporter.plain_settings",
    },
    {
        "exporter.prices",
        "exporter.gpu_usage",
        "exporter.remembered",
        "exporter.state",
        "exporter.log_lines",
        "exporter.incident",
        "exporter.httpd.protocol",
        "exporter.web_config",
        "exporter.web_config.file",
        "exporter.web_config.authentication",
        "exporter.sources",
        "exporter.sources.connections",
        "exporter.sources.identity",
        "exporter.sources.redis_batches",
        "exporter.sources.redis_commands",
        "exporter.sources.redis_refusals",
        "exporter.sources.refusals",
        "exporter.sources.jsonl.*",
    },
    {
        "exporter.queue_keys",
        "exporter.secret_files",
        "exporter.setting_types",
        "exporter.settings",
        "exporter.sources.postgres",
        "exporter.sources.redis",
        "exporter.sources.prometheus",
        "exporter.sources.web",
        "exporter.sources.jsonl",
        "exporter.httpd.server",
        "exporter.web_config.tls",
    },
    {"exporter.changes", "exporter.definitions", "exporter.recount", "exporter.log_tally", "exporter.web_config.port"},
    {"exporter.windows.versions"},
    {"exporter.windows.resync"},
    {"exporter.windows.history"},
    {"exporter.windows.sums", "exporter.presence", "exporter.collector"},
    {"exporter.heartbeats"},
    {"exporter.collectors.*"},
    {"exporter.collectors"},
    {"exporter.view"},
    {"exporter.snapshot"},
    {"exporter.exposition", "exporter.verify"},
    {"exporter.web", "exporter.control", "exporter.running"},
    {"exporter.health"},
    {"exporter.doctor", "exporter.doctor.findings", "exporter.doctor.installation", "exporter.doctor.remedies"},
    {"exporter.doctor.*"},
    {"exporter.doctor.start", "exporter.doctor.subjects"},
    {"exporter.__main__"},
]
"""Layers of modules; each module imports from its own layer or those before it."""

OURS = {path.parent.name for path in ROOT.glob("*/*.py")}
"""Our packages."""

PRODUCT = {"admin", "exporter", "grafana", "presentation", "rollup"}
"""The packages that are installed."""

DRIVERS = {
    "psycopg": {
        "exporter.sources.postgres",
        "exporter.sources.connections",
        "exporter.sources.identity",
        "exporter.sources.refusals",
    },
    "redis": {"exporter.sources.redis", "exporter.sources.redis_batches", "exporter.sources.redis_refusals"},
    "httpx2": {"exporter.sources.prometheus", "exporter.sources.web"},
    "pygtail": {"exporter.sources.jsonl.rotation"},
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
    allowed = {("exporter.urls", "psycopg"), ("exporter.redis_options", "redis")}  # to parse URLs, not to connect
    found = {
        (name, driver)
        for name, path in modules()
        for imported in imports(path)
        if (driver := imported.partition(".")[0]) in DRIVERS and name not in DRIVERS[driver]
    }
    assert found - allowed == set()


def test_the_exporter_imports_no_other_package_of_ours() -> None:
    """The exceptions are `exporter.__main__`, which puts the parts together, and the doctor's checks of these parts."""
    found = [(name, i) for name, path in modules() for i in imports(path) if i.partition(".")[0] in OURS - {"exporter"}]
    assert {(name, i.partition(".")[0]) for name, i in found} == {
        ("exporter.__main__", "admin"),
        ("exporter.doctor.admin", "admin"),
        ("exporter.doctor.admin", "presentation"),
        ("exporter.doctor.grafana", "admin"),
        ("exporter.doctor.grafana", "presentation"),
    }


@pytest.mark.parametrize(
    ("package", "others"),
    [
        ("presentation", set()),
        ("grafana", {"exporter", "presentation"}),
        ("admin", {"exporter", "presentation"}),
        ("rollup", {"adapters", "exporter", "grafana"}),
    ],
)
def test_page_dashboards_and_roll_up_do_not_import_each_other(package: str, others: set[str]) -> None:
    """The titles, colours and panels that page and dashboards share are in `presentation`, below both. (The roll-up
    installs the limits in `grafana/reader.sql`, and adapters.)"""
    found = {i.partition(".")[0] for _, path in modules(package) for i in imports(path)}
    assert found & OURS == {package, *others}


def test_the_admin_section_asks_no_source() -> None:
    """The section shows values of the snapshot."""
    found = {(name, i) for name, path in modules("admin") for i in imports(path)}
    assert len(found) > 50
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


def test_the_broad_except_stands_where_collectors_and_checks_are_run() -> None:
    """In `exporter.disk`, a thread's exception is raised again in the event loop."""
    broad = [name for name, path in modules() if "except Exception" in path.read_text()]
    assert broad == ["exporter.disk", "exporter.doctor.run", "exporter.snapshot"]


@pytest.mark.parametrize(("name", "least"), [("runtime", 20), ("dev", 50), ("node", 1)])
def test_the_locks_have_a_hash_for_every_package_and_name_no_host(name: str, least: int) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    assert "://" not in text
    packages = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(packages) >= least
    assert [package.partition("\n")[0] for package in packages if "--hash=sha256:" not in package] == []


def test_every_python_file_is_short_enough_to_read_in_a_sitting() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files({".py"})}
    assert len(lines) > 400
    assert {path: count for path, count in lines.items() if count > 400} == {}


def test_every_package_is_linted_and_checked() -> None:
    assert len(OURS) > 9
    linted = re.search(r"^PACKAGES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    typed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
    assert linted
    assert set(linted[1].split()) == set(typed) == OURS


def class_names(packages: Iterable[str]) -> dict[str, list[str]]:
    """The modules that define a class, by its name."""
    found: dict[str, list[str]] = {}
    for package in sorted(packages):
        for name, path in modules(package):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, []).append(name)
    return found


def test_a_class_name_has_one_meaning_in_the_product() -> None:
    """Private classes aside; the models of the API are named after subjects, as collectors are."""
    found = class_names(PRODUCT)
    assert len(found) > 150
    repeated = {
        name: others
        for name, places in found.items()
        if not name.startswith("_")
        and len(others := [place for place in places if not place.startswith("admin.documents.")]) > 1
    }
    assert repeated == {}


def test_no_class_name_has_three_meanings_anywhere() -> None:
    found = class_names(OURS)
    assert len(found) > 300
    assert {name: places for name, places in found.items() if len(places) > 2} == {}


def names_in(node: ast.AST) -> set[str]:
    return {found.id for found in ast.walk(node) if isinstance(found, ast.Name)}


def shared_with_its_collector(source: str) -> dict[str, set[str]]:
    """Per metric, the names in its definition from elsewhere than `exporter.definitions`, or shared with other code of
    its module."""
    tree = ast.parse(source)
    allowed = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "exporter.definitions"
        for alias in node.names
    }
    calls = {
        node.targets[0].id: call
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Definition"
    }
    of_definitions = {id(node) for call in calls.values() for node in ast.walk(call)}
    fragments = {
        name: node
        for node in tree.body
        for name in (
            [node.name]
            if isinstance(node, ast.FunctionDef)
            else [target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)]
        )
        if name.startswith("_")
    }
    used_elsewhere = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in of_definitions
    }
    found = {}
    for metric, call in calls.items():
        names = names_in(call) - {"Definition"}
        of_fragments = names & fragments.keys()
        foreign = names - fragments.keys() - allowed
        for fragment in of_fragments:
            node = fragments[fragment]
            own = {argument.arg for argument in node.args.args} if isinstance(node, ast.FunctionDef) else {fragment}
            foreign |= names_in(node) - own - allowed - {"str"}
        if foreign or of_fragments & used_elsewhere:
            found[metric] = foreign | of_fragments & used_elsewhere
    return found


COLLECTORS = sorted((ROOT / "exporter" / "collectors").glob("[a-z]*.py"))


@pytest.mark.parametrize("path", COLLECTORS, ids=lambda path: path.stem)
def test_a_definition_shares_no_code_with_its_collector(path: Path) -> None:
    assert shared_with_its_collector(path.read_text()) == {}


def test_code_that_a_definition_shares_would_be_noticed() -> None:
    own = "from exporter.definitions import word\nfrom exporter.columns import WORD\n_Q = 'SELECT 1'\n"
    for sql, shared in (("'SELECT 1'", set()), ("word('x')", set()), ("_Q", {"_Q"}), ("WORD", {"WORD"})):
        source = f"{own}A = MetricSpec('a', definition=Definition({sql}))\nquery = _Q + WORD\n"
        assert shared_with_its_collector(source) == ({"A": shared} if shared else {})


def test_definitions_read_nothing_that_collectors_read_with() -> None:
    theirs = {"exporter.columns", "exporter.windows.sql", "exporter.windows.sums", "exporter.identities"}
    assert theirs.isdisjoint(imports(dict(modules())["exporter.definitions"]))
