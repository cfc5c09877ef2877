"""An environment without settings, and a function that sets them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.exporter.settings.given import REQUIRED, Set


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty directory, and an environment without settings."""
    for name in os.environ:
        if name.upper().startswith("HIVESYNC_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def set_variables(monkeypatch: pytest.MonkeyPatch) -> Set:
    """A function that sets the required variables and those given, without their prefix; None unsets a variable."""

    def set_them(**variables: object) -> None:
        wanted = REQUIRED | {f"HIVESYNC_{name}": value for name, value in variables.items()}
        for name, value in wanted.items():
            if value is not None:
                monkeypatch.setenv(name, str(value))

    return set_them
