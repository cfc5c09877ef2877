"""Limits on what is kept of keys and rows that others write: at most 10,000 are distinguished, and the rest is counted
(docs/definitions.md#limits-of-workers-and-lists).

    heartbeats.py, queue_keys.py -> Remembered, Distinct, Excess (this) -> collectors/workers.py, queues.py, ...
"""

from __future__ import annotations

from array import array
from bisect import insort
from collections.abc import Hashable, Iterable
from hashlib import blake2b
from typing import Generic, TypeVar

import numpy as np
import structlog

from exporter.windows import contained

LIMIT = 10_000
"""Number of workers, or of lists of one setting, that are distinguished. Only 200 of them have labels of their own."""

BEYOND = "beyond_limit"
"""The reason under which the rest is counted in `hivesync_skipped_values`."""

ID_LENGTH = 250
"""Length of a worker's id; of a longer one, the end is replaced by a digest of the whole."""

_DIGEST_BYTES = 16

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_log = structlog.get_logger()


class Remembered(Generic[Key, Value]):
    """The values of the first keys, by rank and then by key: those beyond the limit are handed back, so that the result
    does not depend on the order of arrival."""

    def __init__(self) -> None:
        self._order: list[tuple[int, Key]] = []
        self._values: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """Return the value of a key, None for an unknown one."""
        return self._values.get(key)

    def put(self, key: Key, value: Value, rank: int = 0) -> tuple[Key, Value] | None:
        """Set the value of a key, whose rank stays that of its first value. Return the key and value that are dropped
        for it, or are not taken."""
        if key not in self._values:
            insort(self._order, (rank, key))
        self._values[key] = value
        if len(self._order) <= LIMIT:
            return None
        _, last = self._order.pop()
        return last, self._values.pop(last)

    def items(self) -> list[tuple[Key, Value]]:
        """Return keys and values in order."""
        return [(key, self._values[key]) for _, key in self._order]


class Distinct:
    """The number of distinct keys, each of which may be added more than once, and the sum of their values: 16 bytes of
    a key are kept, its hash and its value."""

    def __init__(self) -> None:
        self._hashes, self._values = array("q"), array("q")

    def add(self, key: Hashable, value: int = 0) -> None:
        """Add a key. Of a key that was added already, the value may be either."""
        self._hashes.append(hash(key))
        self._values.append(value)

    def summed_up(self, but: Iterable[Hashable] = ()) -> tuple[int, int]:
        """Return the number of distinct keys, without those in `but`, and the sum of their values. Takes noticeable
        time at a million keys."""
        hashes = np.frombuffer(self._hashes, dtype=np.int64)
        order = np.argsort(hashes)  # unlike np.unique, sorting releases the interpreter lock
        hashes = hashes[order]
        counts = ~contained(hashes, np.unique(np.fromiter(map(hash, but), np.int64)))
        counts[1:] &= hashes[1:] != hashes[:-1]
        values = np.frombuffer(self._values, dtype=np.int64)[order][counts]
        return len(values), int(values.sum())


class Excess:
    """Logs that a collector has found more than it distinguishes: once, until it finds less."""

    def __init__(self, collector: str) -> None:
        self._collector = collector
        self._is_logged = False

    def note(self, number: int) -> None:
        """Note the number of workers or lists beyond the limit."""
        if number and not self._is_logged:
            _log.warning("collector.beyond_limit", collector=self._collector, limit=LIMIT, beyond=number)
        self._is_logged = bool(number)


def cut_id(text: str) -> str:
    """Return an id of at most ID_LENGTH characters; different ids stay different."""
    if len(text) <= ID_LENGTH:
        return text
    digest = blake2b(text.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).hexdigest()
    return text[: ID_LENGTH - len(digest)] + digest
