"""The generated dashboards as Grafana reads them, and their queries."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exporter import exposition, snapshot
from exporter.collectors import build_collectors
from exporter.settings import Settings
from exporter.spec import MetricSpec
from exporter.state import StateFile
from grafana.promql import PROMETHEUS_SPECS

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "grafana" / "generated"
RULES = ROOT / "prometheus" / "rules"

PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}

_WORDS = re.compile(
    r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)|\"[^\"]*\"|\{[^}]*\}|\[[^]]*\]"  # labels, times
    r"|\b(?:and|or|unless|bool)\b"
    r"|\b[a-z_]+\s*(?=\()"  # functions and aggregations
)
_AGGREGATIONS = re.compile(r"\b(?:sum|max|min|count|avg|topk)\b")
_NAMES = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
SELECTOR = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)\{([^}]*)\}")


@dataclass(frozen=True)
class Target:
    """One query of one panel; `where` is its name in messages."""

    panel: dict[str, Any]
    query: dict[str, Any]
    where: str

    @property
    def expression(self) -> str:
        return str(self.query["expr"])


def dashboards() -> dict[str, dict[str, Any]]:
    """The dashboards by the name of their file."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(GENERATED.glob("*.json"))}


def everything_in(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Every panel and heading of a dashboard, those inside folded rows too."""
    return [one for panel in board["panels"] for one in (panel, *panel.get("panels", ()))]


def panels() -> list[tuple[str, dict[str, Any]]]:
    """Every panel with data, and the uid of its dashboard."""
    return [
        (board["uid"], panel) for board in dashboards().values() for panel in everything_in(board) if not is_row(panel)
    ]


def is_row(panel: dict[str, Any]) -> bool:
    return bool(panel["type"] == "row")


def targets(kind: str) -> list[Target]:
    """Every query to that kind of datasource."""
    return [
        Target(panel, query, f"{uid}/{panel['id']} {query['refId']} ({panel['title']})")
        for uid, panel in panels()
        for query in panel["targets"]
        if query["datasource"]["type"] == kind
    ]


def specs() -> dict[str, MetricSpec]:
    """Every metric, by each of the names of its series."""
    with tempfile.TemporaryDirectory() as scratch:
        collectors = build_collectors(Settings.model_construct(), lambda name: StateFile(Path(scratch), name))
    every = [spec for collector in collectors for spec in collector.specs]
    every += [*snapshot.SPECS, exposition.BUILD_INFO, *PROMETHEUS_SPECS]
    return {f"{spec.name}{part}": spec for spec in every for part in PARTS.get(spec.type, ("",))}


def recorded() -> set[str]:
    """The names of all recording rules."""
    return {rule["record"] for group in groups() for rule in group["rules"] if "record" in rule}


def groups() -> Iterator[dict[str, Any]]:
    for path in sorted(RULES.glob("*.yml")):
        yield from yaml.safe_load(path.read_text())["groups"]


def metrics_in(expression: str) -> set[str]:
    """The names of all metrics in an expression."""
    rest = re.sub(r"\$__[a-z_]+", "", expression)
    rest = _AGGREGATIONS.sub(" ", _WORDS.sub(" ", rest))
    return set(_NAMES.findall(rest))


def walk(value: Any) -> Iterator[Any]:
    """The value and everything in it, at any depth."""
    yield value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)
