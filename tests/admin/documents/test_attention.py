"""What needs attention, of values made here: each kind of finding, its conditions, and alerts on the same thing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from admin.documents.attention import NOT_CONFIGURED, SHOWN, Attention, FiringAlert, PrometheusView, build
from admin.documents.values import Values
from exporter.collectors import cost
from exporter.spec import Sample
from exporter.view import CollectorView, SourceView, View

NOW = datetime(2026, 3, 17, 12, tzinfo=UTC).timestamp()
SOURCES = (SourceView("postgres", True, None, NOW - 3), SourceView("redis", True, None, NOW - 3))


def collector(**changes: Any) -> CollectorView:
    """The collector of the cost: 60 dollars so far, 110 projected."""
    samples = tuple(
        Sample(spec, (component,), dollars)
        for spec, parts in ((cost.MONTH_TO_DATE, (40.0, 20.0)), (cost.PROJECTED, (75.0, 35.0)))
        for component, dollars in zip(("tokens", "gpu"), parts, strict=True)
    )
    specs = (cost.MONTH_TO_DATE, cost.PROJECTED)
    known = CollectorView("cost", ("postgres", "redis"), specs, 15, True, None, NOW - 3, samples, samples)
    return replace(known, **changes)


def attention(
    prometheus: PrometheusView = NOT_CONFIGURED,
    *,
    sources: tuple[SourceView, ...] = SOURCES,
    now: float = NOW,
    **changes: Any,
) -> Attention:
    return build(Values(View((collector(**changes),), (), sources), now), prometheus)


def alert(name: str = "HiveSyncQueueBacklog", about: str = "ai", **changes: Any) -> FiringAlert:
    known = FiringAlert(name, "warning", NOW - 60, "Many wait.", "150 jobs of the AI queue wait.", about)
    return replace(known, **changes)


def firing(*alerts: FiringAlert, **changes: Any) -> PrometheusView:
    return replace(PrometheusView("ok", alerts), **changes)


def test_without_anything_there_is_no_finding() -> None:
    found = attention(firing())
    assert found == Attention(ready=True, alerts="ok", findings=[], left_out=0, drains=[])
    assert attention().alerts == "not_configured"
    assert attention(up=None).ready is False


def test_a_source_that_is_down_is_found_and_its_collectors_are_not() -> None:
    down = SourceView("redis", False, "connection_lost", NOW - 90)
    (found,) = attention(sources=(SOURCES[0], down), up=False, error="unavailable").findings
    assert (found.kind, found.about, found.severity, found.runbook) == (
        "source",
        "redis",
        "critical",
        "HiveSyncSourceDown",
    )
    assert found.title == "Redis cannot be reached"
    assert found.detail.startswith("Connection lost.")
    assert found.since == "2026-03-17T11:58:30.000Z"


def test_a_source_without_an_attempt_is_no_finding() -> None:
    assert attention(sources=(SourceView("redis", None, None, None),)).findings == []


def test_a_collector_that_fails_alone_is_found() -> None:
    (found,) = attention(up=False, error="undefined_table").findings
    assert (found.kind, found.about, found.runbook) == ("collector", "cost", "HiveSyncCollectorFailing")
    assert found.detail.startswith("Undefined table.")


def day(number: int) -> float:
    return datetime(2026, 3, number, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("limit", "now", "value"),
    [
        (109.0, NOW, 110.0),
        (110.0, NOW, None),
        (109.0, day(2), None),
        (109.0, day(3), 110.0),
        (59.0, day(2), 60.0),
        (None, NOW, None),
    ],
    ids=["over", "at the limit", "second day", "third day", "second day, spent", "no limit"],
)
def test_the_cost_is_found_beyond_its_limit(limit: float | None, now: float, value: float | None) -> None:
    found = attention(firing(cost_limit=limit), now=now).findings
    assert [(finding.kind, finding.amount, finding.limit) for finding in found] == (
        [] if value is None else [("cost", value, limit)]
    )


def test_a_cost_that_is_not_known_now_is_no_finding() -> None:
    found = attention(firing(cost_limit=1.0), up=False, error="timeout").findings
    assert [finding.kind for finding in found] == ["collector"]
    assert attention(firing(cost_limit=1.0), last_samples=()).findings == []


def test_a_queue_is_found_beyond_its_limit_and_its_drain_time_is_always_given() -> None:
    prometheus = firing(
        drain_seconds={"ai": 1801.0, "preview": 60.0, "other": 5.0}, drain_limits={"ai": 1800.0, "preview": 900.0}
    )
    found = attention(prometheus)
    assert [(each.kind, each.about, each.amount, each.limit) for each in found.findings] == [
        ("queue", "ai", 1801.0, 1800.0)
    ]
    assert [(drain.queue, drain.seconds) for drain in found.drains] == [("ai", 1801.0), ("preview", 60.0)]
    assert attention(firing(drain_seconds={"ai": 0.0}, drain_limits={"ai": 1.0})).drains == []


def test_alerts_are_listed_by_severity_then_by_their_start() -> None:
    prometheus = firing(
        alert(about="preview"),
        alert(about="ai", since=NOW - 600),
        alert("HiveSyncNoHealthyWorker", "", severity="critical", since=NOW - 5, labels="kind gpu"),
        alert("HiveSyncOfTheOperator", "", summary="", since=None, severity="critical"),
    )
    found = attention(prometheus).findings
    assert [(each.name, each.about) for each in found] == [
        ("HiveSyncOfTheOperator", ""),
        ("HiveSyncNoHealthyWorker", ""),
        ("HiveSyncQueueBacklog", "ai"),
        ("HiveSyncQueueBacklog", "preview"),
    ]
    assert (found[0].title, found[0].runbook) == ("HiveSyncOfTheOperator", None)
    assert found[1].detail == "150 jobs of the AI queue wait. (kind gpu)"
    assert found[1].runbook == "HiveSyncNoHealthyWorker"


def test_an_alert_about_the_same_thing_as_a_finding_is_left_out() -> None:
    down = SourceView("redis", False, "refused", NOW)
    prometheus = firing(
        alert("HiveSyncSourceDown", "redis"),
        alert("HiveSyncSourceDown", "preview_log"),
        alert("HiveSyncProjectedCostHigh", ""),
        alert("HiveSyncQueueDrainSlow", "ai"),
        cost_limit=1.0,
        drain_seconds={"ai": 99.0},
        drain_limits={"ai": 1.0},
    )
    found = attention(prometheus, sources=(SOURCES[0], down)).findings
    assert [(each.kind, each.name, each.about) for each in found if each.name == "HiveSyncSourceDown"] == [
        ("source", "HiveSyncSourceDown", "redis"),
        ("alert", "HiveSyncSourceDown", "preview_log"),
    ]
    assert [each.kind for each in found if each.name == "HiveSyncQueueDrainSlow"] == ["queue"]


def test_findings_beyond_the_limit_are_counted() -> None:
    found = attention(firing(*(alert(about=f"queue-{number}") for number in range(SHOWN + 3))))
    assert (len(found.findings), found.left_out) == (SHOWN, 3)
