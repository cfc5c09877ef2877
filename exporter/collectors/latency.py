"""Average job latency, from created to completed (docs/definitions.md#job-latency).

    hivesync_job_latency_average_seconds{queue="ai",window="15m"} 6.4

A window without a succeeded job has no sample: no average is not 0. A job that completed before it was created is left
out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collector import SKIPPED, Sources, skipped
from exporter.columns import is_word
from exporter.definitions import word
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.vocabulary import QUEUES
from exporter.windows import HOUR, MINUTE, SECOND
from exporter.windows.resync import SPECS as RESYNC_SPECS
from exporter.windows.sql import MICROSECONDS
from exporter.windows.sums import SlidingSums, Sums, history_of

WINDOWS = {"1m": MINUTE, "15m": 15 * MINUTE, "1h": HOUR}
TABLES = {"ai": "ai_usage_events", "preview": "preview_jobs"}


def _average(queue: str, table: str) -> str:
    """Return SQL for the definition."""
    return f"""
SELECT '{queue}', windows.name, average FROM
  (VALUES ('1m', interval '1 minute'), ('15m', interval '15 minutes'), ('1h', interval '1 hour'))
    AS windows(name, length),
  LATERAL (SELECT avg(extract(epoch FROM completed_at - created_at))::float8 AS average FROM {table}
           WHERE {word("status")} = 'succeeded' AND completed_at >= created_at AND isfinite(created_at)
             AND completed_at > %(now)s - windows.length AND completed_at <= %(now)s) AS averages
WHERE average IS NOT NULL
"""


LATENCY = MetricSpec(
    "hivesync_job_latency_average_seconds",
    "gauge",
    "Mean time from creation to completion of the jobs that succeeded in the window that ends now; absent without any.",
    "PostgreSQL (ai_usage_events, preview_jobs)",
    (Label("queue", QUEUES), Label("window", tuple(WINDOWS))),
    Definition(" UNION ALL ".join((_average("ai", "ai_usage_events"), _average("preview", "preview_jobs")))),
)


def latency_sums(table: str) -> Sums:
    """Return the sums of a table's jobs that succeeded: microseconds, their number, and the number of jobs left out."""
    latency = f"{table}.completed_at - {table}.created_at"
    possible = f"({table}.completed_at >= {table}.created_at AND isfinite({table}.created_at))"
    return Sums(
        table,
        f"{table}.completed_at",
        (
            MICROSECONDS.format(f"sum({latency}) FILTER (WHERE {possible})"),
            f"count(*) FILTER (WHERE {possible})",
            f"count(*) FILTER (WHERE NOT {possible})",
        ),
        is_word(f"{table}.status", "succeeded"),
        counts=(1, 2),
    )


class Latency:
    """A window on the completed jobs of each queue."""

    name = "latency"
    sources = ("postgres",)
    periods = 1
    specs = (LATENCY, SKIPPED, *RESYNC_SPECS)

    def __init__(self) -> None:
        self._queues = {queue: SlidingSums(latency_sums(table), WINDOWS) for queue, table in TABLES.items()}
        self._history = history_of(self.name, *self._queues.values(), part=10 * MINUTE)

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return one sample per queue and window in which a job succeeded."""
        samples: list[Sample] = []
        impossible = 0
        async with self._history.reading(sources.postgres) as plan:
            for queue, sums in self._queues.items():
                windows = await sums.read(plan)
                impossible += int(windows["1h"][2])
                samples += [
                    LATENCY.sample(int(total) / int(count) / SECOND, queue=queue, window=window)
                    for window, (total, count, _) in windows.items()
                    if count
                ]
        return samples + skipped(self.name, {"negative_latency": impossible})

    def read_afresh(self) -> None:
        """Make the next refresh look for late rows."""
        self._history.look_back()

    def counters(self) -> Sequence[Sample]:
        """Return the resync counters."""
        return self._history.counters()
