"""Keys of workers in Redis, and the kinds of workers: the forms in the settings WORKER_KEYS, WORKER_KIND_KEYS and
WORKER_KINDS (docs/definitions.md#worker)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exporter.labels import MAX_VALUES, UNKNOWN, clean, closed, folded
from exporter.vocabulary import WORKER_DEFAULT_KIND, WORKER_ID, WORKER_KINDS

_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class WorkerKey:
    """A pattern of keys, one key per worker: `worker:{id}:heartbeat`, or `worker:heartbeat:*`."""

    pattern: str

    @property
    def scanned(self) -> str:
        """The pattern as Redis understands it."""
        before, name, after = self.pattern.partition(WORKER_ID)
        return f"{_literal(before)}*{_literal(after)}" if name else self.pattern

    def worker(self, key: str) -> str:
        """Return the id in a key, empty for a key of another pattern: the part that `{id}` stands for, or the part
        after the fixed beginning of a pattern with wildcards."""
        before, name, after = self.pattern.partition(WORKER_ID)
        if not name:
            if not _WILDCARD.search(self.pattern):
                return ""
            before = _WILDCARD.split(self.pattern, maxsplit=1)[0]
        if not (before or after) or not key.startswith(before):
            return ""
        rest = key.removeprefix(before)
        return rest.removesuffix(after) if rest.endswith(after) else ""

    def key(self, worker: str) -> bytes:
        """Return the worker's key."""
        return self.pattern.replace(WORKER_ID, worker).encode()


@dataclass(frozen=True, slots=True)
class Kinds:
    """The kinds that heartbeats may name, in lower case, and that of a worker that names none."""

    known: tuple[str, ...] = WORKER_KINDS
    default: str = WORKER_DEFAULT_KIND

    def of(self, word: str | None) -> str:
        """Return the kind for a word: `unknown` for an unknown one."""
        return closed(word, self.known, UNKNOWN) if folded(word) else self.default


def check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the patterns of heartbeats. Raises ValueError for one in which the worker's id cannot be told."""
    for pattern in patterns:
        if pattern.count(WORKER_ID) > 1 or (WORKER_ID in pattern and _WILDCARD.search(pattern)):
            raise ValueError(f"{pattern} should have {WORKER_ID} once, and then none of the wildcards * ? [")
    return patterns


def check_sibling_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys beside a heartbeat. Raises ValueError for one that is not of one worker."""
    for key in keys:
        if WORKER_ID not in key:
            raise ValueError(f"{key} should have {WORKER_ID} in it, as in worker:{WORKER_ID}:type")
    return check_patterns(keys)


def read_kind(word: str) -> str:
    """Return a kind as it is compared. Raises ValueError for one that is no label value."""
    kind = folded(word)
    if not kind or clean(kind) != kind:
        raise ValueError(f"{word!r} should be a word of up to 100 of the characters A-Z a-z 0-9 . _ : -")
    return kind


def read_kinds(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the kinds, each once. Raises ValueError for too many, or one that is no label value."""
    if len(words) > MAX_VALUES:
        raise ValueError(f"should be at most {MAX_VALUES} kinds")
    return tuple(dict.fromkeys(map(read_kind, words)))


def _literal(text: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)
