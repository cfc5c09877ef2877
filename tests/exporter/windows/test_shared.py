"""A window that one collector keeps and another reads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exporter.collectors import build_collectors
from exporter.errors import SettingsError
from exporter.settings import Settings
from exporter.state import StateFile
from exporter.windows.shared import SharedWindow


def test_a_shared_window_is_waited_for_until_its_keeper_has_filled_it() -> None:
    async def scenario() -> None:
        shared = SharedWindow[list[int]]("keeper")
        waiting = asyncio.create_task(shared.get())
        await asyncio.sleep(0)
        assert not waiting.done()
        shared.put([1], server=1)
        assert await waiting == [1]
        shared.put([2], server=1)
        assert await shared.get() == [2]

    asyncio.run(scenario())


def test_a_window_of_a_former_server_is_not_used() -> None:
    async def scenario() -> None:
        shared = SharedWindow[list[int]]("keeper")
        shared.put([1], server=1)
        waiting = asyncio.create_task(shared.get(server=2))
        await asyncio.sleep(0)
        assert not waiting.done()
        shared.put([2], server=2)
        assert await waiting == [2]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("chosen", "missing"), [(["top_users"], "activity and ai"), (["top_users", "ai"], "activity"), (["ai"], "")]
)
def test_a_collector_without_those_that_keep_its_windows_is_refused(
    chosen: list[str], missing: str, tmp_path: Path
) -> None:
    settings = Settings.model_construct(collectors=chosen)

    def build() -> list[str]:
        return [collector.name for collector in build_collectors(settings, lambda name: StateFile(tmp_path, name))]

    if not missing:
        assert build() == chosen
        return
    with pytest.raises(SettingsError) as refused:
        build()
    assert str(refused.value) == f"HIVESYNC_COLLECTORS: top_users needs {missing}: name them too, or leave it out"
