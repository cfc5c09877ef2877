"""Queue depths, and what the AI queue has processed (contract §1 Redis, §3; spec §3.3).

    hivesync_queue_depth{queue="ai",name="default"} 7.0
    hivesync_queue_processing_seconds_sum{queue="ai"} 81243.5

An empty Redis list has no key: a queue that is declared by name, or was seen before, has depth 0 then.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from exporter.collector import SKIPPED, Sources, skipped
from exporter.labels import MAX_VALUES, bounded
from exporter.sources.redis import Redis, WrongType
from exporter.spec import MetricSpec, Sample, Summary

STATS_KEY = b"ai_queue:stats"

DEPTH = MetricSpec(
    "hivesync_queue_depth",
    "gauge",
    "Jobs waiting in a queue, now.",
    "Redis (length of the list)",
    ("queue", "name"),
)
PROCESSING = MetricSpec(
    "hivesync_queue_processing_seconds",
    "summary",
    "Time spent on jobs of the queue, and how many, as its workers have counted them.",
    "Redis (ai_queue:stats)",
    ("queue",),
)


class Queues:
    """Reads the length of every list the patterns name."""

    name = "queues"
    sources = ("redis",)
    periods = 1
    specs = (DEPTH, PROCESSING, SKIPPED)

    def __init__(self, patterns: Mapping[str, Sequence[str]]) -> None:
        """`patterns`: the key patterns of each queue (`ai`, `preview`)."""
        self._patterns = patterns
        self._seen: dict[str, set[bytes]] = {queue: set() for queue in patterns}
        self._processing: tuple[Sample, ...] = ()

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """A sample a queue and list."""
        samples: list[Sample] = []
        wrong_type = 0
        found = {queue: await self._lists(sources.redis, queue) for queue in self._patterns}
        processing, bad_stats = await _read_processing(sources.redis)
        for queue, lengths in found.items():
            depths = {key: length for key, length in lengths.items() if not isinstance(length, WrongType)}
            wrong_type += len(lengths) - len(depths)
            self._seen[queue] |= set(sorted(depths)[:MAX_VALUES]) if len(self._seen[queue]) < MAX_VALUES else set()
            names = {key: _name(key) for key in depths}
            labels = bounded(names.values())
            by_label: Counter[str] = Counter()
            for key, depth in depths.items():
                by_label[labels[names[key]]] += depth
            samples += [DEPTH.sample(depth, queue=queue, name=label) for label, depth in by_label.items()]
        if processing is not None:
            self._processing = (PROCESSING.sample(processing, queue="ai"),)
        return samples + skipped(self.name, {"wrong_type": wrong_type, "malformed": bad_stats})

    def counters(self) -> Sequence[Sample]:
        """What the workers' own counters said last."""
        return self._processing

    async def _lists(self, redis: Redis, queue: str) -> dict[bytes, int | WrongType]:
        keys = sorted({*await redis.keys(self._patterns[queue]), *self._seen[queue]} - {STATS_KEY})
        return dict(zip(keys, await redis.lengths(keys), strict=True))


async def _read_processing(redis: Redis) -> tuple[Summary | None, int]:
    """What `ai_queue:stats` holds, None where it does not exist, and how many unusable hashes there were (0 or 1)."""
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
