"""Prometheus' alerts and series for the page: from a real Prometheus, and from servers with other answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.responses import Response

from admin.alerts import COST_LIMIT, DRAIN, DRAIN_LIMIT, PREFIX, AlertReader
from admin.documents.attention import PrometheusView
from admin.runbooks import NAMES
from servers.prometheus import PrometheusServer
from tests.admin.grafana.standing_in import StandIn, standing_in
from tests.waiting import until, until_async

RULES = Path(__file__).parents[2] / "prometheus" / "rules"

OURS = """
groups:
  - name: ours
    interval: 1s
    rules:
      - {record: "hivesync:ai_cost_month_dollars:threshold", expr: "vector(1000)"}
      - record: queue:hivesync_queue_drain_seconds:ratio_rate10m
        expr: label_replace(vector(720), "queue", "ai", "", "")
      - record: queue:hivesync_queue_drain_seconds:threshold
        expr: label_replace(vector(1800), "queue", "ai", "", "")
      - alert: HiveSyncQueueBacklog
        expr: label_replace(vector(150), "queue", "ai", "", "")
        labels: {severity: critical, source: redis, kind: gpu}
        annotations: {summary: Many jobs wait., description: "{{ $value }} jobs wait."}
      - {alert: HiveSyncPending, expr: "vector(1)", for: 1h}
      - {alert: NodeDown, expr: "vector(1)"}
"""


def read(url: str, seconds: float = 5.0) -> PrometheusView:
    """The view after one reading."""

    async def once() -> PrometheusView:
        reader = AlertReader(url, answer_seconds=seconds)
        running = asyncio.ensure_future(reader.run())
        before = reader.view
        await until_async(lambda: reader.view is not before)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return reader.view

    return asyncio.run(once())


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    folder = tmp_path_factory.mktemp("alerts")
    (folder / "rules.yml").write_text(OURS)
    (folder / "prometheus.yml").write_text("rule_files: [rules.yml]\n")
    with PrometheusServer(folder / "prometheus", configuration=folder / "prometheus.yml") as server:
        yield server


@pytest.mark.prometheus
def test_firing_alerts_of_ours_the_limit_and_drain_times_are_read(prometheus: PrometheusServer) -> None:
    seen: list[PrometheusView] = []

    def all_there() -> bool:
        seen.append(read(prometheus.url))
        return bool(seen[-1].alerts and seen[-1].cost_limit and seen[-1].drain_limits)

    until(all_there, "the rules are evaluated")
    view = seen[-1]
    assert view.state == "ok"
    (alert,) = view.alerts
    assert (alert.name, alert.severity, alert.about) == ("HiveSyncQueueBacklog", "critical", "ai")
    assert (alert.summary, alert.description, alert.labels) == ("Many jobs wait.", "150 jobs wait.", "kind gpu")
    assert alert.since is not None
    assert (view.cost_limit, view.drain_seconds, view.drain_limits) == (1000.0, {"ai": 720.0}, {"ai": 1800.0})


def answer(data: Any) -> Response:
    return Response(orjson.dumps({"status": "success", "data": data}))


@pytest.fixture
def server() -> Iterator[StandIn]:
    with standing_in() as server:
        yield server


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"alerts": None},
        {"alerts": [None, 5, {}, {"state": "firing"}, {"state": "firing", "labels": {"alertname": 7}}]},
        {
            "alerts": [],
            "result": [None, {"metric": {}, "value": []}, {"metric": {"__name__": DRAIN}, "value": [0, "NaN"]}],
        },
    ],
    ids=["null", "list", "no alerts", "no objects", "no numbers"],
)
def test_answers_of_another_form_are_no_alerts(server: StandIn, data: Any) -> None:
    server.answering = answer(data)
    view = read(server.url)
    known = isinstance(data, dict) and isinstance(data["alerts"], list)
    assert view == PrometheusView("ok" if known else "unknown")


def test_texts_are_cut_and_times_that_are_none_left_out(server: StandIn) -> None:
    labels = {"alertname": "HiveSyncX", "severity": "page"}
    alert = {
        "state": "firing",
        "labels": labels,
        "activeAt": "now",
        "annotations": {"summary": "a\x1b\n" + "b" * 9_000},
    }
    server.answering = answer({"alerts": [alert]})
    (found,) = read(server.url).alerts
    assert (found.severity, found.since, found.summary) == ("warning", None, "a" + "b" * 399)


def test_without_an_answer_nothing_is_known_or_kept(server: StandIn) -> None:
    server.answering = answer({"alerts": []})
    assert read(server.url).state == "ok"
    server.answering = Response(b"{}", 500)
    assert read(server.url) == PrometheusView("unknown")
    assert read("http://127.0.0.1:9") == PrometheusView("unknown")


def test_the_series_are_those_of_the_rules() -> None:
    recorded = set(re.findall(r"record: (\S+)", "".join(path.read_text() for path in RULES.glob("*.yml"))))
    assert {COST_LIMIT, DRAIN, DRAIN_LIMIT} <= recorded


def test_every_shipped_alert_has_the_prefix_and_a_runbook() -> None:
    names = set(re.findall(r"alert: (\S+)", (RULES / "alerts.yml").read_text()))
    assert len(names) > 15
    assert names == NAMES
    assert all(name.startswith(PREFIX) for name in names)
