"""Dead letters: messages that HiveSync has given up, in lists that no worker reads (docs/definitions.md#dead-letter).

hivesync_dead_letters{name="dlq_tasks"} 3.0
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from exporter.collector import SKIPPED, Sources, skipped
from exporter.queue_keys import CeleryKeys, Lists, sum_up
from exporter.remembered import BEYOND, Excess
from exporter.spec import Label, MetricSpec, Sample

DEAD_LETTERS = MetricSpec(
    "hivesync_dead_letters",
    "gauge",
    "Messages in a list of dead letters, now; absent without the setting DEAD_LETTER_KEYS.",
    "Redis (length of the list)",
    (Label("name"),),
)


class DeadLetters:
    """The collector of the lists of dead letters. Messages are counted, and never read."""

    name = "dead_letters"
    sources = ("redis",)
    periods = 1
    specs = (DEAD_LETTERS, SKIPPED)

    def __init__(
        self, keys: Sequence[str], celery: CeleryKeys | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`keys`: keys, key patterns and Celery queues; there may be none."""
        self._lists = Lists(keys, celery or CeleryKeys(), clock)
        self._is_configured = bool(keys)
        self._excess = Excess(self.name)

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return one sample per list or Celery queue."""
        if not self._is_configured:
            return []
        reading = await self._lists.read(sources.redis)
        summed = await asyncio.to_thread(sum_up, {self.name: (self._lists, reading)})
        self._excess.note(summed.beyond)
        return [
            *(DEAD_LETTERS.sample(number, name=name) for (_, name), number in summed.depths.items()),
            *skipped(self.name, {"wrong_type": summed.wrong_type, BEYOND: summed.beyond}),
        ]
