"""The content of collectors beyond samples: served by the snapshot, and immutable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from exporter.collector import Presenting
from exporter.collectors import build_collectors
from exporter.errors import CollectionFailed
from exporter.snapshot import Snapshot
from exporter.state import StateFile
from servers.valkey import ValkeyServer
from tests.exporter.fakes import Fake, Step, build, fails, refresh, works
from tests.rows import NOON
from tests.scenario import seed_postgres, settings_for, sources_at_noon


class Pages(Fake):
    """A collector whose content is the number of its refreshes."""

    def __init__(self, *steps: Step) -> None:
        super().__init__("pages", *steps)

    @property
    def content(self) -> tuple[int, ...]:
        return (self.refreshes,)


def test_content_is_that_of_the_last_refresh_that_worked() -> None:
    snapshot = build(Pages(works, works, fails(CollectionFailed("postgres", "undefined_table")), works))
    seen = [snapshot.view().collectors[0].last_content]
    for _ in range(4):
        refresh(snapshot)
        seen.append(snapshot.view().collectors[0].last_content)
    assert seen == [None, (1,), (2,), (2,), (4,)]


def test_a_collector_of_samples_alone_has_no_content() -> None:
    snapshot = build(Fake("users"))
    refresh(snapshot)
    assert snapshot.view().collectors[0].last_content is None


def changeable(content: Any, where: str) -> Iterator[str]:
    """Every part of a content that its collector or a reader could change."""
    if isinstance(content, tuple):
        for index, part in enumerate(content):
            yield from changeable(part, f"{where}[{index}]")
    elif isinstance(content, np.ndarray):
        if content.flags.writeable or (content.base is not None and content.base.flags.writeable):
            yield where
    elif is_dataclass(content):
        if not content.__dataclass_params__.frozen:  # type: ignore[union-attr]
            yield where
        for field in fields(content):
            yield from changeable(getattr(content, field.name), f"{where}.{field.name}")
    elif not isinstance(content, str | int | float | None):
        yield where


def test_no_collectors_content_can_change_once_it_is_handed_out(
    connection: psycopg.Connection, database: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    seed_postgres(connection)
    settings = settings_for(database, valkey_server.url, tmp_path, state_dir=tmp_path)
    settings.preview_log.write_text('{"ts":"2026-03-17T11:00:00Z","event":"preview.failed","job_id":"a"}\n')
    settings.ai_events_log.write_text('{"ts":"2026-03-17T11:00:00Z","event":"ai.error","job_id":"b"}\n')

    async def contents() -> dict[str, object]:
        async with sources_at_noon(settings) as sources:
            collectors = build_collectors(settings, lambda name: StateFile(tmp_path, name))
            snapshot = Snapshot(collectors, sources, 15, clock=NOON.timestamp)
            await snapshot.refresh_all()
            presenting = {collector.name for collector in collectors if isinstance(collector, Presenting)}
            return {view.name: view.last_content for view in snapshot.view().collectors if view.name in presenting}

    found = asyncio.run(contents())
    assert found.keys() == {
        "ai_log",
        "preview_log",
        "activity",
        "growth",
        "rollup",
        "charts",
        "incidents",
        "top_users",
        "jobs",
        "unacked",
    }
    assert [name for name, content in found.items() if not content] == ["unacked"], "without a queue of Celery"
    assert [part for name, content in found.items() for part in changeable(content, name)] == []
