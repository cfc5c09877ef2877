"""The Analytics section in an application of HiveSync's, with the collectors in its process.

    app = FastAPI(lifespan=lifespan)
    analytics = MountedAnalytics(read_environment(), allow=require_admin)
    analytics.mount(app)

`require_admin` is the application's own check, a dependency of FastAPI or an async callable that takes the request
(`access/application.py`). Without it, the section has its own access, with the credentials in the settings.

The collectors run in one process, as a state directory belongs to one process. For an application with several workers,
run `python -m exporter` beside them and proxy /admin/analytics/ to its admin port.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, params
from starlette.types import Receive, Scope, Send

from admin.access.application import ApplicationCheck, Check
from admin.app import AnalyticsSection, with_refusals
from admin.page import render_refusal
from admin.problem import problem
from exporter.collectors import build_collectors
from exporter.running import open_sources
from exporter.settings import Settings
from exporter.snapshot import Snapshot
from exporter.state import StateDirectory
from presentation.panels import ANALYTICS_PATH


class MountedAnalytics:
    """An ASGI application that serves the section while `running`, and 503 otherwise."""

    def __init__(self, settings: Settings, allow: Check | params.Depends | None = None) -> None:
        """`allow`: the host's check, called for every request, which allows it by a true value. Raises TypeError for an
        object that cannot be called."""
        self._settings = settings
        self._check = None if allow is None else ApplicationCheck(allow)
        stopped = problem(503, detail="The Analytics section is not running.")
        self._stopped = with_refusals(stopped, render_refusal, settings.admin_frame_ancestors)
        self._app = self._stopped

    def mount(self, app: FastAPI, path: str = ANALYTICS_PATH.rstrip("/")) -> None:
        """Mount the section in an application, before its other routes, and collect while the application runs: after
        the start of its own lifespan, and until before its end."""
        if self._check is not None:
            self._check.host = app
        app.mount(path, self)
        app.router.routes.insert(0, app.router.routes.pop())  # a route for every path would take its requests
        lifespan = app.router.lifespan_context

        @asynccontextmanager
        async def with_analytics(host: FastAPI) -> AsyncIterator[Mapping[str, Any] | None]:
            async with lifespan(host) as state, self.running():
                yield state

        app.router.lifespan_context = with_analytics  # type: ignore[assignment]  # the state may be there or not

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
                section = AnalyticsSection(
                    settings, settings.state_dir, snapshot.view, check=self._check, check_state=state.check
                )
                tasks = [asyncio.create_task(snapshot.run()), asyncio.create_task(section.run())]
                self._app = section.app
                try:
                    yield
                finally:
                    self._app = self._stopped
                    for task in tasks:
                        task.cancel()
                    for task in tasks:
                        with suppress(asyncio.CancelledError):
                            await task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        await self._app(scope, receive, send)
