"""The roll-up as a command, for its tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rollup.rolling import Command


@pytest.fixture
def rollup(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """`python -m rollup` on the test's database, as its superuser."""
    return Command(database, tmp_path, monkeypatch, capfd)
