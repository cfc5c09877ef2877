"""Inhibition in a real Alertmanager with the shipped configuration: alerts that are silent while another one fires."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.monitoring import fit
from servers.alertmanager import AlertmanagerServer
from tests.prometheus.live import alerts_of, raise_alerts
from tests.prometheus.rules import rules
from tests.waiting import until

pytestmark = pytest.mark.alertmanager

ALWAYS = {"SourceDown": {"source": "redis"}}
"""Labels that come from the series of an alert instead of its rule."""


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[AlertmanagerServer]:
    """An Alertmanager without alerts."""
    folder = fit(tmp_path / "shipped", exporters=[], webhook="http://127.0.0.1:1/")
    with AlertmanagerServer(tmp_path / "alertmanager", folder / "alertmanager.yml") as server:
        yield server


SAME_ANSWERS = 10


def silenced(server: AlertmanagerServer, *alerts: dict[str, str]) -> list[str]:
    """Raise these alerts; returns the names of the inhibited ones."""
    raise_alerts(server.url, alerts)
    until(lambda: len(alerts_of(server.url)) == len(alerts), "all alerts are known")
    answers: list[list[str]] = []

    def is_settled() -> bool:
        """The inhibitor learns of alerts by itself, after the API does: the answer has to stay for half a second."""
        names = (each["labels"]["alertname"] for each in alerts_of(server.url) if each["status"]["inhibitedBy"])
        answers.append(sorted(names))
        return len(answers) > SAME_ANSWERS and answers[-SAME_ANSWERS:] == [answers[-1]] * SAME_ANSWERS

    until(is_settled, "the inhibitor knows all of them")
    return answers[-1]


def alert(name: str, **labels: str) -> dict[str, str]:
    """The labels of an alert by its rule, plus these."""
    rule = next(rule for rule in rules("alerts") if rule["alert"] == f"HiveSync{name}")
    own = {key: value for key, value in rule["labels"].items() if "{{" not in value}
    return {"alertname": rule["alert"], **own, **labels}


def test_a_source_that_is_down_silences_what_it_feeds_and_nothing_else(alertmanager: AlertmanagerServer) -> None:
    found = silenced(
        alertmanager,
        alert("SourceDown", job="hivesync", source="redis"),
        alert("DataStale", job="hivesync", source="redis"),
        alert("DataStale", job="hivesync", source="postgres"),
        alert("QueueBacklog", queue="ai"),
        alert("NoHealthyWorker", kind="cpu"),
        alert("CollectorFailing", instance="a", collector="online"),
        alert("CollectorFailing", instance="a", collector="users"),
        alert("JobLatencyHigh", queue="ai"),
        alert("AIErrorRatioHigh"),
        alert("ProjectedCostHigh"),
        alert("ExporterInstanceDown", instance="b"),
    )
    assert found == [
        "HiveSyncCollectorFailing",
        "HiveSyncDataStale",
        "HiveSyncNoHealthyWorker",
        "HiveSyncQueueBacklog",
    ]


@pytest.mark.parametrize(
    ("source", "collector", "fed"),
    [
        ("postgres", "online", "JobLatencyHigh"),
        ("postgres", "rollup", "RollupLate"),
        ("ai_events_log", "ai_log", "AIErrorRatioHigh"),
        ("preview_log", "preview_log", "PreviewFailureRatioHigh"),
    ],
)
def test_each_source_silences_its_own(alertmanager: AlertmanagerServer, source: str, collector: str, fed: str) -> None:
    own = (alert(fed), alert("CollectorFailing", collector=collector), alert("LogTailBehind", source=source))
    others = (alert("QueueBacklog", queue="ai"), alert("CollectorFailing", collector="queues"))
    found = silenced(alertmanager, alert("SourceDown", source=source), *own, *others)
    assert found == sorted(labels["alertname"] for labels in own)


def test_an_exporter_that_is_down_silences_all(alertmanager: AlertmanagerServer) -> None:
    others = {rule["alert"].removeprefix("HiveSync") for rule in rules("alerts")} - {"ExporterDown"}
    assert len(others) > 10
    down = alert("ExporterDown", job="hivesync")
    found = silenced(alertmanager, down, *(alert(name, **ALWAYS.get(name, {})) for name in others))
    assert found == sorted(f"HiveSync{name}" for name in others)


def test_a_queue_that_stands_still_is_not_also_called_long(alertmanager: AlertmanagerServer) -> None:
    found = silenced(
        alertmanager,
        alert("QueueStalled", queue="ai"),
        alert("QueueBacklog", queue="ai"),
        alert("QueueDrainSlow", queue="preview"),
    )
    assert found == ["HiveSyncQueueBacklog"]


def test_where_no_gpu_worker_is_left_none_is_told_of_by_name(alertmanager: AlertmanagerServer) -> None:
    found = silenced(alertmanager, alert("NoHealthyWorker", kind="gpu"), alert("GPUWorkerOffline", worker="gpu-1"))
    assert found == ["HiveSyncGPUWorkerOffline"]


def test_no_healthy_cpu_worker_says_nothing_of_gpu_workers(alertmanager: AlertmanagerServer) -> None:
    found = silenced(alertmanager, alert("NoHealthyWorker", kind="cpu"), alert("GPUWorkerOffline", worker="gpu-1"))
    assert found == []


def test_of_two_severities_the_higher_one_is_told(alertmanager: AlertmanagerServer) -> None:
    both = [alert("AIErrorRatioHigh", severity=severity) for severity in ("warning", "critical")]
    raise_alerts(alertmanager.url, both)
    until(lambda: len(alerts_of(alertmanager.url)) == 2, "both are known")
    known = alerts_of(alertmanager.url)
    assert [each["labels"]["severity"] for each in known if each["status"]["inhibitedBy"]] == ["warning"]
