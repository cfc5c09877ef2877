"""Heartbeats of workers, as Redis or PostgreSQL holds them (docs/definitions.md#worker).

    Redis: worker:heartbeat:gpu-1 {kind, last_heartbeat, state, ...}, or worker:gpu-1:heartbeat "1767139200.5"
    PostgreSQL: workers (worker_id, kind, last_heartbeat_at, ...)      -> heartbeats (this) -> collectors/workers.py

The age of a heartbeat is that by the clock of the server that holds it. Heartbeats are read and folded a batch at a
time: beyond the limit of `remembered.py`, a worker is not distinguished from others of its kind.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, islice

from exporter.collector import Sources
from exporter.columns import TEXT, WORD
from exporter.errors import CollectionFailed
from exporter.inputs import OF_GPU_WORKERS, WORKERS
from exporter.labels import UNKNOWN, closed
from exporter.remembered import ID_LENGTH, Distinct, Remembered, cut_id
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


class Heartbeats:
    """The result of a reading: the workers that are not forgotten, and heartbeats left out by reason. `now` is the
    server's clock (unix seconds)."""

    def __init__(self, now: float, forgotten_seconds: float, kinds: Kinds) -> None:
        self.now, self._forgotten_seconds, self._kinds = now, forgotten_seconds, kinds
        self._latest = Remembered[str, Worker]()
        self._left_out = {reason: Distinct() for reason in ("wrong_type", "gone", "malformed", "future_heartbeat")}
        self._beyond = Distinct()
        self.rest: dict[str, Worker] = {}
        """Of the workers beyond the limit, the one silent for longest, by kind."""

    @property
    def workers(self) -> list[Worker]:
        """Each worker up to the limit, by id, with its latest heartbeat: a stale row or key may be beside it."""
        return [worker for _, worker in self._latest.items()]

    @property
    def beyond(self) -> int:
        """The number of workers beyond the limit."""
        number, _ = self._beyond.summed_up()
        return number

    @property
    def left_out(self) -> Mapping[str, int]:
        """The number of heartbeats left out, by reason."""
        return {reason: keys.summed_up()[0] for reason, keys in self._left_out.items()}

    def leave_out(self, reason: str, key: Hashable) -> None:
        """Count a key or row without a heartbeat, once."""
        self._left_out[reason].add(key)

    def add(self, key: Hashable, worker: str, at: float | None, words: Fields) -> None:
        """Add the heartbeat (unix seconds, None for an invalid time) in a key or row; `words`: kind, state, instance
        type, lifecycle."""
        if at is None or not math.isfinite(at) or at < 0:
            self.leave_out("malformed", key)
        elif at > self.now + LONGEST_LEAD:
            self.leave_out("future_heartbeat", key)
        elif self.now - at <= self._forgotten_seconds:
            known = self._latest.get(worker)
            if known is not None and known.last_heartbeat >= at:
                return
            kind, state, instance_type, lifecycle = words
            dropped = self._latest.put(
                worker,
                Worker(
                    id=worker,
                    kind=self._kinds.of(kind),
                    last_heartbeat=at,
                    state=closed(state, GPU_STATES, "") or None,
                    instance_type=instance_type or UNKNOWN,
                    lifecycle=closed(lifecycle, LIFECYCLES, lifecycle or UNKNOWN),
                ),
            )
            if dropped is not None:
                self._drop(dropped[1])

    def _drop(self, worker: Worker) -> None:
        self._beyond.add(worker.id)
        known = self.rest.get(worker.kind)
        if known is None or (worker.last_heartbeat, known.id) < (known.last_heartbeat, worker.id):
            self.rest[worker.kind] = worker


# Redis --------------------------------------------------------------------------------------------------------------

_WORDS = ("kind", "state", "instance_type", "lifecycle")
_NO_WORDS: Fields = (None,) * len(_WORDS)

Row = Fields | str | WrongType | None
"""The fields of a hash, a string, None for no key, WrongType for anything else."""


@dataclass(frozen=True, slots=True)
class StoredHeartbeat:
    """A heartbeat as Redis holds it: the `value` of its key (time and words of a hash, a string with the time, None for
    a key that is gone), and the words of `_WORDS`, with those of its siblings."""

    key: bytes
    worker: str
    value: Row
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
        heartbeats = Heartbeats(await redis.time(), forgotten_seconds, self._kinds)
        reader = _Reader(redis, self._kind_keys)
        async with aclosing(redis.keys(self.scanned)) as batches:
            async for keys in batches:
                for each in await reader.read(self._workers(keys)):
                    _add(heartbeats, each)
                await asyncio.sleep(0)
        reader.check()
        return heartbeats

    async def read_keys(self, redis: Redis, keys: Iterable[bytes], most: int) -> Sequence[StoredHeartbeat]:
        """Return what these keys hold, without those of siblings; of many, the first `most`."""
        reader = _Reader(redis, self._kind_keys)
        found = await reader.read(islice(self._workers(keys), most))
        reader.check()
        return found

    def sibling(self, worker: str) -> bytes | None:
        """Return the first key beside a worker's heartbeat; None where the settings name none."""
        return self._kind_keys[0].key(worker) if self._kind_keys else None

    def _workers(self, keys: Iterable[bytes]) -> Iterator[tuple[bytes, str]]:
        """Yield the keys with their workers, without those of siblings."""
        return ((key, worker) for key in keys if (worker := self._worker(key)) is not None)

    def _worker(self, key: bytes) -> str | None:
        """Return the worker of a key that holds a heartbeat, None for a sibling's key."""
        text = key.decode("utf-8", "replace")
        if any(pattern.worker(text) for pattern in self._kind_keys):
            return None
        return next(filter(None, (pattern.worker(text) for pattern in self._patterns)), text)


