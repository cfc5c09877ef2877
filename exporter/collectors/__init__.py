"""The registry of collectors: one file a subject, each named here once. A test keeps every module of this folder in
it."""

from __future__ import annotations

from collections.abc import Callable

from exporter.collector import Collector
from exporter.collectors.activity import Activity
from exporter.collectors.ai import Ai
from exporter.collectors.charts import Charts
from exporter.collectors.cost import TokenCost
from exporter.collectors.incidents import Incidents
from exporter.collectors.latency import Latency
from exporter.collectors.logs import ai_log, preview_log
from exporter.collectors.online import OnlineNow
from exporter.collectors.previews import Previews
from exporter.collectors.queues import Queues
from exporter.collectors.rollup import Rollup
from exporter.collectors.top_users import TopUsers
from exporter.collectors.users import Plans, Users
from exporter.collectors.workers import Workers
from exporter.errors import SettingsError
from exporter.settings import PREFIX, Settings
from exporter.state import StateFile

OpenState = Callable[[str], StateFile]
"""The state file of that name."""


NEEDS = {"top_users": {"ai", "activity"}}
"""Collectors that look into others."""


def build_collectors(settings: Settings, state: OpenState) -> tuple[Collector, ...]:
    """The collectors to run, in the order in which `/metrics` shows them. `users` goes before `activity`: they share
    the plans. Those from `charts` on make no metrics, only what the Analytics page shows beside them.

    Raises SettingsError where COLLECTORS names one that there is not, or leaves out one that another needs.
    """
    plans, prices = Plans(settings.free_plans), settings.prices()
    ai, activity = Ai(), Activity(plans)
    every: tuple[Collector, ...] = (
        Users(plans),
        OnlineNow(settings.ws_session_keys),
        activity,
        ai,
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
        ai_log(state("ai-events"), settings.refresh_seconds),
        preview_log(state("preview"), settings.refresh_seconds),
        Rollup(),
        Charts(),
        Incidents(),
        TopUsers(ai, activity, plans),
    )
    chosen = set(settings.collectors) or {collector.name for collector in every}
    _check(chosen, {collector.name for collector in every})
    return tuple(collector for collector in every if collector.name in chosen)


def _check(chosen: set[str], known: set[str]) -> None:
    variable = f"{PREFIX}COLLECTORS"
    if chosen - known:
        strangers = ", ".join(sorted(chosen - known))
        raise SettingsError(f"{variable}: there is no collector {strangers}; there are {', '.join(sorted(known))}")
    for name in chosen & NEEDS.keys():
        if NEEDS[name] - chosen:
            raise SettingsError(f"{variable}: {name} needs {' and '.join(sorted(NEEDS[name] - chosen))}")
