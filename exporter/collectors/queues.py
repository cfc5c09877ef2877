"""Queue depths, and the jobs processed by the AI queue (docs/definitions.md#queue-depth).

    hivesync_queue_depth{queue="ai",name="default"} 7.0
    hivesync_queue_processing_seconds_sum{queue="ai"} 81243.5

An empty Redis list has no key: a queue that is declared by name, or had jobs in the last day, then has depth 0. A
pattern declares nothing: where no key matches, the queue may have another name, so there is no depth, and an event is
logged, once until a key matches.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from exporter.collector import SKIPPED, Sources, skipped
from exporter.inputs import Need
from exporter.queue_keys import STATS, CeleryKeys, ListLengths, Lists, sum_up
from exporter.remembered import BEYOND, Excess
from exporter.settings import PREFIX
from exporter.sources.redis import Redis, WrongType
from exporter.spec import Label, MetricSpec, Sample, Summary
from exporter.vocabulary import QUEUES

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
    f"Redis ({STATS})",
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
        celery: CeleryKeys | None = None,
        clock: Callable[[], float] = time.monotonic,
        not_provided: Collection[str] = (),
    ) -> None:
        """`patterns`: the keys, key patterns and Celery queues of each queue (`ai`, `preview`)."""
        self._patterns = patterns
        self._has_stats = "queue_stats" not in not_provided
        self._lists = {queue: Lists(keys, celery or CeleryKeys(), clock) for queue, keys in patterns.items()}
        self._unmatched: set[str] = set()
        self._processing: tuple[Sample, ...] = ()
        self._excess = Excess(self.name)

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return one sample per queue and list, or Celery queue."""
        readings = {queue: (lists, await lists.read(sources.redis)) for queue, lists in self._lists.items()}
        processing, bad_stats = await _read_processing(sources.redis) if self._has_stats else (None, 0)
        summed = await asyncio.to_thread(sum_up, readings)

        for queue, (_, reading) in readings.items():
            self._say_whether_any(queue, reading)
        self._excess.note(summed.beyond)
        if processing is not None:
            self._processing = (PROCESSING.sample(processing, queue="ai"),)
        reasons = {"wrong_type": summed.wrong_type, "malformed": bad_stats, BEYOND: summed.beyond}
        return [
            *(DEPTH.sample(depth, queue=queue, name=name) for (queue, name), depth in summed.depths.items()),
            *skipped(self.name, reasons),
        ]

    def counters(self) -> Sequence[Sample]:
        """Return the latest values of the workers' own counters."""
        return self._processing

    def _say_whether_any(self, queue: str, reading: ListLengths) -> None:
        """Log a queue without any list: once, until a list exists."""
        if reading.any:
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


async def _read_processing(redis: Redis) -> tuple[Summary | None, int]:
    """Return the values in `ai_queue:stats`, None where it does not exist, and the number of unusable hashes (0 or
    1)."""
    (row,) = await redis.hashes([STATS.encode()], ("processed", "processing_ms"))
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
