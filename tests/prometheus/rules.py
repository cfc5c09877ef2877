"""The shipped rules as data: their names, their expressions, and the metrics in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from exporter import exposition, snapshot
from exporter.collectors import build_collectors
from exporter.settings import Settings
from exporter.spec import MetricSpec
from exporter.state import StateFile

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "prometheus"
RULE_TESTS = sorted((SHIPPED / "tests").iterdir())
RUNBOOKS = ROOT / "docs" / "runbooks"

SUFFIXES = {"summary": ("_sum", "_count"), "histogram": ("_sum", "_count", "_bucket")}
OF_PROMETHEUS = {"up"}

_QUOTED = re.compile(r'"[^"]*"')
_NAME = re.compile(r"\b(?:hivesync_\w+|[a-z]\w*(?::\w+)+)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Rule = Mapping[str, Any]


def read(path: Path) -> Any:
    """The content of a YAML file."""
    return yaml.safe_load(path.read_text())


@cache
def rules(file: str) -> tuple[Rule, ...]:
    """All rules of `thresholds`, `recording` or `alerts`."""
    groups = read(SHIPPED / "rules" / f"{file}.yml")["groups"]
    return tuple(rule for group in groups for rule in group["rules"])


def alert_names() -> set[str]:
    """The names of all alerts."""
    return {rule["alert"] for rule in rules("alerts")}


def recorded() -> set[str]:
    """The names of all recording rules, thresholds included."""
    return {rule["record"] for file in ("thresholds", "recording") for rule in rules(file)}


@cache
def specs() -> Mapping[str, MetricSpec]:
    """The metrics of /metrics, by the names of their samples."""

    def no_state(name: str) -> StateFile:
        return StateFile(Path("/nonexistent"), name)

    collectors = build_collectors(Settings.model_construct(), no_state)
    own = (*snapshot.SPECS, *exposition.SPECS)
    found: dict[str, MetricSpec] = {}
    for spec in (*own, *(spec for collector in collectors for spec in collector.specs)):
        found |= dict.fromkeys((spec.name + suffix for suffix in SUFFIXES.get(spec.type, ("",))), spec)
    return found


def metrics_in(text: str) -> set[str]:
    """The metrics of the exporter and of the rules in an expression or a page."""
    return set(_NAME.findall(_QUOTED.sub('""', text)))


def selectors_in(expression: str) -> Iterator[tuple[str, str]]:
    """(metric, label) for each label in the selectors of an expression."""
    for name, matchers in re.findall(r"\b(hivesync_\w+)\{([^}]*)\}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", _QUOTED.sub("", matchers)):
            yield name, label


def values_never_had(spec: MetricSpec, matchers: str) -> Iterator[tuple[str, str]]:
    """(label, value) for each value in the matchers of a selector, alternatives of a pattern included, that no sample
    has."""
    closed = {label.name: label.values for label in spec.labels if label.values is not None}
    for label, operator, pattern in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
        if label not in closed:
            continue
        for value in pattern.split("|") if "~" in operator else [pattern]:
            is_had = any(re.fullmatch(value, had) if "~" in operator else value == had for had in closed[label])
            if not is_had:
                yield label, value


def fences(page: Path, language: str) -> list[str]:
    """The code blocks of a page in that language."""
    return [block for found, block in _FENCE.findall(page.read_text()) if found == language]
