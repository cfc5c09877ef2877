"""The direction of data: imports go one way, and every module and every collector has its place."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from exporter.collectors import build_collectors
from exporter.settings import Settings
from exporter.state import StateFile
from tests.test_citations import files

ROOT = Path(__file__).parents[1]

DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()
_, LAYER_DRAWING, PACKAGE_DRAWING, *_ = re.findall(r"^```\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def groups(drawing: str) -> list[list[str]]:
    """The groups of names between the arrows."""
    return [[name.strip() for name in group.split(",")] for group in drawing.split("<-")]


LAYERS = groups(LAYER_DRAWING)
"""Layers of modules of the exporter; each module imports from its own layer or those before it."""

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
    """The place of the longest name of a module, or of its packages. Raises KeyError for none."""
    places = {name: index for index, names in enumerate(LAYERS) for name in names}
    name = module.removeprefix("exporter.")
    if name in places:
        return places[name]
    while parent := name.rpartition(".")[0]:
        if found := [places[each] for each in (f"{parent}.*", parent) if each in places]:
            return found[0]
        name = parent
    raise KeyError(f"{module} has no place in docs/architecture.md")


def test_every_module_has_a_layer() -> None:
    assert len(modules()) > 20
    assert len(LAYERS) > 15
    assert [layer(name) for name, _ in modules() if name != "exporter"]


def test_every_name_in_the_drawing_is_a_module() -> None:
    names = [name for names in LAYERS for name in names]
    known = {name.removeprefix("exporter.") for name, _ in modules()}
    assert [name for name in names if name.removesuffix(".*") not in known] == []
    assert sorted(names) == sorted(set(names))


def test_every_module_of_the_exporter_has_its_row() -> None:
    table = DOCUMENT[DOCUMENT.index("| place |") : DOCUMENT.index("## Sliding windows")]
    rows = set(re.findall(r"`(?:exporter/)?([a-z_]+)(?:\.py|/)`", table))
    top = {name.split(".")[1] for name, _ in modules() if "." in name}
    assert top - rows == set()


def test_imports_flow_one_way() -> None:
    known = dict(modules())
    backwards = [
        (name, imported)
        for name, path in known.items()
        for imported in imports(path)
        if imported in known and "exporter" not in (name, imported) and layer(imported) > layer(name)
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


def test_packages_import_each_other_along_the_drawn_arrows_alone() -> None:
    """An arrow at the exporter ends at a module: that of the composition, and the doctor's checks of other parts."""
    found = {
        (name if package == "exporter" else package, imported.partition(".")[0])
        for package in PRODUCT
        for name, path in modules(package)
        for imported in imports(path)
        if imported.partition(".")[0] in OURS - {package}
    }
    drawn = {
        (name, imported)
        for line in PACKAGE_DRAWING.splitlines()
        for before, after in pairwise(groups(line))
        for imported in before
        for name in after
    }
    assert found == drawn


def test_the_admin_section_asks_no_source() -> None:
    """The section shows values of the snapshot. Prometheus is no source: its alerts are read in the background."""
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
    of_alerts = {imported for name, imported in opening if name == "admin.alerts"}
    assert of_alerts == {"exporter.sources.prometheus", "exporter.sources.prometheus.Prometheus"}
    assert {name for name, _ in opening} == {"admin.mounting", "admin.alerts"}


def test_every_collector_module_is_registered(tmp_path: Path) -> None:
    settings = Settings.model_construct()
    registered = {type(c).__module__ for c in build_collectors(settings, lambda name: StateFile(tmp_path, name))}
    present = {name for name, _ in modules() if name.startswith("exporter.collectors.")}
    assert len(present) > 8
    assert registered == present


def test_the_broad_except_stands_where_failures_are_kept_apart() -> None:
    """In `exporter.disk`, a thread's exception is raised again in the event loop."""
    broad = [name for name, path in modules() if "except Exception" in path.read_text()]
    assert broad == ["exporter.disk", "exporter.doctor.run", "exporter.section", "exporter.snapshot"]


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
