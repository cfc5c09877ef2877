"""Passes over the keys of Redis, bounded in time: millions of keys are looked at in part."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.sources.redis import Redis

COUNT = b"1000"
MOST_KEYS = 5_000
"""Keys kept of one pass."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The keys found, sorted; `whole` is false where the time was over before the end, or keys were too many."""

    keys: Sequence[bytes]
    whole: bool

    @property
    def number(self) -> str:
        """The number of keys, as text."""
        return f"{len(self.keys):,}{'' if self.whole else ' or more'}"


async def scan(redis: Redis, pattern: str, kind: str = "", seconds: float = 0.8) -> Pass:
    """Return the keys that match a pattern and, with `kind`, are of that type."""
    loop = asyncio.get_running_loop()
    end, cursor, found = loop.time() + seconds, b"0", set[bytes]()
    of_type = (b"TYPE", kind.encode()) if kind else ()
    while True:
        cursor, keys = await redis.ask(b"SCAN", cursor, b"MATCH", pattern.encode(), b"COUNT", COUNT, *of_type)
        found.update(keys)
        if cursor == b"0":
            return Pass(sorted(found), True)
        if loop.time() >= end or len(found) >= MOST_KEYS:
            return Pass(sorted(found), False)


def shown(key: bytes) -> str:
    """Return a key's name as text."""
    return key.decode("utf-8", "replace")
