"""The Analytics section in a FastAPI application of HiveSync's own, with the collectors in that process.

    analytics = MountedAnalytics(read_settings())

    @asynccontextmanager
    async def lifespan(app):
        async with analytics.running():
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/admin/analytics", analytics)

The collectors run once, in one process: a state directory belongs to one. Where the application has several workers,
run `python -m exporter` beside them and pass /admin/analytics/ on to its admin port.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from admin.app import AnalyticsSection
from admin.problem import problem
from exporter.collectors import build_collectors
from exporter.running import open_sources
from exporter.settings import Settings
from exporter.snapshot import Snapshot
from exporter.state import StateDirectory


class MountedAnalytics:
    """An ASGI application that answers while `running`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: ASGIApp | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Collects until it is left. Raises SettingsError, or StateError where another exporter has the state
        directory."""
        settings = self._settings
        with StateDirectory(settings.state_dir) as state:
            collectors = build_collectors(settings, state.file)
            async with open_sources(settings) as sources:
                snapshot = Snapshot(collectors, sources, settings.refresh_seconds, changed=lambda: section.changed())
                section = AnalyticsSection(settings, settings.state_dir, snapshot.view)
                tasks = [asyncio.create_task(snapshot.run()), asyncio.create_task(section.run())]
                self._app = section.app
                try:
                    yield
                finally:
                    self._app = None
                    for task in tasks:
                        task.cancel()
                    for task in tasks:
                        with suppress(asyncio.CancelledError):
                            await task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The section, or 503 while it does not run."""
        answer = self._app or problem(503, detail="The Analytics section is not running.")
        await answer(scope, receive, send)
