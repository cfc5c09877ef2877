"""An instant, and rows as the engine takes them."""

from __future__ import annotations

import numpy as np

from exporter.windows import Integers

NOON = 1_767_268_800_000_000  # 2026-01-01 12:00 UTC


def rows(*values: tuple[int, ...]) -> Integers:
    return np.array(values, dtype=np.int64).reshape(len(values), -1 if values else 3)
