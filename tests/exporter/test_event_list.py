"""The list of log events: complete, and each event with the fields that it is logged with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from exporter.event_list import EVENTS

ROOT = Path(__file__).parents[2]
PACKAGES = ("exporter", "admin", "rollup")
LOGGING = {"debug", "info", "warning", "error", "critical", "log", "limited", "write"}
"""Functions and methods whose first argument may be an event."""

DOTTED = re.compile(r"[a-z]+(?:\.[a-z_]+)+")
DEGRADED = "system.analytics.degraded"


def logged() -> Iterator[tuple[str, set[str], str]]:
    """Each event that the code logs, with the names of the fields that stand there, and the place."""
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            event = node.args[0].value
            of_a_parser = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "parser"
            if not of_a_parser and function in LOGGING and isinstance(event, str):
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield event, {keyword.arg for keyword in node.keywords if keyword.arg}, place


def test_every_event_that_is_logged_is_listed_and_no_other() -> None:
    found = list(logged())
    assert [place for event, _, place in found if not DOTTED.fullmatch(event)] == []
    assert {event for event, _, _ in found} == set(EVENTS)


def test_every_field_of_an_event_is_listed() -> None:
    unlisted = [(place, fields - set(EVENTS[event].fields)) for event, fields, place in logged() if event in EVENTS]
    assert [(place, fields) for place, fields in unlisted if fields] == []
    assert {"source", "kind"} <= set(EVENTS[DEGRADED].fields)


def test_events_have_a_meaning() -> None:
    assert [
        name for name, event in EVENTS.items() if not event.meaning.endswith(".") and ":" not in event.meaning
    ] == []
