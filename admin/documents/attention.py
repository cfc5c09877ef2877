"""What needs attention: `/attention`, and the top of the page (docs/definitions.md#attention).

    exporter/snapshot.py -> values ─┐
    admin/alerts.py (Prometheus) ───┴─> attention (this) -> api.py, page/modules/attention.js

A finding of this process shows at once. An alert about the same thing, which comes later and lasts longer, is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from admin.documents.models import Model
from admin.documents.values import Value, Values, combined, iso
from admin.runbooks import NAMES
from exporter.collectors import cost
from presentation.label_styles import COMPONENTS, QUEUES, SOURCES

PATH, TITLE = "attention", "Needs attention"

SHOWN = 20
"""Findings at most; the others are counted."""

PROJECTED_FROM_DAY = 3
"""The day of the month from which the projected cost counts; before, the cost so far, as in the alert."""

Severity = Literal["critical", "warning"]
AlertState = Literal["ok", "unknown", "not_configured"]


@dataclass(frozen=True, slots=True)
class FiringAlert:
    """An alert that fires; `about`: its label `source`, `collector` or `queue`, `labels`: the others in words."""

    name: str
    severity: Severity
    since: float | None
    summary: str
    description: str
    about: str = ""
    labels: str = ""


@dataclass(frozen=True, slots=True)
class PrometheusView:
    """The part of Prometheus' state that concerns the page. `drain_seconds` and `drain_limits` by queue."""

    state: AlertState
    alerts: tuple[FiringAlert, ...] = ()
    cost_limit: float | None = None
    drain_seconds: Mapping[str, float] = field(default_factory=dict)
    drain_limits: Mapping[str, float] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.state, self.alerts, self.cost_limit, *self.drain_seconds.items(), *self.drain_limits.items()))


NOT_CONFIGURED = PrometheusView("not_configured")


class Concern(Model):
    """One thing that needs attention."""

    kind: Literal["alert", "source", "collector", "cost", "queue"]
    name: str = Field(description="The alert's name, or that of the alert on the same thing.")
    about: str = Field(description="The source, collector or queue; empty for a thing of which there is one.")
    severity: Severity
    title: str
    detail: str
    since: str | None = Field(description="ISO 8601, UTC: the alert's start, or the last success of a source.")
    amount: float | None = Field(description="Of a cost, in dollars; of a queue, seconds until it is empty.")
    limit: float | None = Field(description="The limit that the amount exceeds, in the same unit.")
    runbook: str | None = Field(description="The name of its runbook, at runbooks/{name}.")


class Drain(Model):
    """The time in which a queue will be empty at the present rate, without further requests."""

    queue: str
    seconds: float


class Attention(Model):
    """Everything that needs attention, the worst first."""

    ready: bool = Field(description="Whether everything has been read once.")
    alerts: AlertState = Field(description="Whether Prometheus' alerts are known; without them, all others are.")
    findings: list[Concern]
    left_out: int = Field(description=f"Findings beyond the first {SHOWN}.")
    drains: list[Drain] = Field(description="Of the queues with waiting jobs, as Prometheus knows them.")


def build(values: Values, prometheus: PrometheusView) -> Attention:
    """The document."""
    own = [*_sources(values), *_collectors(values), *_cost(values, prometheus), *_queues(prometheus)]
    known = {(finding.name, finding.about) for finding in own}
    alerts = [_of_alert(alert) for alert in prometheus.alerts if (alert.name, alert.about) not in known]
    found = sorted([*own, *alerts], key=lambda finding: (finding.severity != "critical", finding.since or ""))
    return Attention(
        ready=values.view.ready,
        alerts=prometheus.state,
        findings=found[:SHOWN],
        left_out=max(0, len(found) - SHOWN),
        drains=[Drain(queue=queue, seconds=seconds) for queue, seconds in _drains(prometheus) if seconds > 0],
    )


def _sources(values: Values) -> Iterator[Concern]:
    for source in values.view.sources:
        if source.up is False:
            yield _finding(
                "source",
                "HiveSyncSourceDown",
                source.name,
                f"{SOURCES[source.name].title} cannot be reached",
                f"{_words(source.error or 'down')}. Values that need it are the last ones known.",
                severity="critical",
                since=source.last_success,
            )


def _collectors(values: Values) -> Iterator[Concern]:
    down = {source.name for source in values.view.sources if source.up is False}
    for collector in values.view.collectors:
        if collector.up is False and down.isdisjoint(collector.sources):
            yield _finding(
                "collector",
                "HiveSyncCollectorFailing",
                collector.name,
                f"The collector {_words(collector.name)} fails",
                f"{_words(collector.error or 'failed')}. Its values are the last ones known.",
                since=collector.last_success,
            )


def _cost(values: Values, prometheus: PrometheusView) -> Iterator[Concern]:
    limit, day = prometheus.cost_limit, datetime.fromtimestamp(values.now, UTC).day
    projected, so_far = _total(values, projected=True), _total(values, projected=False)
    shown = projected if projected.number is not None and day >= PROJECTED_FROM_DAY else so_far
    if limit is not None and shown.ok and shown.number is not None and shown.number > limit:
        yield _finding(
            "cost",
            "HiveSyncProjectedCostHigh",
            "",
            "The AI cost of this month exceeds its limit" if shown is so_far else "The AI cost is projected too high",
            "An estimate, by the price file.",
            amount=shown.number,
            limit=limit,
        )


def _total(values: Values, *, projected: bool) -> Value:
    spec = cost.PROJECTED if projected else cost.MONTH_TO_DATE
    return combined((values.value(spec, component=component) for component in COMPONENTS), sum)


def _queues(prometheus: PrometheusView) -> Iterator[Concern]:
    for queue, seconds in _drains(prometheus):
        limit = prometheus.drain_limits.get(queue)
        if limit is not None and seconds > limit:
            yield _finding(
                "queue",
                "HiveSyncQueueDrainSlow",
                queue,
                f"The {QUEUES[queue].title} queue is too long",
                "At the present rate of jobs that end.",
                amount=seconds,
                limit=limit,
            )


def _drains(prometheus: PrometheusView) -> Iterable[tuple[str, float]]:
    return ((queue, prometheus.drain_seconds[queue]) for queue in QUEUES if queue in prometheus.drain_seconds)


def _of_alert(alert: FiringAlert) -> Concern:
    return _finding(
        "alert",
        alert.name,
        alert.about,
        alert.summary or alert.name,
        " ".join(filter(None, (alert.description, alert.labels and f"({alert.labels})"))),
        severity=alert.severity,
        since=alert.since,
    )


def _finding(
    kind: Literal["alert", "source", "collector", "cost", "queue"],
    name: str,
    about: str,
    title: str,
    detail: str,
    *,
    severity: Severity = "warning",
    since: float | None = None,
    amount: float | None = None,
    limit: float | None = None,
) -> Concern:
    return Concern(
        kind=kind,
        name=name,
        about=about,
        severity=severity,
        title=title,
        detail=detail[:1].upper() + detail[1:],
        since=iso(since),
        amount=amount,
        limit=limit,
        runbook=name if name in NAMES else None,
    )


def _words(name: str) -> str:
    """`connection_refused` as words."""
    return name.replace("_", " ")
