"""The Analytics section as one FastAPI application: API, page and Grafana behind the middleware.

    access, snapshot -> app (this) -> site.py (the admin port), mounting.py (an application of HiveSync's)

All paths are relative to the path at which the application is mounted, /admin/analytics in both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin.access.application import ApplicationAccessMiddleware, ApplicationCheck
from admin.access.authentication import Access, build_access
from admin.access.login import login_routes
from admin.access.middleware import GRAFANA, LOGIN, AccessMiddleware
from admin.access.origins import build_origins
from admin.access.security_headers import SecurityHeaders
from admin.access.session_list import SessionCommands, session_routes
from admin.alerts import AlertReader
from admin.api import DocumentCache, build_router
from admin.documents.attention import NOT_CONFIGURED, PrometheusView
from admin.documents.status import GrafanaState
from admin.documents.values import Values
from admin.grafana.proxy import GrafanaProxy
from admin.page import Page
from admin.problem import problem
from admin.refusal_pages import RefusalPages, RenderRefusal
from exporter.addresses import reachable
from exporter.errors import StateError
from exporter.settings import Settings
from exporter.version import VERSION
from exporter.view import View
from presentation.panels import ANALYTICS_PATH

_log = structlog.get_logger()

CREDENTIALS = "HIVESYNC_ADMIN_JWT_SECRET, HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE, HIVESYNC_ADMIN_API_KEY"
"""The settings of which one lets an admin in."""

DESCRIPTION = "HiveSync's usage, read only. Every value has a status, its sources and its time."


class AnalyticsSection:
    """The section: its application and its background tasks."""

    def __init__(
        self,
        settings: Settings,
        state_directory: Path,
        view: Callable[[], View],
        *,
        clock: Callable[[], float] = time.time,
        check: ApplicationCheck | None = None,
        check_state: Callable[[], None] = lambda: None,
    ) -> None:
        """`view`: that of the snapshot; `clock`: Unix seconds; `check`: that of the application in which the section is
        mounted, in place of credentials; `check_state` raises StateError while the state directory is not ours. Raises
        SettingsError for a key that cannot be used."""
        self._access = None if check else build_access(settings, state_directory, check_state)
        self._grafana = GrafanaProxy(settings.grafana_url) if settings.grafana_url else None
        self._alerts = AlertReader(settings.prometheus_url) if settings.prometheus_url else None
        self._documents = DocumentCache(
            lambda: Values(view(), clock(), settings.workers_from), self._grafana_state, clock, self._prometheus_view
        )
        page = Page(self._grafana_up, has_login=check is None)
        self.api = build_api(self._documents, self._access, page, self._grafana)
        routes = HeadAsGet(self.api)
        guarded: ASGIApp = (
            AccessMiddleware(routes, self.access, page.render_login)
            if check is None
            else ApplicationAccessMiddleware(routes, check, build_origins(settings))
        )
        self.app = with_refusals(guarded, page.render_refusal, settings.admin_frame_ancestors)
        if check is None and not self.access.authenticator.configured:
            _log.warning("admin.no_credential", set_one_of=CREDENTIALS)

    @property
    def access(self) -> Access:
        """The section's own access; there is none where the host's check is in its place."""
        assert self._access is not None  # noqa: S101 - a mounted section has no login
        return self._access

    @property
    def commands(self) -> SessionCommands:
        """The answers to the commands on sessions."""
        return SessionCommands(self.access.sessions)

    def changed(self) -> None:
        """Note a change of the snapshot."""
        self._documents.changed()

    def login_link(self, settings: Settings, scheme: str = "http") -> str:
        """A login link with a new one-time code in its fragment, which browsers send to no server; `scheme` is
        that of the admin port. Raises StateError without an admin credential."""
        if not self.access.authenticator.configured:
            raise StateError(
                f"no admin credential is set, so that no login is possible: set one of {CREDENTIALS}, and restart the"
                " exporter"
            )
        reached = f"{scheme}://{reachable(settings.admin_listen)}"
        origin = settings.public_url or next(iter(settings.admin_origins), reached)
        return f"{origin}{ANALYTICS_PATH.rstrip('/')}{LOGIN}#code={self.access.codes.issue()}"

    async def run(self) -> None:
        """Probe Grafana and read Prometheus' alerts until cancelled; then close their connections."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.Event().wait())
                if self._grafana:
                    tasks.create_task(self._grafana.run())
                if self._alerts:
                    tasks.create_task(self._alerts.run())
        finally:
            if self._grafana:
                await self._grafana.aclose()

    def _grafana_up(self) -> bool | None:
        return self._grafana.up if self._grafana else None

    def _prometheus_view(self) -> PrometheusView:
        return self._alerts.view if self._alerts else NOT_CONFIGURED

    def _grafana_state(self) -> GrafanaState:
        return GrafanaState(configured=self._grafana is not None, up=self._grafana_up())


def build_api(documents: DocumentCache, access: Access | None, page: Page, grafana: ASGIApp | None) -> FastAPI:
    """All routes: the API, the login (with `access`), Grafana and the page."""
    api = FastAPI(
        title="HiveSync Analytics",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,  # would load scripts from another host
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    api.include_router(build_router(documents))
    if access is not None:
        api.router.routes += login_routes(access, page.render_login)
        api.router.routes += session_routes(access, page.render_sessions)
    if grafana is not None:
        api.mount(GRAFANA.rstrip("/"), grafana)
    api.router.routes += page.routes()
    api.add_exception_handler(HTTPException, _refused)
    api.add_exception_handler(RequestValidationError, _not_understood)
    api.add_exception_handler(Exception, _failed)
    return api


def with_refusals(guarded: ASGIApp, render: RenderRefusal, frame_ancestors: Sequence[str] = ()) -> ASGIApp:
    """The routes behind their access, with refusals as pages; security headers are outermost, so that refusals and
    errors have them."""
    return SecurityHeaders(RefusalPages(guarded, render), frame_ancestors)


class HeadAsGet:
    """ASGI middleware that handles HEAD as GET without the body, as FastAPI's routes support GET alone. Grafana handles
    HEAD itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or self._is_grafanas(scope):
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_head)

    def _is_grafanas(self, scope: Scope) -> bool:
        return str(scope["path"]).startswith(str(scope.get("root_path", "")) + GRAFANA)


async def _refused(_: Request, error: Exception) -> Response:
    """A refusal of the router."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    return problem(error.status_code, headers=error.headers)


async def _not_understood(_: Request, error: Exception) -> Response:
    """An invalid parameter: its name and its valid values."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    details = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
    return problem(422, detail=details)


async def _failed(_: Request, __: Exception) -> Response:
    """An internal error, which the server logs; the response has nothing of it."""
    return problem(500)
