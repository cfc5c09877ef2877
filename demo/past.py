"""The past of metrics that HiveSync keeps no rows of: online users and devices, queues, workers.

    history.py (rows) -> read_past (this) -> rollup/openmetrics.py -> blocks of the demo's Prometheus (rolling_up.py)

The last two days, so that the charts of a new demo are not blank. Sessions count by docs/definitions.md#online-user as
far as rows show it; in the queue are the requests of the seconds that a job waits on average; all workers are healthy.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

import psycopg

from demo.history import WAIT_SECONDS
from demo.workers import CPU_WORKERS, GPU_WORKERS
from exporter.collectors.online import LIVE_VIEW_SESSIONS, ONLINE_DEVICES, ONLINE_USERS
from exporter.collectors.queues import DEPTH
from exporter.collectors.workers import HEALTHY
from exporter.spec import MetricSpec
from rollup.history import HourlySeries

# A sample is shown for five minutes: so points every four make a line, and the last ends before the first scrape.
_TIMES = "generate_series(now() - interval '2 days', now() - interval '5 minutes', interval '4 minutes') AS at"

_ONLINE = f"""
SELECT at, count(DISTINCT user_id), count(id) FILTER (WHERE kind = 'live_view'),
       count(id) FILTER (WHERE device_type = 'desktop'), count(id) FILTER (WHERE device_type = 'ipad'),
       count(id) FILTER (WHERE device_type = 'phone'), count(id) FILTER (WHERE device_type IS NULL)
FROM {_TIMES} LEFT JOIN sessions
  ON created_at <= at AND coalesce(ended_at, last_heartbeat_at + interval '2 minutes') > at
GROUP BY at
"""

_ONLINE_SERIES: tuple[tuple[MetricSpec, tuple[str, ...]], ...] = (
    (ONLINE_USERS, ()),
    (LIVE_VIEW_SESSIONS, ()),
    (ONLINE_DEVICES, ("desktop",)),
    (ONLINE_DEVICES, ("ipad",)),
    (ONLINE_DEVICES, ("phone",)),
    (ONLINE_DEVICES, ("unknown",)),
)
"""Of the columns of `_ONLINE`, in their order."""

_WAITING = f"""
SELECT at, count(id) FROM {_TIMES}
LEFT JOIN {{table}} ON created_at <= at AND created_at > at - interval '{WAIT_SECONDS} seconds' GROUP BY at
"""


def read_past(url: str) -> list[HourlySeries]:
    """Return the series, a point every four minutes."""
    with psycopg.connect(url) as connection:
        online: dict[int, dict[datetime, float]] = defaultdict(dict)
        for at, *numbers in connection.execute(_ONLINE.encode()):
            for column, number in enumerate(numbers):
                online[column][at] = number
        queues = {
            queue: {at: float(count) for at, count in connection.execute(_WAITING.format(table=table).encode())}
            for queue, table in (("ai", "ai_usage_events"), ("preview", "preview_jobs"))
        }
    workers = [*((worker, "cpu") for worker in CPU_WORKERS), *((worker.id, "gpu") for worker in GPU_WORKERS)]
    return [
        *(HourlySeries(spec, labels, online[column]) for column, (spec, labels) in enumerate(_ONLINE_SERIES)),
        *(HourlySeries(DEPTH, (queue, "default"), points) for queue, points in queues.items()),
        *(HourlySeries(HEALTHY, labels, dict.fromkeys(online[0], 1.0)) for labels in workers),
    ]
