"""Heartbeats of workers, as Redis or PostgreSQL holds them (docs/definitions.md#worker).

    Redis: worker:heartbeat:gpu-1 {kind, last_heartbeat, state, ...}, or worker:gpu-1:heartbeat "1767139200.5"
    PostgreSQL: workers (worker_id, kind, last_heartbeat_at, ...)      -> heartbeats (this) -> collectors/workers.py

The age of a heartbeat is that by the clock of the server that holds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from exporter.collector import Sources
from exporter.columns import TEXT, WORD
from exporter.errors import CollectionFailed
from exporter.inputs import OF_GPU_WORKERS, WORKERS
from exporter.labels import UNKNOWN, closed
from exporter.settings import Settings
from exporter.sources.postgres import Postgres
from exporter.sources.redis import Fields, Redis, WrongType
from exporter.vocabulary import GPU_STATES, LIFECYCLES
from exporter.worker_keys import Kinds, WorkerKey

LONGEST_LEAD = 300.0
"""Seconds by which a heartbeat may be ahead of the clock; beyond that it cannot be true (a fault of clocks, not of
workers; or milliseconds in place of seconds)."""

_DATE = len("2026-03-17")


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's latest heartbeat (unix seconds). `state` is None where it has no known state."""

    id: str
    kind: str
    last_heartbeat: float
    state: str | None
    instance_type: str
    lifecycle: str


@dataclass
class Heartbeats:
    """The result of a reading: the workers that are not forgotten, and heartbeats left out by reason. `now` is the
    server's clock (unix seconds)."""

    now: float
    forgotten_seconds: float
    kinds: Kinds
    left_out: dict[str, int] = field(
        default_factory=lambda: {"wrong_type": 0, "gone": 0, "malformed": 0, "future_heartbeat": 0}
    )

    _latest: dict[str, Worker] = field(default_factory=dict)

    @property
    def workers(self) -> list[Worker]:
        """Each worker with its latest heartbeat: a stale row or key may be beside it."""
        return list(self._latest.values())

    def add(self, worker: str, at: float | None, words: Fields) -> None:
        """Add a heartbeat (unix seconds, None for an invalid time); `words`: kind, state, instance type, lifecycle."""
        if at is None or not math.isfinite(at) or at < 0:
            self.left_out["malformed"] += 1
        elif at > self.now + LONGEST_LEAD:
            self.left_out["future_heartbeat"] += 1
        elif self.now - at <= self.forgotten_seconds:
            known = self._latest.get(worker)
            if known is not None and known.last_heartbeat >= at:
                return
            kind, state, instance_type, lifecycle = words
            self._latest[worker] = Worker(
                id=worker,
                kind=self.kinds.of(kind),
                last_heartbeat=at,
                state=closed(state, GPU_STATES, "") or None,
                instance_type=instance_type or UNKNOWN,
                lifecycle=closed(lifecycle, LIFECYCLES, lifecycle or UNKNOWN),
            )


# Redis --------------------------------------------------------------------------------------------------------------

_WORDS = ("kind", "state", "instance_type", "lifecycle")
_NO_WORDS: Fields = (None,) * len(_WORDS)


@dataclass(frozen=True, slots=True)
class StoredHeartbeat:
    """A heartbeat as Redis holds it: the `value` of its key (time and words of a hash, a string with the time, None for
    a key that is gone), and the words of `_WORDS`, with those of its siblings."""

    key: bytes
    worker: str
    value: Fields | str | WrongType | None
    words: Fields

    @property
    def time(self) -> str | None:
        """The time as it is written."""
        return self.value[0] if isinstance(self.value, tuple) else self.value if isinstance(self.value, str) else None


