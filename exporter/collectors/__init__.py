"""The registry of collectors: one file a subject, each named here once. A test keeps every module of this folder in
it."""

from __future__ import annotations

from collections.abc import Callable

from exporter.collector import Collector
from exporter.collectors.activity import Activity
from exporter.collectors.ai import Ai
from exporter.collectors.cost import TokenCost
from exporter.collectors.latency import Latency
from exporter.collectors.logs import ai_log, preview_log
from exporter.collectors.online import OnlineNow
from exporter.collectors.previews import Previews
from exporter.collectors.queues import Queues
from exporter.collectors.rollup import Rollup
from exporter.collectors.users import Plans, Users
from exporter.collectors.workers import Workers
from exporter.settings import Settings
from exporter.state import StateFile

OpenState = Callable[[str], StateFile]
"""The state file of that name."""


def build_collectors(settings: Settings, state: OpenState) -> tuple[Collector, ...]:
    """Every collector, in the order in which `/metrics` shows them. `users` goes before `activity`: they share the
    plans."""
    plans, prices = Plans(), settings.prices()
    return (
        Users(plans),
        OnlineNow(settings.ws_session_keys),
        Activity(plans),
        Ai(),
        Previews(),
        Latency(),
        Queues({"ai": settings.ai_queue_keys, "preview": settings.preview_queue_keys}),
        Workers(
            settings.worker_keys,
            state("gpu"),
            prices,
            healthy_seconds=settings.worker_healthy_seconds,
            forgotten_seconds=settings.worker_forgotten_seconds,
        ),
        TokenCost(prices),
        ai_log(state("ai-events")),
        preview_log(state("preview")),
        Rollup(),
    )
