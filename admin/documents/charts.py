"""The four charts of the specification's §4, as series (contract §3, `/charts/*`).

Hours and days are sums over whole minutes and UTC days: a point is the hour that ended then, or the day that began
then. The ranges are what the windows behind them reach back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from admin.documents.models import Chart, Series
from admin.documents.values import Reading, Value, combined, iso
from exporter.collectors import users
from exporter.collectors.charts import Charts, Hours
from exporter.collectors.rollup import Rollup

DAY_SECONDS = 86_400

HOURS = {"6h": (15, 25), "24h": (60, 24), "7d": (60, 168)}
"""Minutes from one point to the next and how many there are, by range."""

DAYS = {"14d": 14, "30d": 30, "90d": 90}


def _ai_requests(reading: Reading, span: str) -> Chart:
    return _hourly(reading, span, "AI requests per hour", "requests", Hours.requests_per_hour)


def _ai_latency(reading: Reading, span: str) -> Chart:
    return _hourly(reading, span, "Average AI latency", "seconds", Hours.latency_seconds)


def _hourly(
    reading: Reading,
    span: str,
    title: str,
    unit: str,
    points: Callable[[Hours, int, int], list[int] | list[float | None]],
) -> Chart:
    hours = reading.content(Charts)
    step, number = HOURS[span]
    return _chart(
        title,
        unit,
        tuple(HOURS),
        span,
        reading.of_collector("charts"),
        times=hours.ending(step, number) if hours else [],
        series=[Series(name=unit, label=title, values=list(points(hours, step, number)) if hours else [])],
    )


def _dau(reading: Reading, span: str) -> Chart:
    days = reading.content(Rollup)
    counted = dict(days or ())
    today = int(datetime.fromtimestamp(reading.now, UTC).timestamp()) // DAY_SECONDS * DAY_SECONDS
    times = [today - back * DAY_SECONDS for back in reversed(range(DAYS[span]))]
    return _chart(
        "Daily active users",
        "users",
        tuple(DAYS),
        span,
        reading.of_collector("rollup"),
        times=times,
        series=[Series(name="dau", label="Daily active users", values=[counted.get(day) for day in times])],
    )


def _plans(reading: Reading, _: str) -> Chart:
    of_plan = {plan: reading.value(users.USERS, plan=plan) for plan in ("paid", "free", "trial", "trial_expired")}
    return _chart(
        "Users by plan",
        "users",
        (),
        None,
        combined(of_plan.values(), sum),
        categories=list(of_plan),
        series=[Series(name="users", label="Users", values=[value.number for value in of_plan.values()])],
    )


CHARTS: Mapping[str, Callable[[Reading, str], Chart]] = {
    "ai-requests": _ai_requests,
    "dau": _dau,
    "plans": _plans,
    "ai-latency": _ai_latency,
}
"""How each is drawn of a reading and one of its ranges."""


def _chart(
    title: str,
    unit: str,
    ranges: tuple[str, ...],
    span: str | None,
    source: Value,
    *,
    times: list[int] | None = None,
    categories: list[str] | None = None,
    series: list[Series],
) -> Chart:
    return Chart(
        title=title,
        unit=unit,
        kind="line" if categories is None else "bar",
        range=span,
        ranges=list(ranges),
        timezone="UTC",
        status="ok" if source.ok else "degraded",
        sources=list(source.sources),
        as_of=iso(source.as_of),
        times=times,
        categories=categories,
        series=series,
    )
