r"""Lists of Redis that are queues: by key, by pattern, or by the name of a Celery queue
(docs/definitions.md#celery-queue).

settings -> Lists -> collectors/queues.py, collectors/dead_letters.py

ai_queue:default    one list, which is empty while it does not exist
ai_queue:*          the lists of this pattern that exist, or had entries in the last day
celery:ai_tasks     ai_tasks, ai_tasks\x06\x163, ai_tasks\x06\x166, ai_tasks\x06\x169: one queue, and no other list
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporter.labels import MAX_VALUES
from exporter.sources.redis import Redis, WrongType, is_wildcard

CELERY = "celery:"
"""The beginning of a Celery queue's name in the settings."""

FORGOTTEN_SECONDS = 86_400.0

STATS = "ai_queue:stats"
"""The statistics of the AI queue, which patterns of queues may match."""

BINDINGS = "_kombu.binding"
"""The beginning of the keys in which Celery keeps the names of its queues: they are no lists."""

Lengths = Mapping[bytes, int | WrongType]

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

    async def lengths(self, redis: Redis) -> Lengths:
        """Return the length of each list: of those that exist, are declared, or had entries in the last day."""
        found = {*await redis.keys(self._patterns), *self._celery, *self._last_seen}
        keys = may_be_queues(found, self._keys)
        lengths = dict(zip(keys, await redis.lengths(keys), strict=True))
        self._remember(lengths)
        return lengths

    def name(self, key: bytes) -> str:
        """Return a list's name: that of its Celery queue; else the key after its first colon (`ai_queue:default` ->
        `default`), or the whole key (`ai_tasks`)."""
        if key in self._celery:
            return self._celery[key]
        prefix, colon, rest = key.decode("utf-8", "replace").partition(":")
        return rest if colon else prefix

    def _remember(self, lengths: Lengths) -> None:
        """Note the lists with entries: for a day, and a limited number."""
        now = self._clock()
        seen = self._last_seen | {key: now for key, length in lengths.items() if isinstance(length, int) and length}
        recent = sorted((at, key) for key, at in seen.items() if now - at < FORGOTTEN_SECONDS)
        self._last_seen = {key: at for at, key in recent[-MAX_VALUES:]}


def by_importance(lists: Sequence[tuple[Lists, Lengths]]) -> list[str]:
    """Return the names of all lists, in order of precedence beyond the limit of labels: declared lists, then lists with
    entries, then others."""
    order = sorted(
        (key not in of.declared, length == 0, key, of.name(key))
        for of, lengths in lists
        for key, length in lengths.items()
    )
    return [name for *_, name in order]