def _add(heartbeats: Heartbeats, stored: StoredHeartbeat) -> None:
    if isinstance(stored.value, WrongType):
        heartbeats.leave_out("wrong_type", stored.key)
    elif stored.value is None:
        heartbeats.leave_out("gone", stored.key)
    else:
        heartbeats.add(stored.key, cut_id(stored.worker), timestamp(stored.time), stored.words)


class _Reader:
    """A reading of heartbeats and their siblings, in batches."""

    def __init__(self, redis: Redis, kind_keys: Sequence[WorkerKey]) -> None:
        self._rows = _Rows(redis, ("last_heartbeat", *_WORDS))
        self._siblings = [(pattern, _Rows(redis, _WORDS)) for pattern in kind_keys]

    async def read(self, keys: Iterable[tuple[bytes, str]]) -> Sequence[StoredHeartbeat]:
        """Return what these keys of workers hold."""
        workers = dict(keys)
        rows = await self._rows.read(list(workers))
        siblings = [
            map(_words, await reader.read([pattern.key(worker) for worker in workers.values()]))
            for pattern, reader in self._siblings
        ]
        return [
            StoredHeartbeat(key, worker, row, _first_of(row[1:] if isinstance(row, tuple) else _NO_WORDS, *others))
            for (key, worker), row, *others in zip(workers.items(), rows, *siblings, strict=True)
        ]

    def check(self) -> None:
        """Raise a refusal that counts."""
        for rows in (self._rows, *(reader for _, reader in self._siblings)):
            rows.check()


class _Rows:
    """The rows of many keys, in batches."""

    def __init__(self, redis: Redis, fields: Sequence[str]) -> None:
        self._redis, self._fields = redis, fields
        self._refusal: CollectionFailed | None = None
        self._all_strange = True

    async def read(self, keys: Sequence[bytes]) -> list[Row]:
        """Return a row per key."""
        rows: list[Row] = [
            row if isinstance(row, WrongType) or any(row) else None
            for row in await self._redis.hashes(keys, self._fields)
        ]
        strange = [index for index, row in enumerate(rows) if isinstance(row, WrongType)]
        self._all_strange = self._all_strange and len(strange) == len(keys)
        try:
            strings = await self._redis.strings([keys[index] for index in strange])
        except CollectionFailed as error:
            self._refusal = error
            return rows
        for index, value in zip(strange, strings, strict=True):
            rows[index] = value
        return rows

    def check(self) -> None:
        """Raise the refusal to read strings, where all keys are: otherwise these keys are strangers."""
        if self._refusal is not None and self._all_strange:
            raise self._refusal


def _words(row: Row) -> Fields:
    """Return the words in a sibling: a string is the kind."""
    return row if isinstance(row, tuple) else (None if isinstance(row, WrongType) else row, *_NO_WORDS[1:])


def _first_of(*rows: Sequence[str | None]) -> Fields:
    """Return, per field, the first value that is there."""
    return tuple(next(filter(None, values), None) for values in zip(*rows, strict=True))


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

FOLDED_ROWS = 200
"""Rows folded at a time: under a millisecond's work."""

_COLUMNS = (
    "SELECT pg_attribute.attname::text FROM pg_attribute"
    f" WHERE pg_attribute.attrelid = to_regclass('{WORKERS}') AND pg_attribute.attnum > 0"
    " AND NOT pg_attribute.attisdropped"
)
LONGEST_TEXT = 1_000
"""Characters that are read of a text; of a longer id, the beginning and a digest."""

_ID = TEXT.format("workers.worker_id")
_HEARTBEATS = f"""
SELECT CASE WHEN length({_ID}) > {LONGEST_TEXT} THEN left({_ID}, {ID_LENGTH}) || md5({_ID}) ELSE {_ID} END,
       extract(epoch FROM workers.last_heartbeat_at)::float8,
       left({WORD.format("workers.kind")}, {LONGEST_TEXT}), {{0}}
FROM workers WHERE workers.last_heartbeat_at >= %(since)s OR workers.last_heartbeat_at IS NULL
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
            optional = (
                f"left({TEXT.format(f'workers.{name}')}, {LONGEST_TEXT})" if name in present else "NULL::text"
                for name in OF_GPU_WORKERS
            )
            since = transaction.now - timedelta(seconds=forgotten_seconds)
            heartbeats = Heartbeats(transaction.now.timestamp(), forgotten_seconds, self._kinds)
            query, number = _HEARTBEATS.format(", ".join(optional)), count()
            async with aclosing(transaction.batches(query, {"since": since})) as batches:
                async for rows in batches:
                    for start in range(0, len(rows), FOLDED_ROWS):
                        for worker, at, *words in rows[start : start + FOLDED_ROWS]:
                            heartbeats.add(next(number), cut_id(worker or ""), at, tuple(words))
                        await asyncio.sleep(0)
        return heartbeats


def build_heartbeats(settings: Settings) -> RedisHeartbeats | PostgresHeartbeats:
    """Return the reader for the server that holds the heartbeats."""
    kinds = Kinds(settings.worker_kinds, settings.worker_default_kind)
    if settings.workers_from == PostgresHeartbeats.source:
        return PostgresHeartbeats(kinds)
    return RedisHeartbeats(settings.worker_keys, settings.worker_kind_keys, kinds)
