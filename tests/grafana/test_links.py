"""The links on the dashboards, followed as a browser follows them: to the page, and through the proxy to a dashboard.

Grafana puts its sub-path before each URL that begins with a slash (`locationUtil.assureBaseUrl`) and names its path as
the base of its pages' URLs (`<base href>`): read in its source, since no Grafana runs here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from admin.grafana.proxy import GrafanaProxy
from presentation.panels import ANALYTICS, ANALYTICS_PATH, EMBEDDED, GRAFANA_PATH, OPERATIONS
from tests.admin.access.guarded import access_of, on_its_own, section_of
from tests.admin.client import ROOT
from tests.admin.grafana.standing_in import ServedSection, StandIn, served, standing_in
from tests.grafana.boards import dashboards, walk

PAGE = "the Analytics page"


def built(url: str) -> str:
    """The path to which Grafana's link with this URL leads, from any of its pages."""
    if url.startswith("/"):
        url = GRAFANA_PATH.rstrip("/") + url
    return urljoin(f"http://analytics.example{GRAFANA_PATH}", url).removeprefix("http://analytics.example")


def links(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Every link of a dashboard: in its head, its panels, their fields and cells."""
    return [part for part in walk(board) if isinstance(part, dict) and part.get("url")]


LINKS = [
    pytest.param(link, id=f"{board['uid']}: {link['title']}")
    for board in dashboards().values()
    for link in links(board)
]


@contextmanager
def section_before(grafana: StandIn) -> Iterator[ServedSection]:
    """The section with a page and its proxy."""
    proxy = GrafanaProxy(grafana.url)
    page = Route("/", lambda _: PlainTextResponse(PAGE))
    behind = Starlette(routes=[page, Mount("/grafana", proxy)])
    with served(on_its_own(section_of(access_of(), behind)), proxy.aclose) as address:
        yield ServedSection(address, proxy)


@pytest.fixture(scope="module")
def grafana() -> Iterator[StandIn]:
    with standing_in() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def section(grafana: StandIn) -> Iterator[ServedSection]:
    with section_before(grafana) as section:
        yield section


@pytest.mark.parametrize("link", LINKS)
def test_every_link_leads_to_the_page_or_to_a_dashboard(
    grafana: StandIn, section: ServedSection, link: dict[str, Any]
) -> None:
    grafana.reset()
    path = built(link["url"])
    assert path.startswith(ANALYTICS_PATH)
    answer = section.ask(path.removeprefix(ROOT))
    assert answer.status == 200, path
    if answer.body.decode() == PAGE:
        assert grafana.arrived == []
    else:
        assert json.loads(answer.body) == {"fine": True}
        assert [urlsplit(request.target).path for request in grafana.arrived] == [path]
        assert path in {f"{GRAFANA_PATH}d/{board['uid']}/" for board in dashboards().values()}


def test_a_link_with_the_sub_path_in_it_leads_nowhere(section: ServedSection) -> None:
    """What Grafana makes of a path on the section's origin."""
    path = built(ANALYTICS_PATH)
    assert path == "/admin/analytics/grafana/admin/analytics/"
    assert section.ask(path.removeprefix(ROOT)).status == 403


def test_dashboards_link_to_the_page_and_to_one_another() -> None:
    others = {ANALYTICS.uid: {OPERATIONS.uid}, OPERATIONS.uid: {ANALYTICS.uid}, EMBEDDED.uid: {ANALYTICS.uid}}
    for board in dashboards().values():
        in_head = {built(link["url"]): link for link in board["links"]}
        page = in_head.pop(ANALYTICS_PATH)
        # Without a target, Grafana opens any path of its own origin inside itself, and the page is not there.
        assert page["targetBlank"] is True
        assert in_head.keys() == {f"{GRAFANA_PATH}d/{uid}/" for uid in others[board["uid"]]}
        assert all(link["keepTime"] is True for link in in_head.values())
        assert all(link["type"] == "link" and "placement" not in link for link in board["links"])
