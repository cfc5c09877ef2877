"""Prometheus' firing alerts, the limit of the cost and the drain times of the queues, read in the background.

    Prometheus -> alerts (this) -> documents/attention.py

A request to the section never waits for Prometheus. Without an answer nothing is kept, and the page says that alerts
are not known; this is no failure of the section. Alerts of other programs in the same Prometheus are left out.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlencode

from admin.documents.attention import AlertState, FiringAlert, PrometheusView
from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources.prometheus import Prometheus

PERIOD_SECONDS = 15.0
ANSWER_SECONDS = 5.0

PREFIX = "HiveSync"
"""The beginning of the names of our alerts."""

COST_LIMIT = "hivesync:ai_cost_month_dollars:threshold"
DRAIN = "queue:hivesync_queue_drain_seconds:ratio_rate10m"
DRAIN_LIMIT = "queue:hivesync_queue_drain_seconds:threshold"
"""Names of series in prometheus/rules/; a test finds each there."""

ABOUT = ("queue", "collector", "source")
"""The labels that say what an alert is about, the first of them."""

TEXT_CHARACTERS = 400
"""Of each text of an alert, which a rule of the operator's may have made of anything."""


class AlertReader:
    """Reads Prometheus at `url` every period; `view` is the last result."""

    def __init__(
        self, url: str, period_seconds: float = PERIOD_SECONDS, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self.view = PrometheusView("unknown")
        self._prometheus = Prometheus(url, answer_seconds)
        self._period_seconds = period_seconds

    async def run(self) -> None:
        """Read periodically until cancelled; then close the connections."""
        try:
            while True:
                await self.read()
                await asyncio.sleep(self._period_seconds)
        finally:
            await self._prometheus.close()

    async def read(self) -> None:
        """Read once. Alerts and series are apart: a server with the same API may have no alerts."""
        alerts, series = await asyncio.gather(self._get("alerts"), self._get(f"query?{urlencode({'query': _QUERY})}"))
        numbers = _numbers(series)
        found = _alerts(alerts)
        state: AlertState = "unknown" if found is None else "ok"
        self.view = PrometheusView(
            state,
            found or (),
            numbers.get((COST_LIMIT, "")),
            {queue: number for (name, queue), number in numbers.items() if name == DRAIN},
            {queue: number for (name, queue), number in numbers.items() if name == DRAIN_LIMIT},
        )

    async def _get(self, path: str) -> Any:
        """The data at a path; None without an answer."""
        try:
            return await self._prometheus.get(path)
        except (SourceUnavailable, CollectionFailed):
            return None


_QUERY = f'{{__name__=~"{COST_LIMIT}|{DRAIN}|{DRAIN_LIMIT}"}}'


def _alerts(data: Any) -> tuple[FiringAlert, ...] | None:
    """The firing alerts of ours; None for data that has no list of alerts."""
    listed = data.get("alerts") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        return None
    return tuple(_alert(each) for each in listed if isinstance(each, dict) and _is_ours(each))


def _is_ours(alert: Mapping[str, Any]) -> bool:
    return alert.get("state") == "firing" and _texts(alert.get("labels")).get("alertname", "").startswith(PREFIX)


def _alert(alert: Mapping[str, Any]) -> FiringAlert:
    labels, annotations = _texts(alert.get("labels")), _texts(alert.get("annotations"))
    about = next((label for label in ABOUT if label in labels), "")
    others = {name: value for name, value in labels.items() if name not in (*ABOUT, *_SAID_ELSEWHERE)}
    return FiringAlert(
        name=labels["alertname"],
        severity="critical" if labels.get("severity") == "critical" else "warning",
        since=_time(alert.get("activeAt")),
        summary=annotations.get("summary", ""),
        description=annotations.get("description", ""),
        about=labels.get(about, ""),
        labels=", ".join(f"{name} {value}" for name, value in sorted(others.items()))[:TEXT_CHARACTERS],
    )


_SAID_ELSEWHERE = ("alertname", "severity", "job", "instance")


def _texts(mapping: Any) -> dict[str, str]:
    """The texts of an object of JSON, without control characters and cut."""
    if not isinstance(mapping, dict):
        return {}
    return {
        str(name): "".join(filter(str.isprintable, value))[:TEXT_CHARACTERS]
        for name, value in mapping.items()
        if isinstance(value, str)
    }


def _time(text: Any) -> float | None:
    """Unix seconds of a time in RFC 3339; None for anything else."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _numbers(data: Any) -> dict[tuple[str, str], float]:
    """The finite values of an instant query by metric and queue; of several series of one, the largest."""
    found: dict[tuple[str, str], float] = {}
    result = data.get("result") if isinstance(data, dict) else None
    for each in result if isinstance(result, list) else ():
        try:
            labels = cast("Mapping[str, str]", each["metric"])
            key, number = (labels["__name__"], labels.get("queue", "")), float(each["value"][1])
        except (TypeError, KeyError, IndexError, ValueError):
            continue
        if math.isfinite(number):
            found[key] = max(number, found.get(key, -math.inf))
    return found
