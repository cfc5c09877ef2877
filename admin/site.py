"""The admin port's site: the Analytics section under its path, and nothing else, for its own host names alone."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from admin.access.hosts import HostCheck
from admin.grafana.proxy import ProxyLimits
from admin.page import render_refusal
from admin.problem import problem
from admin.refusal_pages import RefusalPages
from exporter.httpd.protocol import BODY_BYTES
from presentation.panels import ANALYTICS_PATH, GRAFANA_PATH

QUERY_BYTES = 2 * ProxyLimits().body_bytes
"""Limit of a body below Grafana's path; the proxy refuses smaller ones itself."""


async def _to_section(_: Request) -> Response:
    return RedirectResponse(ANALYTICS_PATH, 307)


async def _nothing_here(_: Request, __: Exception) -> Response:
    return problem(404)


def build_site(section: ASGIApp, names: Iterable[str] = ()) -> ASGIApp:
    """The section; `/` and its path without the final slash redirect to it. `names`: the host names of the port,
    besides addresses and `localhost`."""
    path = ANALYTICS_PATH.rstrip("/")
    site = Starlette(
        routes=[Route("/", _to_section), Route(path, _to_section), Mount(path, section)],
        exception_handlers={404: _nothing_here},
    )
    return RefusalPages(HostCheck(site, names), render_refusal, ANALYTICS_PATH)


def body_limit(target: bytes) -> int:
    """The limit of a request's body, by its target: only queries of Grafana's panels have a long one."""
    return QUERY_BYTES if target.startswith(GRAFANA_PATH.encode()) else BODY_BYTES
