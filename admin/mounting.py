"""The Analytics section in an application of HiveSync's, with the collectors in its process.

    analytics = MountedAnalytics(read_settings())

    @asynccontextmanager
    async def lifespan(app):
        async with analytics.running():
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/admin/analytics", analytics)

The collectors run in one process, as a state directory belongs to one process. For an application with several workers,
run `python -m exporter` beside them and proxy /admin/analytics/ to its admin port.
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
    """An ASGI application that serves the section while `running`, and 503 otherwise."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: ASGIApp | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Collect while the context is open. Raises SettingsError, or StateError if another process has the state
        directory."""
        settings = self._settings
        with StateDirectory(settings.state_dir) as state:
            collectors = build_collectors(settings, state.file)
            async with open_sources(settings) as sources:
                snapshot = Snapshot(
                    collectors,
                    sources,
                    settings.refresh_seconds,
                    not_provided=settings.not_provided,
                    changed=lambda: section.changed(),
                )
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
        """Handle one request."""
        answer = self._app or problem(503, detail="The Analytics section is not running.")
        await answer(scope, receive, send)
