r"""Lists of Redis that are queues: by key, by pattern, or by the name of a Celery queue
(docs/definitions.md#celery-queue).

settings -> Lists -> collectors/queues.py, collectors/dead_letters.py

ai_queue:default    one list, which is empty while it does not exist
ai_queue:*          the lists of this pattern that exist, or had entries in the last day
celery:ai_tasks     ai_tasks, ai_tasks\x06\x163, ai_tasks\x06\x166, ai_tasks\x06\x169: one queue, and no other list
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from exporter.labels import MAX_VALUES, OTHER, bounded
from exporter.remembered import Distinct, Remembered
from exporter.sources.redis import Redis, WrongType, is_wildcard

CELERY = "celery:"
"""The beginning of a Celery queue's name in the settings."""

FORGOTTEN_SECONDS = 86_400.0

STATS = "ai_queue:stats"
"""The statistics of the AI queue, which patterns of queues may match."""

BINDINGS = "_kombu.binding"
"""The beginning of the keys in which Celery keeps the names of its queues: they are no lists."""

LONGEST_KEY = 1_000
"""Length of the key (bytes) of a list that is distinguished from others."""

_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class CeleryKeys:
    r"""The names of a Celery application's keys in Redis, with Celery's defaults; the comments have the transport
    options of the same meaning."""

    prefix: str = ""  # global_keyprefix
    separator: str = r"\x06\x16"  # sep
    steps: tuple[int, ...] = (0, 3, 6, 9)  # priority_steps
    unacked: str = "unacked"  # unacked_key
    unacked_index: str = "unacked_index"  # unacked_index_key

    def key(self, name: str) -> bytes:
        """Return the key of that name, with the prefix."""
        return f"{self.prefix}{name}".encode()

    def lists(self, queue: str) -> tuple[bytes, ...]:
        """Return the lists of a queue: one per priority step, that of step 0 under the queue's own name."""
        return (self.key(queue), *(self.key(f"{queue}{self.mark}{step}") for step in self.steps if step))

    @property
    def mark(self) -> str:
        """The text between the name of a queue and a priority step."""
        return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), self.separator)


def check_keys(written: Sequence[str]) -> None:
    """Raise ValueError for a Celery queue without a name, or with a wildcard in it."""
    for key in written:
        if key == CELERY:
            raise ValueError(f"{CELERY} should be followed by the name of a queue, as in {CELERY}ai_tasks")
        if key.startswith(CELERY) and is_wildcard(key):
            raise ValueError(f"{key} should name one Celery queue, without a wildcard; separate several by commas")


def has_celery(written: Sequence[str]) -> bool:
    """Return whether a Celery queue is among the keys of a setting."""
    return any(key.startswith(CELERY) for key in written)


def may_be_queues(keys: Iterable[bytes], celery: CeleryKeys) -> list[bytes]:
    """Return the keys, sorted, without the statistics and without Celery's bindings: these are never queues, whatever
    pattern matches them."""
    bindings = (BINDINGS.encode(), celery.key(BINDINGS))
    return sorted(key for key in keys if key != STATS.encode() and not key.startswith(bindings))


class ListLengths:
    """The lists of one setting at one moment, declared ones first, then those with entries; of lists beyond the limit,
    their number and the sum of their lengths."""

    def __init__(self, declared: Collection[bytes]) -> None:
        self._declared = declared
        self._lengths = Remembered[bytes, int]()
        self._rest, self._wrong_type = Distinct(), Distinct()
        self.any = False
        """Whether there is any key."""

    def add(self, key: bytes, length: int | WrongType) -> None:
        """Add a list, or a key that is none."""
        self.any = True
        if isinstance(length, WrongType):
            self._wrong_type.add(key)
        elif self._lengths.get(key) is None:
            rank = 2 * (key not in self._declared) + (length == 0)
            dropped = (key, length) if len(key) > LONGEST_KEY else self._lengths.put(key, length, rank)
            if dropped is not None:
                self._rest.add(*dropped)

    @property
    def lengths(self) -> list[tuple[bytes, int]]:
        """The lists up to the limit, in order of precedence, with their lengths."""
        return self._lengths.items()

    @property
    def rest(self) -> tuple[int, int]:
        """The number of lists beyond the limit, and the sum of their lengths."""
        return self._rest.summed_up(but=(key for key, _ in self._lengths.items()))

    @property
    def wrong_type(self) -> int:
        """The number of keys that are no lists."""
        return self._wrong_type.summed_up()[0]


