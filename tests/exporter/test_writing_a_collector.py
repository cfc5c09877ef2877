"""The collector of docs/writing-a-collector.md is complete: it runs as printed, and its values are right."""

from __future__ import annotations

import ast
import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exporter.collector import Collector, Counting, Remembering, Sources
from exporter.definitions import Terms, read_definitions
from tests.rows import NOON, by_name, counted, insert, sources

PAGE = (Path(__file__).parents[2] / "docs" / "writing-a-collector.md").read_text()
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def example() -> str:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(code)


@pytest.fixture
def collector(example: str) -> Collector:
    names: dict[str, Any] = {"__name__": "preview_failures"}
    exec(compile(example, "docs/writing-a-collector.md", "exec"), names)
    made: Collector = names["PreviewFailures"]()
    return made


def failed(connection: psycopg.Connection, at: object) -> str:
    return insert(connection, "preview_jobs", status="failed", created_at=NOON - 26 * HOUR, completed_at=at)


async def shown(collector: Collector, opened: Sources) -> dict[str, Any]:
    return by_name(await collector.refresh(opened))


async def defined(collector: Collector, opened: Sources) -> dict[str, Any]:
    async with opened.postgres.transaction() as transaction:
        return by_name(await read_definitions(collector.specs, transaction, Terms()))


def test_the_example_shows_what_its_definition_says(
    collector: Collector, database: str, connection: psycopg.Connection
) -> None:
    for minutes in (1, 59, 60, 61, 1439, 1440):
        failed(connection, NOON - minutes * MINUTE)
    insert(connection, "preview_jobs", status="succeeded", created_at=NOON - HOUR, completed_at=NOON - 2 * MINUTE)
    gone = failed(connection, NOON - 5 * HOUR)

    async def scenario() -> None:
        async with sources(database, now=NOON) as opened:
            assert await shown(collector, opened) == {
                "hivesync_preview_failures_in_window{1h}": 2,
                "hivesync_preview_failures_in_window{24h}": 6,
            }
            for step in range(1, 70):
                now = opened.postgres.fixed_now = NOON + step * MINUTE
                if step == 1:
                    connection.execute("DELETE FROM preview_jobs WHERE id = %s", [gone])
                    counted(connection)
                failed(connection, now - 4 * MINUTE)
                values = await shown(collector, opened)
                if step < 3 or step > 64:  # a deletion is found within the hour
                    assert (values == await defined(collector, opened)) is (step > 64)

    asyncio.run(scenario())


def test_the_example_has_everything_that_a_collector_may_have(collector: Collector) -> None:
    assert isinstance(collector, Counting)
    assert isinstance(collector, Remembering)
    assert {sample.spec for sample in collector.counters()} <= set(collector.specs)


def test_eight_concepts_are_listed_and_are_all_that_the_example_imports(example: str) -> None:
    rows = re.findall(r"^\| ([a-z]+) \| (.*?) \| .* \|$", PAGE.partition("## A complete")[0], re.MULTILINE)[1:]
    assert len(rows) == 8
    listed = {name for _, names in rows for name in re.findall(r"`(\w+)`", names)} | {"MINUTE", "HOUR", "DAY"}
    imported = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("exporter")
        for alias in node.names
    }
    assert imported <= listed
