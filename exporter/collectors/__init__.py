"""The registry of collectors: one file per subject, each registered once. A test checks that every module of this
folder is registered. Windows and plans used by two collectors are created here and passed to both."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exporter.collector import Collector, Dependent, Dispensable
from exporter.collectors.activity import Activity
from exporter.collectors.ai import Ai
from exporter.collectors.charts import Charts
from exporter.collectors.cost import TokenCost
from exporter.collectors.dead_letters import DeadLetters
from exporter.collectors.growth import Growth
from exporter.collectors.incidents import Incidents
from exporter.collectors.jobs import Jobs
from exporter.collectors.latency import Latency
from exporter.collectors.logs import ai_log, preview_log
from exporter.collectors.online import OnlineNow
from exporter.collectors.previews import Previews
from exporter.collectors.queues import Queues
from exporter.collectors.rollup import Rollup
from exporter.collectors.top_users import TopUsers
from exporter.collectors.unacked import Unacked
from exporter.collectors.users import Plans, Users
from exporter.collectors.workers import Workers
from exporter.errors import SettingsError
from exporter.heartbeats import build_heartbeats
from exporter.inputs import first_lacking
from exporter.settings import PREFIX, Settings
from exporter.state import StateFile
from exporter.windows.latest import LatestActivity
from exporter.windows.shared import SharedWindow
from exporter.windows.users import UserCounts

OpenState = Callable[[str], StateFile]
"""Returns the state file of that name."""


def build_collectors(settings: Settings, state: OpenState) -> tuple[Collector, ...]:
    """Build the collectors to run, in the order of `/metrics`. `users` comes before `activity` and `growth`:
    they share the plans.
    The collectors from `charts` on have no metrics, only content for the Analytics page. A collector whose input is not
    provided is left out.

    Raises SettingsError where COLLECTORS names an unknown collector, or leaves out a collector that another needs.
    """
    lacking, prices = settings.not_provided, settings.prices()
    plans = Plans(settings.free_plans, lacking)
    by_user, last_seen = SharedWindow[UserCounts](Ai.name), SharedWindow[LatestActivity](Activity.name)
    every: tuple[Collector, ...] = (
        Users(plans, lacking),
        OnlineNow(settings.ws_session_keys, lacking),
        Activity(plans, last_seen),
        Growth(plans),
        Ai(by_user, lacking),
        Previews(),
        Latency(),
        Queues(
            {"ai": settings.ai_queue_keys, "preview": settings.preview_queue_keys},
            settings.celery_keys(),
            not_provided=lacking,
        ),
        Unacked(settings.celery_keys() if settings.has_celery else None),
        DeadLetters(settings.dead_letter_keys, settings.celery_keys()),
        Jobs(),
        Workers(
            build_heartbeats(settings),
            state("gpu"),
            prices,
            healthy_seconds=settings.worker_healthy_seconds,
            forgotten_seconds=settings.worker_forgotten_seconds,
            refresh_seconds=settings.refresh_seconds,
        ),
        TokenCost(prices, lacking),
        ai_log(state("ai-events"), settings.refresh_seconds),
        preview_log(state("preview"), settings.refresh_seconds),
        Rollup(),
        Charts(),
        Incidents(lacking),
        TopUsers(by_user, last_seen, plans),
    )
    chosen = set(settings.collectors) or {collector.name for collector in every}
    _check(chosen, {collector.name: collector for collector in every})
    return tuple(
        collector
        for collector in every
        if collector.name in chosen
        and not (isinstance(collector, Dispensable) and first_lacking(collector.inputs, lacking, {}))
    )


def _check(chosen: set[str], known: Mapping[str, Collector]) -> None:
    variable = f"{PREFIX}COLLECTORS"
    if chosen - known.keys():
        strangers = ", ".join(sorted(chosen - known.keys()))
        raise SettingsError(f"{variable}: there is no collector {strangers}; there are {', '.join(sorted(known))}")
    for name in sorted(chosen):
        collector = known[name]
        if isinstance(collector, Dependent) and (missing := sorted(collector.needs - chosen)):
            raise SettingsError(f"{variable}: {name} needs {' and '.join(missing)}: name them too, or leave it out")
