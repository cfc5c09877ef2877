"""Minutes of instants."""

from __future__ import annotations

from exporter.windows import MINUTE, minute
from tests.exporter.windows.arrays import NOON


def test_a_minute_is_open_at_its_start_and_closed_at_its_end() -> None:
    assert minute(NOON) == NOON // MINUTE
    assert minute(NOON + 1) == NOON // MINUTE + 1
    assert minute(NOON - 1) == NOON // MINUTE
    assert minute(NOON - MINUTE + 1) == NOON // MINUTE
