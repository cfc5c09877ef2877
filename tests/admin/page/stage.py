"""A server of the page with an API that a test controls.

It stands for the Analytics application behind its middleware (test_end_to_end.py has the real one), with the real
security headers; its `/grafana/` stands for a Grafana that responds, as the page only sees that a frame loads.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp

from admin.access.security_headers import SecurityHeaders
from admin.page import UPLOT, Page
from servers.ports import LOOPBACK, free_port
from tests.admin.page.samples import Document, documents
from tests.waiting import until

BASE = "/admin/analytics/"
CODE = "a-code-that-is-good-once"
KEY = "the admin's key"


@dataclass
class Stage:
    """The documents of the API, and its requests."""

    url: str = ""
    documents: dict[str, Document] = field(default_factory=documents)
    failing: dict[str, int] = field(default_factory=dict)
    """Status by path; "*" is every path of the API."""
    asked: list[str] = field(default_factory=list)
    """Paths of the API, with their queries."""
    framed: list[str] = field(default_factory=list)
    """Queries of Grafana's panels."""
    not_modified: int = 0
    is_logged_in: bool = True

    def reset(self) -> None:
        """Restore the state at the start."""
        self.documents = documents()
        self.failing, self.asked, self.framed, self.not_modified = {}, [], [], 0
        self.is_logged_in = True

    async def api(self, request: Request) -> Response:
        """One document, or the failure set by the test."""
        query = {name: value for name, value in request.query_params.items() if name != "format"}
        path = request.path_params["path"] + (f"?range={query['range']}" if "range" in query else "")
        self.asked.append(path)
        status = self.failing.get(path, self.failing.get("*", 200))
        if status != 200:
            return JSONResponse({"status": status}, status, media_type="application/problem+json")
        body = orjson.dumps(self.documents[path])
        headers = {"etag": f'"{hashlib.sha256(body).hexdigest()[:16]}"', "cache-control": "no-store"}
        if request.query_params.get("format") == "csv":
            return PlainTextResponse(
                "a,b\n1,2\n", media_type="text/csv", headers={"content-disposition": 'attachment; filename="x.csv"'}
            )
        if request.headers.get("if-none-match") == headers["etag"]:
            self.not_modified += 1
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="application/json")

    async def grafana(self, request: Request) -> Response:
        """A panel, with its query for the test."""
        self.framed.append(request.url.query)
        style = "<style>html { color-scheme: light; } body { background: #F4F5F5; }</style>"
        return HTMLResponse(f"<!doctype html><title>Panel</title>{style}<p>Panel {request.query_params['panelId']}</p>")

    async def dashboard(self, request: Request) -> Response:
        """A dashboard, with its path and query for the test."""
        return HTMLResponse(f"<!doctype html><title>Dashboard</title><p>{request.url.path}?{request.url.query}</p>")


def application(stage: Stage, uplot: Path = UPLOT) -> ASGIApp:
    """The page with that API, under its usual path."""
    page = Page(lambda: stage.documents["status"]["grafana"]["up"], uplot=uplot)

    async def login(request: Request) -> Response:
        if request.method == "GET":
            return HTMLResponse(page.render_login(request, False))
        if request.headers["content-type"] == "application/json":
            stage.is_logged_in = await request.json() in ({"code": CODE}, {"api_key": KEY})
            return Response(status_code=204 if stage.is_logged_in else 401)
        stage.is_logged_in = (await request.body()).decode() == "api_key=the+admin%27s+key"
        if stage.is_logged_in:
            return RedirectResponse(BASE, 303)
        return HTMLResponse(page.render_login(request, True), 401)

    async def logout(request: Request) -> Response:
        stage.is_logged_in = False
        return RedirectResponse(f"{BASE}login", 303)

    routes = [
        *page.routes(),
        Route("/login", login, methods=["GET", "POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/grafana/d-solo/{path:path}", stage.grafana),
        Route("/grafana/d/{path:path}", stage.dashboard),
        Route("/{path:path}", stage.api),
    ]
    return Starlette(routes=[Mount(BASE.rstrip("/"), SecurityHeaders(Router(routes)))])


@contextmanager
def running(stage: Stage, uplot: Path = UPLOT) -> Iterator[Stage]:
    """The server, on a thread of this process."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            application(stage, uplot), host=LOOPBACK, port=port, log_level="warning", lifespan="off", ws="none"
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "the stand-in server listens")
        stage.url = f"http://{LOOPBACK}:{port}{BASE}"
        yield stage
    finally:
        server.should_exit = True
        thread.join()
