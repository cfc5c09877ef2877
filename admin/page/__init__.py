"""The Analytics page: its skeleton and the login page, rendered here, and the modules, styles and uPlot they load.

    cards.py, overview.py, sections.py (what there is) -> Page (HTML without numbers) -> modules/main.js (the numbers)

The skeleton is the same for everybody and holds no data: titles, definitions, heads of tables, links. The modules ask
the API for the rest. There is no inline script and no inline style, so that the content security policy can forbid
both. Nothing is built: what stands in modules/ is what the browser runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from admin.documents import DOCUMENTS, status, summary
from admin.documents.cards import WORDS
from admin.documents.charts import CHARTS, ChartCard
from admin.documents.tables import TABLES
from exporter.version import VERSION
from grafana.panels import ANALYTICS_PATH
from grafana.style import SOURCES

HERE = Path(__file__).parent
UPLOT = HERE / "node_modules" / "uplot" / "dist"
"""Installed by the set-up (tools/page.sh) or the image's build; without it the charts' data is shown in tables."""

MODULES = tuple(
    path.name
    for path in sorted((HERE / "modules").glob("*.js"))
    if path.name not in ("main.js", "login.js", "remembered-theme.js")
)
"""What main.js imports: named in the page, so that a browser asks for all at once and not for one after the other."""

REFRESH_SECONDS = 30
"""The page's clock (specification §4)."""

LONGEST_PAUSE_SECONDS = 300
"""What the clock slows down to while something is degraded or does not answer."""


class Page:
    """What a browser gets to see.

    `grafana_up`: whether Grafana answers, None where there is none or it is not known yet; then the page begins with
    frames and does not wait for the first status. `uplot`: the folder of uPlot's files.
    """

    def __init__(self, grafana_up: Callable[[], bool | None] = lambda: None, *, uplot: Path = UPLOT) -> None:
        self._grafana_up = grafana_up
        self._uplot = uplot if (uplot / "uPlot.esm.js").is_file() else None
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def routes(self) -> list[BaseRoute]:
        """The page, and what it loads; the latter holds no data and needs no login."""
        static: list[BaseRoute] = [Mount(f"/{name}", _Files(directory=HERE / name)) for name in ("modules", "styles")]
        if self._uplot:
            static.append(Mount("/uplot", _Files(directory=self._uplot)))
        return [Route("/", self._answer, name="page"), Mount("/static", routes=static, name="static")]

    async def _answer(self, request: Request) -> Response:
        return HTMLResponse(self.render(request))

    def render(self, request: Request) -> str:
        """The Analytics page."""
        base = _base(request)
        return self._templates.get_template("page.html").render(
            base=base,
            summary=summary,
            charts=CHARTS,
            tables=tuple(table.card for table in TABLES),
            sections=DOCUMENTS,
            sources=SOURCES,
            version=VERSION,
            modules=MODULES,
            documents=(summary.PATH, *(document.path for document in DOCUMENTS), status.PATH),
            data=self._data(base),
            has_uplot=self._uplot is not None,
        )

    def render_login(self, request: Request, failed: bool) -> str:
        """The login page; `failed`: what was sent was not accepted."""
        return self._templates.get_template("login.html").render(base=_base(request), failed=failed)

    def _data(self, base: str) -> Mapping[str, Any]:
        """What the modules have to know and cannot read from the page's elements."""
        return {
            "base": base,
            "refreshSeconds": REFRESH_SECONDS,
            "longestPauseSeconds": LONGEST_PAUSE_SECONDS,
            "hasUplot": self._uplot is not None,
            "grafanaUp": self._grafana_up(),
            "sources": {name: source.title for name, source in SOURCES.items()},
            "words": {
                name: {value: {"title": thing.title, "color": thing.color} for value, thing in things.items()}
                for name, things in WORDS.items()
            },
            "frames": {chart.id: _frames(chart, base) for chart in CHARTS},
        }


def _base(request: Request) -> str:
    """The section's own path, with a slash at its end."""
    return f"{request.scope.get('root_path', '').rstrip('/')}/"


def _frames(chart: ChartCard, base: str) -> dict[str, str]:
    """The URL of Grafana's panel by range, in the light theme; the modules put in the one that is chosen."""
    return {
        span: base + panel.url(theme="light", **({"since": f"now-{span}"} if span else {})).removeprefix(ANALYTICS_PATH)
        for span, panel in chart.frames.items()
    }


class _Files(StaticFiles):
    """Files that a browser keeps, and asks for again each time: with an ETag, that costs next to nothing, and after an
    update no page runs with modules of two versions."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["cache-control"] = "no-cache"
        return response
