"""The four charts: `/charts/*`, and the charts of the page.

A point is the hour that ended then, or the UTC day that began then. The longest range is as long as the windows of the
collectors reach back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from admin.documents.cards import ACTIVE, PLAN_CLASSES, POSTGRES, Format, Meaning
from admin.documents.models import Model, Status, change, status_of
from admin.documents.values import Value, Values, combined, iso
from exporter.collectors import charts, rollup, users
from exporter.collectors.users import FRESHNESS
from presentation.panels import Analytics, Embedded, Panel

DAY_SECONDS = 86_400

HOURS = {"6h": (15, 25), "24h": (60, 24), "7d": (60, 168)}
"""Minutes between two points, and the number of points, by range."""

SPANS = {
    "6h": (360, 1440, "the same 6 hours yesterday"),
    "24h": (1440, 1440, "the 24 hours before"),
    "7d": (10_080, 10_080, "the 7 days before"),
}
"""By range: its length, the distance to the span that it is compared with (minutes), and that span in words."""

DAYS = {"14d": 14, "30d": 30, "90d": 90}
"""The number of points by range."""

AS_CHOSEN = "the range selected above the chart"


class Series(Model):
    """One line, or one set of bars."""

    name: str
    label: str
    values: list[float | None]
    previous: list[float | None] | None = Field(
        description="The values of the same points of the span before; null where that span is not known."
    )


class Comparison(Model):
    """A chart's span as one number, and the span before (docs/definitions.md#compared-with-before)."""

    counts: str = Field(description="What the numbers count.")
    than: str = Field(description="The span before, in words.")
    value: float | None
    previous: float | None
    change: float | None = Field(description="Relative to `previous`: 0.25 is 25 % more.")


class Chart(Model):
    """A chart; `times` for a line, `categories` for bars."""

    title: str
    unit: str
    kind: Literal["line", "bar"]
    range: str | None
    ranges: list[str]
    timezone: Literal["UTC"]
    status: Status
    sources: list[str]
    as_of: str | None
    times: list[int] | None = Field(description="Unix seconds: ends of hours, or starts of days.")
    categories: list[str] | None
    series: list[Series]
    comparison: Comparison | None = Field(description="Null for a chart of what is now.")


@dataclass(frozen=True, slots=True)
class ChartData:
    """The data of a chart: times for a line, categories for bars, and a number for each."""

    source: Value
    values: Iterable[float | None]
    times: list[int] | None = None
    categories: list[str] | None = None
    previous: list[float | None] | None = None
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class ChartCard:
    """A chart: Grafana's panel while Grafana responds, otherwise drawn from the API."""

    id: str
    title: str
    meaning: Meaning
    unit: str
    data: Callable[[Values, str], ChartData]
    """The data for a range, the empty string for a chart without ranges."""
    panel: Panel
    """Grafana's panel in the chart's frame, for every range."""
    full_panel: Panel
    """Grafana's panel of the same numbers, with title and definition, on the dashboard that the chart links."""
    ranges: tuple[str, ...] = ()
    range: str = ""
    """The range at first."""
    format: Format = "count"
    has_days: bool = False
    """Its times are UTC days, and are written as days; others are in the viewer's time zone."""
    series: tuple[str, str] | None = None
    """Name and label of its series; by default unit and title."""

    @property
    def height(self) -> int:
        """The height of the drawing in pixels."""
        return self.panel.pixels

    @property
    def document(self) -> str:
        """The path of the document below /admin/analytics/."""
        return f"charts/{self.id}"

    def build(self, values: Values, span: str) -> Chart:
        """The document for a range."""
        data = self.data(values, span)
        name, label = self.series or (self.unit, self.title)
        return Chart(
            title=self.title,
            unit=self.unit,
            kind="line" if data.categories is None else "bar",
            range=span or None,
            ranges=list(self.ranges),
            timezone="UTC",
            status=status_of(data.source),
            sources=list(data.source.sources),
            as_of=iso(data.source.as_of),
            times=data.times,
            categories=data.categories,
            series=[Series(name=name, label=label, values=list(data.values), previous=data.previous)],
            comparison=data.comparison if data.source.ok else None,
        )


