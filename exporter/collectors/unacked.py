"""Messages that Celery's workers have fetched and not acknowledged (docs/definitions.md#unacknowledged-message).

    hivesync_unacked_messages 12.0
    hivesync_oldest_unacked_timestamp_seconds 1767139200.0

Celery keeps them in a hash, whose values are the messages: it is counted, and never read. A sorted set has the time at
which each was fetched. Both are one for all queues of a database of Redis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from exporter.collector import SKIPPED, Sources, skipped
from exporter.queue_keys import CeleryKeys
from exporter.sources.redis import WrongType
from exporter.spec import MetricSpec, Sample

_ABSENT = "Absent where no setting names a Celery queue"

UNACKED = MetricSpec(
    "hivesync_unacked_messages",
    "gauge",
    "Messages that Celery's workers have fetched and not acknowledged, now, over all queues: prefetched ones, those"
    f" that wait for their countdown or ETA, and with `acks_late` those of jobs that run. {_ABSENT}.",
    "Redis (length of the hash `unacked`)",
)
OLDEST = MetricSpec(
    "hivesync_oldest_unacked_timestamp_seconds",
    "gauge",
    "Unix time, by the worker's clock, at which the oldest of these messages was fetched. Absent where there is none."
    f" {_ABSENT}.",
    "Redis (lowest score in `unacked_index`)",
)


class Unacked:
    """The collector of messages without acknowledgement."""

    name = "unacked"
    sources = ("redis",)
    periods = 1
    specs = (UNACKED, OLDEST, SKIPPED)

    def __init__(self, celery: CeleryKeys | None) -> None:
        """`celery`: the names of the keys; None where no setting names a Celery queue."""
        self._celery = celery
        self.content: float | None = None
        """The age of the oldest message (seconds of Redis' clock); None without a message."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return the number of messages and the time of the oldest."""
        if self._celery is None:
            return []
        (messages,) = await sources.redis.sizes([self._celery.key(self._celery.unacked)])
        oldest = await sources.redis.lowest_score(self._celery.key(self._celery.unacked_index))
        self.content = None
        samples = [] if isinstance(messages, WrongType) else [UNACKED.sample(messages)]
        malformed = 0
        # An entry of the index without a message is none: a worker may have died between its two writes.
        if isinstance(oldest, float) and messages != 0:
            if math.isfinite(oldest) and oldest > 0:
                samples.append(OLDEST.sample(oldest))
                self.content = await sources.redis.time() - oldest
            else:
                malformed = 1
        wrong_type = sum(isinstance(value, WrongType) for value in (messages, oldest))
        return [*samples, *skipped(self.name, {"wrong_type": wrong_type, "malformed": malformed})]
