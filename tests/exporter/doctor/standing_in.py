"""Stand-ins for Grafana and Prometheus: real HTTP servers, with an answer for each path that the doctor asks for.

They stand for the answers only, as they were seen or are documented. A test with the real Prometheus, where it is
installed, is in test_demo.py.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from admin.grafana.headers import VIEWER
from exporter.doctor.prometheus import RULES
from presentation.panels import CATALOGUE

BELOW = "/admin/analytics/grafana"


def grafana_answers() -> dict[str, Any]:
    """The behaviour of a Grafana with the shipped configuration; a fault changes one part."""
    return {
        "path": BELOW,
        "anonymous": False,
        "believes": ("127.0.0.1",),
        "login": VIEWER,
        "role": "Viewer",
        "frames": True,
        "datasources": {"hivesync-prometheus": "OK", "hivesync-postgres": "OK"},
        "dashboards": {
            panels.__members__ and next(iter(panels)).dashboard.uid: _panels(panels) for panels in CATALOGUE
        },
        "frames_of_data": [{"data": {"values": [[1], [1]]}}],
    }


def _panels(panels: Any) -> list[dict[str, Any]]:
    """The panels of a dashboard as Grafana has them: those of the last row are inside it, as of a folded row."""
    *shown, last = [{"id": panel.id} for panel in panels]
    return [*shown, {"id": 0, "panels": [last]}]


def prometheus_answers(port: int) -> dict[str, Any]:
    """The data of a Prometheus that scrapes the exporter and has the shipped rules."""
    names = [
        name for file in RULES.glob("*.yml") for name in re.findall(r"- (?:alert|record): (\S+)", file.read_text())
    ]
    url = f"http://127.0.0.1:{port}/metrics"
    labels = {"job": "hivesync", "instance": f"127.0.0.1:{port}"}
    return {
        "query": {"resultType": "scalar", "result": [0, "1"]},
        "targets": {"activeTargets": [{"labels": labels, "scrapeUrl": url, "health": "up"}]},
        "rules": {"groups": [{"rules": [{"name": name, "health": "ok"} for name in names]}]},
        "alertmanagers": {"activeAlertmanagers": [{"url": "http://127.0.0.1:9093/api/v2/alerts"}]},
    }


class PrometheusStandIn:
    """An application that answers with `data`: by path, the data of an answer, or a whole answer."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        name = scope["path"].removeprefix("/api/v1/")
        found = self.data.get(name)
        if found is None:
            found = Response(status_code=404)
        answer = found if isinstance(found, Response) else JSONResponse({"status": "success", "data": found})
        await answer(scope, receive, send)


class Grafana:
    """An application that behaves as `state` says."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        await self._answer(Request(scope, receive))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        state = self.state
        if not request.url.path.startswith(f"{state['path']}/"):
            return Response(status_code=404)
        path = request.url.path.removeprefix(state["path"])
        if path == "/api/health":
            return JSONResponse({"database": "ok", "version": "13.0.1"})
        client = request.client.host if request.client else ""
        named = request.headers.get("x-webauth-user") and ("*" in state["believes"] or client in state["believes"])
        if not (named or (state["anonymous"] and "x-webauth-user" not in request.headers)):
            return JSONResponse({"message": "Unauthorized"}, 401)
        return self._of_viewer(path)

    def _of_viewer(self, path: str) -> Response:
        state, name = self.state, path.rpartition("/")[2]
        if path == "/api/user":
            return JSONResponse({"login": state["login"], "isGrafanaAdmin": False})
        if path == "/api/user/orgs":
            return JSONResponse([{"orgId": 1, "role": state["role"]}])
        if path.startswith("/d-solo/"):
            return Response("<html>", headers={} if state["frames"] else {"X-Frame-Options": "deny"})
        if path.startswith("/api/datasources/uid/"):
            health = state["datasources"].get(path.split("/")[4])
            return JSONResponse({"status": health}, 404 if health is None else 200 if health == "OK" else 400)
        if path.startswith("/api/dashboards/uid/"):
            panels = state["dashboards"].get(name)
            return JSONResponse({"dashboard": {"uid": name, "panels": panels}}, 404 if panels is None else 200)
        if path == "/api/ds/query":
            return JSONResponse({"results": {"A": {"status": 200, "frames": state["frames_of_data"]}}})
        return JSONResponse([])
