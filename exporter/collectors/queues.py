"""Queue depths, and the jobs processed by the AI queue (docs/definitions.md#queue-depth).

    hivesync_queue_depth{queue="ai",name="default"} 7.0
    hivesync_queue_processing_seconds_sum{queue="ai"} 81243.5

An empty Redis list has no key: a queue that is declared by name, or had jobs in the last day, then has depth 0. A
pattern declares nothing: where no key matches, the queue may have another name, so there is no depth, and an event is
logged, once until a key matches.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from exporter.collector import SKIPPED, Sources, skipped
from exporter.inputs import Need
from exporter.labels import MAX_VALUES, bounded
from exporter.settings import PREFIX
from exporter.sources.redis import Redis, WrongType, is_wildcard
from exporter.spec import Label, MetricSpec, Sample, Summary
from exporter.vocabulary import QUEUES

STATS_KEY = b"ai_queue:stats"
FORGOTTEN_SECONDS = 86_400.0

Lengths = dict[bytes, int | WrongType]

DEPTH = MetricSpec(
    "hivesync_queue_depth",
    "gauge",
    "Jobs waiting in a queue, now. Absent where no key matches the settings AI_QUEUE_KEYS and PREVIEW_QUEUE_KEYS.",
    "Redis (length of the list)",
    (Label("queue", QUEUES), Label("name")),
)
PROCESSING = MetricSpec(
    "hivesync_queue_processing_seconds",
    "summary",
    "Processing time and number of the queue's jobs, as counted by its workers.",
    "Redis (ai_queue:stats)",
    (Label("queue", ("ai",)),),
    needs=(Need(("queue_stats",)),),
)


_log = structlog.get_logger()


class Queues:
    """The collector of queue depths: the length of every list that matches the patterns."""

    name = "queues"
    sources = ("redis",)
    periods = 1
    specs = (DEPTH, PROCESSING, SKIPPED)

    def __init__(
        self,
        patterns: Mapping[str, Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
        not_provided: Collection[str] = (),
    ) -> None:
        """`patterns`: the keys and key patterns of each queue (`ai`, `preview`)."""
        self._patterns = patterns
        self._has_stats = "queue_stats" not in not_provided
        self._clock = clock
        self._last_seen: dict[str, dict[bytes, float]] = {queue: {} for queue in patterns}
        self._unmatched: set[str] = set()
        self._processing: tuple[Sample, ...] = ()

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return one sample per queue and list."""
        waiting = {queue: await self._lengths(sources.redis, queue) for queue in self._patterns}
        processing, bad_stats = await _read_processing(sources.redis) if self._has_stats else (None, 0)

        depths: Counter[tuple[str, str]] = Counter()
        labels = bounded(self._by_importance(waiting))
        for queue, lengths in waiting.items():
            self._say_whether_any(queue, lengths)
            self._remember(queue, lengths)
            for key, length in lengths.items():
                if not isinstance(length, WrongType):
                    depths[queue, labels[_name(key)]] += length
        if processing is not None:
            self._processing = (PROCESSING.sample(processing, queue="ai"),)
        wrong_type = sum(isinstance(length, WrongType) for lengths in waiting.values() for length in lengths.values())
        return [
            *(DEPTH.sample(depth, queue=queue, name=name) for (queue, name), depth in depths.items()),
            *skipped(self.name, {"wrong_type": wrong_type, "malformed": bad_stats}),
        ]

    def counters(self) -> Sequence[Sample]:
        """Return the latest values of the workers' own counters."""
        return self._processing

    async def _lengths(self, redis: Redis, queue: str) -> Lengths:
        keys = sorted({*await redis.keys(self._patterns[queue]), *self._last_seen[queue]} - {STATS_KEY})
        return dict(zip(keys, await redis.lengths(keys), strict=True))

    def _say_whether_any(self, queue: str, lengths: Lengths) -> None:
        """Log a queue without any list: once, until a list exists."""
        if lengths:
            self._unmatched.discard(queue)
        elif queue not in self._unmatched:
            self._unmatched.add(queue)
            _log.warning(
                "queue.no_key_matches",
                queue=queue,
                setting=f"{PREFIX}{queue.upper()}_QUEUE_KEYS",
                patterns=",".join(self._patterns[queue]),
                remedy="name the queue's keys in the setting: one without a wildcard is 0 while it does not exist",
            )

    def _by_importance(self, waiting: Mapping[str, Lengths]) -> list[str]:
        """Return the names of all lists, in order of precedence beyond the limit: declared lists, then lists with jobs,
        then others."""
        declared = {key.encode() for patterns in self._patterns.values() for key in patterns if not is_wildcard(key)}
        lists = (
            (key not in declared, length == 0, key) for of_queue in waiting.values() for key, length in of_queue.items()
        )
        return [_name(key) for *_, key in sorted(lists)]

    def _remember(self, queue: str, lengths: Lengths) -> None:
        """Note the lists with jobs, so that they are 0 later, and not absent: for a day, and a limited number."""
        now = self._clock()
        seen = self._last_seen[queue] | {
            key: now for key, length in lengths.items() if isinstance(length, int) and length
        }
        recent = sorted((at, key) for key, at in seen.items() if now - at < FORGOTTEN_SECONDS)
        self._last_seen[queue] = {key: at for at, key in recent[-MAX_VALUES:]}


async def _read_processing(redis: Redis) -> tuple[Summary | None, int]:
    """Return the values in `ai_queue:stats`, None where it does not exist, and the number of unusable hashes (0 or
    1)."""
    (row,) = await redis.hashes([STATS_KEY], ("processed", "processing_ms"))
    if isinstance(row, WrongType):
        return None, 1
    if row == (None, None):
        return None, 0
    try:
        processed, milliseconds = (float(value or 0) for value in row)
    except ValueError:
        return None, 1
    if not all(math.isfinite(value) and value >= 0 for value in (processed, milliseconds)):
        return None, 1
    return Summary(total=milliseconds / 1000, count=round(processed)), 0


def _name(key: bytes) -> str:
    """`ai_queue:default` -> `default`; `ai_tasks` -> `ai_tasks`."""
    prefix, colon, rest = key.decode("utf-8", "replace").partition(":")
    return rest if colon else prefix
