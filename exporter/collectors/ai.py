"""AI requests, how they spread over users, and AI errors (contract §2; spec §3.2).

hivesync_ai_requests_in_window{window="1h"} 212.0
hivesync_ai_requests_per_user{window="24h",statistic="p90"} 14.0
hivesync_ai_errors_in_window{window="24h",kind="timeout"} 3.0
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collector import Sources
from exporter.labels import OTHER
from exporter.sliding import MINUTE_OF, USER, SlidingSums, Sums
from exporter.sources.postgres import Transaction, moment
from exporter.spec import MetricSpec, Sample
from exporter.windows import DAY, HOUR, MINUTE, Integers, ReadCursor, UserCounts, minute, percentile

REQUEST_WINDOWS = {"1m": MINUTE, "1h": HOUR, "24h": DAY}
ERROR_KINDS = ("provider_error", "timeout", "safety_rejection")

REQUESTS = MetricSpec(
    "hivesync_ai_requests_in_window",
    "gauge",
    "AI requests created in the window that ends now.",
    "PostgreSQL (ai_usage_events.created_at)",
    ("window",),
)
PER_USER = MetricSpec(
    "hivesync_ai_requests_per_user",
    "gauge",
    "AI requests a user over users with at least one in the window that ends now: median, 90th percentile, maximum.",
    "PostgreSQL (ai_usage_events.created_at, user_id)",
    ("window", "statistic"),
)
ERRORS = MetricSpec(
    "hivesync_ai_errors_in_window",
    "gauge",
    "AI requests that failed in the window that ends now, by kind of error.",
    "PostgreSQL (ai_usage_events.completed_at, error_kind)",
    ("window", "kind"),
)

_KNOWN_KINDS = ", ".join(f"'{kind}'" for kind in ERROR_KINDS)
_KIND_COUNTS = (
    *(f"count(*) FILTER (WHERE ai_usage_events.error_kind = '{kind}')" for kind in ERROR_KINDS),
    f"count(*) FILTER (WHERE (ai_usage_events.error_kind IN ({_KNOWN_KINDS})) IS NOT TRUE)",
)

_PER_USER = (
    f"SELECT {MINUTE_OF.format('requests.created_at')}, {USER.format('requests.user_id')}, count(*) FROM"
    " (SELECT ai_usage_events.created_at, ai_usage_events.user_id FROM ai_usage_events"
    "  WHERE ai_usage_events.created_at > %(since)s AND ai_usage_events.created_at <= %(now)s"
    "  AND ai_usage_events.user_id IS NOT NULL) AS requests GROUP BY 1, 2"
)
_PER_USER_EDGE = (
    f"SELECT {USER.format('ai_usage_events.user_id')}, count(*) FROM ai_usage_events"
    " WHERE ai_usage_events.created_at > %(start)s AND ai_usage_events.created_at <= %(end)s"
    " AND ai_usage_events.user_id IS NOT NULL GROUP BY 1"
)


class Ai:
    """Three windows on `ai_usage_events`: requests, requests a user, errors."""

    name = "ai"
    sources = ("postgres",)
    periods = 1
    specs = (REQUESTS, PER_USER, ERRORS)

    def __init__(self) -> None:
        self._requests = SlidingSums(
            Sums("ai_usage_events", "ai_usage_events.created_at", ("count(*)",)), REQUEST_WINDOWS
        )
        self._errors = SlidingSums(
            Sums(
                "ai_usage_events",
                "ai_usage_events.completed_at",
                _KIND_COUNTS,
                "ai_usage_events.status = 'failed'",
            ),
            {"24h": DAY},
        )
        self._per_user = PerUser()

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Requests by window, statistics a user (none while nobody asked anything), errors by kind."""
        cursors = (self._requests.cursor, self._errors.cursor, self._per_user.cursor)
        async with sources.postgres.transaction(fill=any(cursor.filling for cursor in cursors)) as transaction:
            requests = await self._requests.read(transaction)
            errors = (await self._errors.read(transaction))["24h"]
            per_user = await self._per_user.read(transaction)
        samples = [REQUESTS.sample(int(sums[0]), window=window) for window, sums in requests.items()]
        for kind, count in zip((*ERROR_KINDS, OTHER), errors.tolist(), strict=True):
            samples.append(ERRORS.sample(count, window="24h", kind=kind))
        if len(per_user):
            statistics = {
                "median": percentile(per_user, 0.5),
                "p90": percentile(per_user, 0.9),
                "max": float(per_user.max()),
            }
            samples += [PER_USER.sample(value, window="24h", statistic=name) for name, value in statistics.items()]
        return samples


class PerUser:
    """AI requests a user over the last 24 hours."""

    def __init__(self) -> None:
        self._counts = UserCounts()
        self.cursor = ReadCursor(horizon=DAY)

    async def read(self, transaction: Transaction) -> Integers:
        """How many requests each user with at least one made, in no order."""
        now = transaction.now_us
        since, fill = self.cursor.since(now)
        rows = await transaction.integers(_PER_USER, 3, {"since": moment(since)})
        start = minute(now - DAY)
        edge = await transaction.integers(
            _PER_USER_EDGE, 2, {"start": moment(now - DAY), "end": moment(start * MINUTE)}
        )
        if fill:
            self._counts = UserCounts()
        self._counts.replace(minute(since), minute(now), rows)
        self._counts.forget(start)
        self.cursor.advance(now, fill)
        return self._counts.with_edge(edge)
