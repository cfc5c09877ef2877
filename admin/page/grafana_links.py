"""The page's URLs in Grafana: the panel in each chart's frame, the same panel alone, and the dashboards.

    presentation/panels.py -> grafana links (this) -> Page, templates -> modules/frame.js, modules/grafana-links.js

All are paths below the section, and requests that the proxy passes on (admin/grafana/paths.py).
"""

from __future__ import annotations

from urllib.parse import urlencode

from admin.documents.charts import ChartCard
from presentation.panels import ANALYTICS, ANALYTICS_PATH, GRAFANA_PATH, OPERATIONS, Dashboard, Panel

DASHBOARDS: tuple[Dashboard, ...] = (ANALYTICS, OPERATIONS)
"""The dashboards that the page links."""


def frames(chart: ChartCard, base: str) -> dict[str, str]:
    """The URL of Grafana's panel by range, in the light theme, which the modules replace by the chosen theme."""
    return {
        span: _below(base, chart.panel.url(theme="light", **({"since": _since(span)} if span else {})))
        for span in chart.ranges or ("",)
    }


def panels(chart: ChartCard, base: str) -> dict[str, str]:
    """The URL of the panel of the same numbers on its dashboard, full size, by range."""
    return {span: _below(base, _full_size(chart.full_panel, span)) for span in chart.ranges or ("",)}


def dashboard(board: Dashboard, base: str) -> str:
    """The URL of a dashboard without Grafana's menus, which would lead to refused requests."""
    return f"{_below(base, _path(board))}?kiosk"


def _full_size(panel: Panel, span: str) -> str:
    time = {"from": _since(span), "to": "now"} if span else {}
    return f"{_path(panel.dashboard)}?{urlencode({'orgId': '1', 'viewPanel': str(panel.id), **time})}&kiosk"


def _path(board: Dashboard) -> str:
    return f"{GRAFANA_PATH}d/{board.uid}/"


def _since(span: str) -> str:
    return f"now-{span}"


def _below(base: str, path: str) -> str:
    return base + path.removeprefix(ANALYTICS_PATH)
