"""Settings for the tests: those that are required, a price file, and the problems of given settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.settings import read_settings

PASSWORD = "hunter2-c0rrect%40horse"
REQUIRED = {
    "HIVESYNC_DATABASE_URL": f"postgresql://reader:{PASSWORD}@db.example:5433/hivesync?sslmode=require",
    "HIVESYNC_REDIS_URL": f"redis://reader:{PASSWORD}@cache.example:6380/2",
}
PRICES = "[models.a]\nprompt = 1\ncompletion = 2\n[instances.b]\nspot = 0.5\n"

Set = Callable[..., None]


def problems(env_file: Path | None = None) -> dict[str, str]:
    """The problems of the settings by variable; a variable with two problems has two lines."""
    with pytest.raises(SettingsError) as raised:
        read_settings(env_file)
    lines = str(raised.value).splitlines()
    named = dict(line.split(": ", 1) for line in lines)
    assert len(named) == len(lines)
    return named


def lines(**variables: str) -> str:
    return "".join(f"{name}='{value}'\n" for name, value in (REQUIRED | variables).items())
