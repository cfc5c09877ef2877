"""The values in a document of the API, and a check of them against the metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from exporter.exposition import render
from tests.admin.world import World
from tests.running import parse

KEYS = {"value", "status", "sources", "as_of"}
COMPARED = {"previous", "change"}
WEEKLY = {"previous_week", "change_week"}
AS_OF = "2026-03-17T12:00:00.000Z"


def values_in(content: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every value of a document, with its path."""
    if isinstance(content, dict):
        if "value" in content:
            yield path, content
        else:
            for key, part in content.items():
                yield from values_in(part, f"{path}/{key}")
    elif isinstance(content, list):
        for index, part in enumerate(content):
            yield from values_in(part, f"{path}/{index}")


def metrics(world: World) -> dict[str, Any]:
    """The samples of /metrics by name and labels."""
    return parse(render(world.snapshot.view()).text.plain.decode())


def check_values(world: World, path: str) -> None:
    """Assert that every value of the document is complete, and ok as of noon."""
    found = dict(values_in(world.get(path).json))
    assert found
    for where, value in found.items():
        assert value.keys() in (KEYS, KEYS | COMPARED, KEYS | COMPARED | WEEKLY), where
        assert (value["status"], value["as_of"]) == ("ok", AS_OF), where
        assert value["sources"], where
        assert set(value["sources"]) <= {"postgres", "redis", "ai_events_log", "preview_log"}


def check_metrics(world: World, path: str, equal: Mapping[str, str], others: Set[str] = frozenset()) -> None:
    """Assert that the values at these paths of the document are those of these samples, and that the document has no
    more values but `others`."""
    samples, found = metrics(world), dict(values_in(world.get(path).json))
    assert found.keys() == equal.keys() | others
    assert {where: found[where]["value"] for where in equal} == {where: samples[name] for where, name in equal.items()}