class RedisHeartbeats:
    """Heartbeats in hashes, or in strings that hold the time alone.

    A sibling key of `kind_keys` adds words that the heartbeat does not have: a string is the kind, a hash has the
    fields of a heartbeat.
    """

    source = Redis.name

    def __init__(self, patterns: Sequence[str], kind_keys: Sequence[str], kinds: Kinds) -> None:
        self._patterns = [WorkerKey(pattern) for pattern in patterns]
        self._kind_keys = [WorkerKey(pattern) for pattern in kind_keys]
        self._kinds = kinds

    @property
    def scanned(self) -> list[str]:
        """The patterns of the keys, as Redis understands them."""
        return [pattern.scanned for pattern in self._patterns]

    async def read(self, sources: Sources, forgotten_seconds: float) -> Heartbeats:
        """Read every heartbeat."""
        redis = sources.redis
        found = await self.read_keys(redis, await redis.keys(self.scanned))
        heartbeats = Heartbeats(await redis.time(), forgotten_seconds, self._kinds)
        for each in found:
            if isinstance(each.value, WrongType):
                heartbeats.left_out["wrong_type"] += 1
            elif each.value is None:
                heartbeats.left_out["gone"] += 1
            else:
                heartbeats.add(each.worker, timestamp(each.time), each.words)
        return heartbeats

    async def read_keys(
        self, redis: Redis, keys: Iterable[bytes], most: int | None = None
    ) -> Sequence[StoredHeartbeat]:
        """Return what these keys hold, without those of siblings; of many, the first `most`."""
        named = ((key, worker) for key in keys if (worker := self._worker(key)) is not None)
        workers = dict(islice(named, most))
        rows = await read_rows(redis, list(workers), ("last_heartbeat", *_WORDS))
        siblings = [await self._siblings(redis, workers.values(), pattern) for pattern in self._kind_keys]
        return [
            StoredHeartbeat(key, worker, row, _first_of(row[1:] if isinstance(row, tuple) else _NO_WORDS, *others))
            for (key, worker), row, *others in zip(workers.items(), rows, *siblings, strict=True)
        ]

    def sibling(self, worker: str) -> bytes | None:
        """Return the first key beside a worker's heartbeat; None where the settings name none."""
        return self._kind_keys[0].key(worker) if self._kind_keys else None

    def _worker(self, key: bytes) -> str | None:
        """Return the worker of a key that holds a heartbeat, None for a sibling's key."""
        text = key.decode("utf-8", "replace")
        if any(pattern.worker(text) for pattern in self._kind_keys):
            return None
        return next(filter(None, (pattern.worker(text) for pattern in self._patterns)), text)

    async def _siblings(self, redis: Redis, workers: Iterable[str], pattern: WorkerKey) -> list[Fields]:
        rows = await read_rows(redis, [pattern.key(worker) for worker in workers], _WORDS)
        return [row if isinstance(row, tuple) else (_text(row), *_NO_WORDS[1:]) for row in rows]


async def read_rows(
    redis: Redis, keys: Sequence[bytes], fields: Sequence[str]
) -> list[Fields | str | WrongType | None]:
    """Return, per key, the fields of a hash, a string, None for no key, or WrongType for anything else."""
    rows: list[Fields | str | WrongType | None] = [
        row if isinstance(row, WrongType) or any(row) else None for row in await redis.hashes(keys, fields)
    ]
    others = [index for index, row in enumerate(rows) if isinstance(row, WrongType)]
    if not others:
        return rows
    try:
        strings = await redis.strings([keys[index] for index in others])
    except CollectionFailed:
        # A role that may not read strings needs to, where all keys are strings; otherwise these keys are strangers.
        if len(others) == len(keys):
            raise
        return rows
    for index, value in zip(others, strings, strict=True):
        rows[index] = value
    return rows


def _first_of(*rows: Sequence[str | None]) -> Fields:
    """Return, per field, the first value that is there."""
    return tuple(next(filter(None, values), None) for values in zip(*rows, strict=True))


def _text(row: str | WrongType | None) -> str | None:
    return None if isinstance(row, WrongType) else row


def timestamp(value: str | None) -> float | None:
    """Return unix seconds of a number, or of a date and time in ISO 8601 (UTC where it has no zone); None for an
    invalid value."""
    text = (value or "").strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    if len(text) <= _DATE:
        return None  # a day is no time
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


# PostgreSQL ---------------------------------------------------------------------------------------------------------

_COLUMNS = (
    "SELECT pg_attribute.attname::text FROM pg_attribute"
    f" WHERE pg_attribute.attrelid = to_regclass('{WORKERS}') AND pg_attribute.attnum > 0"
    " AND NOT pg_attribute.attisdropped"
)
_HEARTBEATS = f"""
SELECT {TEXT.format("workers.worker_id")}, extract(epoch FROM workers.last_heartbeat_at)::float8,
       {WORD.format("workers.kind")}, {{0}}
FROM workers WHERE workers.last_heartbeat_at >= %(since)s OR workers.last_heartbeat_at IS NULL
ORDER BY {TEXT.format("workers.worker_id")} COLLATE "C"
"""


class PostgresHeartbeats:
    """Heartbeats in the table or view `workers`. Columns that only GPU workers have may be missing."""

    source = Postgres.name

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds

    async def read(self, sources: Sources, forgotten_seconds: float) -> Heartbeats:
        """Read every heartbeat. Raises CollectionFailed where the table or a required column is missing."""
        async with sources.postgres.transaction() as transaction:
            present = {column for (column,) in await transaction.rows(_COLUMNS)}
            optional = (TEXT.format(f"workers.{name}") if name in present else "NULL::text" for name in OF_GPU_WORKERS)
            since = transaction.now - timedelta(seconds=forgotten_seconds)
            rows = await transaction.rows(_HEARTBEATS.format(", ".join(optional)), {"since": since})
            heartbeats = Heartbeats(transaction.now.timestamp(), forgotten_seconds, self._kinds)
        for worker, at, *words in rows:
            heartbeats.add(worker or "", at, tuple(words))
        return heartbeats


def build_heartbeats(settings: Settings) -> RedisHeartbeats | PostgresHeartbeats:
    """Return the reader for the server that holds the heartbeats."""
    kinds = Kinds(settings.worker_kinds, settings.worker_default_kind)
    if settings.workers_from == PostgresHeartbeats.source:
        return PostgresHeartbeats(kinds)
    return RedisHeartbeats(settings.worker_keys, settings.worker_kind_keys, kinds)
