"""The Analytics page and the login page, and the modules, styles and uPlot that they load.

    documents/ (cards, charts, tables) -> Page (HTML without numbers) -> modules/main.js (the numbers)

The HTML is the same for all admins and holds no data: titles, definitions, heads of tables, links. The modules request
the data from the API. There is no inline script or style, so that the content security policy can forbid both. There is
no build: the browser runs the files in modules/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from admin import runbooks
from admin.access.session_list import ListedSession
from admin.documents import DOCUMENTS, attention, status, summary
from admin.documents.cards import LABEL_STYLES
from admin.documents.charts import CHARTS
from admin.documents.tables import INCIDENT_RUNBOOKS, TABLES
from admin.page import grafana_links
from exporter.version import VERSION
from presentation.label_styles import SOURCES

HERE = Path(__file__).parent
UPLOT = HERE / "node_modules" / "uplot" / "dist"
"""Installed by tools/page.sh or the image's build; without it charts are shown as tables."""

MODULES = tuple(
    path.name
    for path in sorted((HERE / "modules").glob("*.js"))
    if path.name not in ("main.js", "login.js", "remembered-theme.js")
)
"""The imports of main.js: named in the page, so that a browser requests them at once."""

REFRESH_SECONDS = 30
"""The refresh interval of the page."""

NOT_STORED = {"Cache-Control": "no-store"}
"""The page has no data, but a browser keeps it with all that it shows, for Back after a logout."""

LONGEST_PAUSE_SECONDS = 300
"""The longest interval, while a value is degraded or the API does not respond."""


class Page:
    """Renders the pages and serves their files.

    `grafana_up`: whether Grafana responds, None without Grafana and before its first probe; if it does, the page starts
    with frames before its first status. `uplot`: the folder of uPlot's files. `has_login`:
    whether the section has a login of its own.
    """

    def __init__(
        self, grafana_up: Callable[[], bool | None] = lambda: None, *, uplot: Path = UPLOT, has_login: bool = True
    ) -> None:
        self._grafana_up = grafana_up
        self._has_login = has_login
        self._uplot = uplot if (uplot / "uPlot.esm.js").is_file() else None
        self._templates = _templates()

    def routes(self) -> list[BaseRoute]:
        """The page, and its files, which hold no data and need no login."""
        static: list[BaseRoute] = [Mount(f"/{name}", _Files(directory=HERE / name)) for name in ("modules", "styles")]
        if self._uplot:
            static.append(Mount("/uplot", _Files(directory=self._uplot)))
        return [
            Route("/", self._answer, name="page"),
            Route("/runbooks/{name}", self._answer_runbook, name="runbook"),
            Mount("/static", routes=static, name="static"),
        ]

    async def _answer(self, request: Request) -> Response:
        return HTMLResponse(self.render(request), headers=NOT_STORED)

    async def _answer_runbook(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in runbooks.NAMES:
            raise HTTPException(404)
        page = self._templates.get_template("runbook.html").render(
            base=_base(request),
            name=name,
            content=Markup(runbooks.read(name)),  # noqa: S704 - generated, without raw HTML
        )
        return HTMLResponse(page, headers=NOT_STORED)

    def render(self, request: Request) -> str:
        """The Analytics page."""
        base = _base(request)
        return self._templates.get_template("page.html").render(
            base=base,
            attention=attention,
            summary=summary,
            charts=CHARTS,
            tables=tuple(table.card for table in TABLES),
            sections=DOCUMENTS,
            sources=SOURCES,
            dashboards={board.title: grafana_links.dashboard(board, base) for board in grafana_links.DASHBOARDS},
            version=VERSION,
            modules=MODULES,
            documents=(summary.PATH, *(document.path for document in DOCUMENTS), attention.PATH, status.PATH),
            data=self._data(base),
            has_uplot=self._uplot is not None,
            has_login=self._has_login,
        )

    def render_login(self, request: Request, failed: bool) -> str:
        """The login page; `failed`: after a refused credential."""
        return self._templates.get_template("login.html").render(base=_base(request), failed=failed)

    def render_sessions(self, request: Request, sessions: Sequence[ListedSession]) -> str:
        """The page of the open sessions."""
        return self._templates.get_template("sessions.html").render(base=_base(request), sessions=sessions)

    def render_refusal(self, base: str, status: int, title: str, detail: str) -> str:
        """The page of a refusal by the section."""
        return render_refusal(base, status, title, detail, has_login=self._has_login)

    def _data(self, base: str) -> Mapping[str, Any]:
        """The data of the modules that is not in the page's elements."""
        return {
            "base": base,
            "refreshSeconds": REFRESH_SECONDS,
            "longestPauseSeconds": LONGEST_PAUSE_SECONDS,
            "hasUplot": self._uplot is not None,
            "hasLogin": self._has_login,
            "grafanaUp": self._grafana_up(),
            "incidentRunbooks": INCIDENT_RUNBOOKS,
            "sources": {name: source.title for name, source in SOURCES.items()},
            "labelStyles": {
                name: {value: {"title": style.title, "color": style.color} for value, style in styles.items()}
                for name, styles in LABEL_STYLES.items()
            },
            "frames": {chart.id: grafana_links.frames(chart, base) for chart in CHARTS},
            "panels": {chart.id: grafana_links.panels(chart, base) for chart in CHARTS},
        }


def render_refusal(base: str, status: int, title: str, detail: str, *, has_login: bool = True) -> str:
    """The page of a refusal; `base`: the path of the section, with a final slash."""
    template = _templates().get_template("refusal.html")
    return template.render(base=base, status=status, title=title, detail=detail, has_login=has_login)


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _base(request: Request) -> str:
    """The path of the section, with a final slash."""
    return f"{request.scope.get('root_path', '').rstrip('/')}/"


class _Files(StaticFiles):
    """Files that a browser keeps and revalidates at each use, so that no page runs modules of two versions after an
    update."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["cache-control"] = "no-cache"
        return response
