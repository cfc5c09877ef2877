"""Logs in folders of their own, with the states of their collectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exporter.collectors.logs.counting import Setup, WatchedState
from tests.exporter.collectors.logs.past import World


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path)
    setup.ai.path.touch()
    setup.preview.path.touch()
    yield setup
    setup.ai.close()
    setup.preview.close()


@pytest.fixture
def state(setup: Setup) -> WatchedState:
    return WatchedState(setup.folder, "ai-events")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.log.close()
