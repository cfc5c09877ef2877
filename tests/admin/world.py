"""The Analytics section on real sources, in this process, with requests as on the admin port.

with World(database, valkey_server.url, folder) as world:
    world.refresh()
    assert world.get("/summary").json["online_users"]["value"] == 5
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from admin.app import AnalyticsSection
from exporter.collectors import build_collectors
from exporter.definitions import Terms
from exporter.snapshot import Snapshot
from exporter.state import StateFile
from exporter.verify import Comparison, compare
from tests.admin.client import Answer, ask
from tests.rows import NOON
from tests.scenario import settings_for, sources_at_noon

API_KEY = "the key of an admin, long enough to be one"

DOCUMENTS = ("/summary", "/users", "/growth", "/ai", "/queues", "/workers", "/monetization", "/attention", "/status")
CHARTS = ("/charts/ai-requests", "/charts/dau", "/charts/plans", "/charts/ai-latency")
TABLES = ("/tables/top-users", "/tables/incidents")
DATA = (*DOCUMENTS, *CHARTS, *TABLES)
"""Every path of the API."""


class World:
    """An exporter without its ports; its clocks stand at NOON."""

    def __init__(self, database: str, redis_url: str, folder: Path, *, ahead: float = 0.0, **settings: Any) -> None:
        """`ahead`: seconds by which the exporter's clock is ahead of the servers' clocks."""
        self._clock = lambda: NOON.timestamp() + ahead
        self.settings = settings_for(
            database, redis_url, folder, state_dir=folder, **{"admin_api_key": API_KEY, **settings}
        )
        self._folder = folder
        self._runner = asyncio.Runner()
        self._open = AsyncExitStack()

    def __enter__(self) -> Self:
        sources = self._runner.run(self._open.enter_async_context(sources_at_noon(self.settings)))
        collectors = build_collectors(self.settings, lambda name: StateFile(self._folder, name))
        self.snapshot = Snapshot(
            collectors,
            sources,
            15,
            not_provided=self.settings.not_provided,
            changed=lambda: self.section.changed(),
            clock=self._clock,
        )
        self.section = AnalyticsSection(self.settings, self._folder, self.snapshot.view, clock=self._clock)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._open.aclose())
        self._runner.close()

    @contextmanager
    def restarted(self) -> Iterator[World]:
        """The section after a restart, refreshed once."""
        with World(
            self.settings.database_url.get_secret_value(), self.settings.redis_url.get_secret_value(), self._folder
        ) as world:
            world.refresh()
            yield world

    def refresh(self, source: str | None = None) -> None:
        """Refresh every collector once, or those of the source."""
        self._runner.run(self.snapshot.refresh_all(source))

    def verify(self) -> list[Comparison]:
        """The comparison with the definitions."""
        terms = Terms(self.settings.prices(), self.settings.free_plans, self.settings.not_provided)
        return self._runner.run(compare(partial(self.snapshot.at_rest, "postgres"), self.snapshot.sources, terms))

    def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        """A request of an admin."""
        return ask(self.section.app, path, method, {"X-API-Key": API_KEY, **(headers or {})})

    def without_credentials(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        """A request without credentials."""
        return ask(self.section.app, path, method, headers or {})