class Lists:
    """The lists of one setting. An empty list has no key in Redis: a list that had entries is remembered for a day."""

    def __init__(self, written: Sequence[str], celery: CeleryKeys, clock: Callable[[], float] = time.monotonic) -> None:
        """`written`: the keys, key patterns and Celery queues in the setting."""
        self._patterns = [key for key in written if not key.startswith(CELERY)]
        queues = [key.removeprefix(CELERY) for key in written if key.startswith(CELERY)]
        self._celery = {key: queue for queue in queues for key in celery.lists(queue)}
        self._keys = celery
        self._clock = clock
        self._last_seen: dict[bytes, float] = {}
        self.declared = {*self._celery, *(key.encode() for key in self._patterns if not is_wildcard(key))}
        """The keys that are 0 while they do not exist."""

    async def read(self, redis: Redis) -> ListLengths:
        """Read the length of each list: of those that exist, are declared, or had entries in the last day."""
        reading = ListLengths(self.declared)
        async with aclosing(redis.keys(self._patterns, {*self._celery, *self._last_seen})) as batches:
            async for batch in batches:
                keys = may_be_queues(batch, self._keys)
                for key, length in zip(keys, await redis.lengths(keys), strict=True):
                    reading.add(key, length)
                await asyncio.sleep(0)
        self._last_seen = await asyncio.to_thread(self._seen_after, reading)
        return reading

    def name(self, key: bytes) -> str:
        """Return a list's name: that of its Celery queue; else the key after its first colon (`ai_queue:default` ->
        `default`), or the whole key (`ai_tasks`)."""
        if key in self._celery:
            return self._celery[key]
        prefix, colon, rest = key.decode("utf-8", "replace").partition(":")
        return rest if colon else prefix

    def _seen_after(self, reading: ListLengths) -> dict[bytes, float]:
        """Return the lists that had entries: for a day, and a limited number."""
        now = self._clock()
        seen = self._last_seen | {key: now for key, length in reading.lengths if length}
        recent = sorted((at, key) for key, at in seen.items() if now - at < FORGOTTEN_SECONDS)
        return {key: at for at, key in recent[-MAX_VALUES:]}


@dataclass(frozen=True, slots=True)
class Summed:
    """The entries of lists by setting and name, the number of keys that are no lists, and of lists beyond the limit."""

    depths: Mapping[tuple[str, str], int]
    wrong_type: int
    beyond: int


def sum_up(readings: Mapping[str, tuple[Lists, ListLengths]]) -> Summed:
    """Return the entries by the names of the lists; beyond the limit of labels, or of lists, the name is `other`. Takes
    noticeable time at thousands of lists.

    In order of precedence, names go to declared lists, then to lists with entries, then to others.
    """
    order = sorted(
        (key not in lists.declared, length == 0, key, lists.name(key))
        for lists, reading in readings.values()
        for key, length in reading.lengths
    )
    labels = bounded(name for *_, name in order)
    depths: Counter[tuple[str, str]] = Counter()
    number = 0
    for setting, (lists, reading) in readings.items():
        for key, length in reading.lengths:
            depths[setting, labels[lists.name(key)]] += length
        beyond, entries = reading.rest
        if beyond:
            depths[setting, OTHER] += entries
            number += beyond
    return Summed(depths, sum(reading.wrong_type for _, reading in readings.values()), number)