def _ai_requests(values: Values, span: str) -> ChartData:
    return _hourly(values, span, charts.Hours.requests_per_hour, charts.Hours.requests_in, "AI requests")


def _ai_latency(values: Values, span: str) -> ChartData:
    return _hourly(values, span, charts.Hours.latency_seconds, charts.Hours.latency_in, "mean latency")


def _hourly(
    values: Values,
    span: str,
    points: Callable[[charts.Hours, int, int, int], list[float | None]],
    whole: Callable[[charts.Hours, int, int], float | None],
    counts: str,
) -> ChartData:
    hours = values.content(charts.Charts)
    source = values.of_collector(charts.Charts.name)
    if hours is None:
        return ChartData(source, (), times=[])
    (step, count), (length, back, than) = HOURS[span], SPANS[span]
    return ChartData(
        source,
        points(hours, step, count, 0),
        times=hours.ending(step, count),
        previous=points(hours, step, count, back) if hours.knows(length, back) else None,
        comparison=_comparison(counts, than, whole(hours, length, 0), whole(hours, length, back)),
    )


def _dau(values: Values, span: str) -> ChartData:
    days = values.content(rollup.Rollup)
    counted = dict(days or ())
    today = int(datetime.fromtimestamp(values.now, UTC).timestamp()) // DAY_SECONDS * DAY_SECONDS
    length = DAYS[span]
    times = [today - back * DAY_SECONDS for back in reversed(range(length))]
    before = [time - length * DAY_SECONDS for time in times]
    shown, previous = ([counted.get(day) for day in span] for span in (times, before))
    return ChartData(
        values.of_collector(rollup.Rollup.name),
        shown,
        times=times,
        previous=list(previous) if any(count is not None for count in previous) else None,
        comparison=_comparison(
            "mean of the complete days", f"the {length} days before", _mean(shown[:-1]), _mean(previous[:-1])
        ),
    )


def _mean(days: Sequence[float | None]) -> float | None:
    """The mean over days; None while one of them is not known."""
    known = [count for count in days if count is not None]
    return sum(known) / len(known) if known and len(known) == len(days) else None


def _comparison(counts: str, than: str, value: float | None, previous: float | None) -> Comparison:
    return Comparison(counts=counts, than=than, value=value, previous=previous, change=change(value, previous))


def _plans(values: Values, _: str) -> ChartData:
    by_plan = {plan: values.value(users.USERS, plan=plan) for plan in ("paid", "free", "trial", "trial_expired")}
    shown = {plan: value for plan, value in by_plan.items() if value.input is None}
    return ChartData(combined(shown.values(), sum), [value.number for value in shown.values()], categories=list(shown))


CHARTS: tuple[ChartCard, ...] = (
    ChartCard(
        "ai-requests",
        "AI requests per hour",
        Meaning("AI jobs requested per hour, regardless of their outcome.", AS_CHOSEN, POSTGRES),
        "requests",
        _ai_requests,
        Embedded.AI_REQUESTS,
        Analytics.AI_REQUESTS_DAY,
        tuple(HOURS),
        "24h",
    ),
    ChartCard(
        "dau",
        "Active users by UTC day",
        Meaning(f"{ACTIVE} on each UTC day; the last day is today so far.", AS_CHOSEN, POSTGRES),
        "users",
        _dau,
        Embedded.DAU,
        Analytics.DAU_FORTNIGHT,
        tuple(DAYS),
        "14d",
        has_days=True,
        series=("dau", "Active users"),
    ),
    ChartCard(
        "plans",
        "Users by plan",
        Meaning(f"All users by plan. {PLAN_CLASSES}", f"now. {FRESHNESS}", POSTGRES),
        "users",
        _plans,
        Embedded.USERS_BY_PLAN,
        Analytics.USERS_BY_PLAN,
        series=("users", "Users"),
    ),
    ChartCard(
        "ai-latency",
        "Average AI latency",
        Meaning("Mean time from creation to completion of the AI jobs that succeeded.", AS_CHOSEN, POSTGRES),
        "seconds",
        _ai_latency,
        Embedded.AI_LATENCY,
        Analytics.AI_LATENCY_DAY,
        tuple(HOURS),
        "24h",
        "seconds",
    ),
)
