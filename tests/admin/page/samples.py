"""Documents of the API with numbers that are all different, so that no number can stand in another's place."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from pydantic import BaseModel

from admin.documents import DOCUMENTS, attention, summary
from admin.documents.charts import CHARTS
from admin.documents.models import is_value
from admin.documents.tables import INCIDENTS, TABLES, TOP_USERS
from exporter.inputs import BY_NAME, INPUTS

Document = dict[str, Any]

DAY = 86_400


def iso(seconds: float) -> str:
    """Unix seconds in the API's format."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


MODELS: dict[str, type[BaseModel]] = {
    summary.PATH: summary.Summary,
    attention.PATH: attention.Attention,
    **{document.path: document.model for document in DOCUMENTS},
    **{table.card.document: table.model for table in TABLES},
}
"""The model of each document by its path."""


def documents(now: float | None = None) -> dict[str, Document]:
    """Every document of the API at this moment, without failures, by its path with its query."""
    now = time.time() if now is None else now
    found = _documents(now)
    numbers = count(70_001)
    for path, model in MODELS.items():
        _complete(found[path], model, numbers, iso(now - 4))
    return found


def _complete(document: Document, model: type[BaseModel], numbers: Iterator[int], as_of: str) -> None:
    """Add the model's values that the document lacks, with a different number each."""
    for name, field in model.model_fields.items():
        kind, key = field.annotation, field.alias or name
        if is_value(kind):
            document.setdefault(key, {"value": next(numbers), "status": "ok", "sources": ["postgres"], "as_of": as_of})
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            _complete(document.setdefault(key, {}), kind, numbers, as_of)


def _documents(now: float) -> dict[str, Document]:

    def value(value: Any, *sources: str) -> Document:
        return {"value": value, "status": "ok", "sources": list(sources or ("postgres",)), "as_of": iso(now - 4)}

    def each(*sources: str, **values: Any) -> Document:
        return {name: value(number, *sources) for name, number in values.items()}

    def before(previous: float, change: float | None) -> Document:
        return {"previous": previous, "change": change}

    unknown = {"previous": None, "change": None}
    minutes = [int(now) // 60 * 60 - 60 * back for back in reversed(range(60))]
    plans = {"paid": 31, "trial": 17, "trial_expired": 11, "free": 124}
    header = {
        "online_users": value(42, "postgres", "redis"),
        "ai_requests_last_hour": value(1234) | before(1000, 0.234) | {"previous_week": 0, "change_week": None},
        "ai_queue_depth": value(7, "redis"),
        "preview_queue_depth": value(3, "redis"),
        "paid_share": value(0.2875),
    }
    summary = {
        "degraded": False,
        **header,
        "ai_jobs_waiting": value(19, "postgres", "redis"),
        "preview_jobs_waiting": value(4, "postgres", "redis"),
        "paid_free_ratio": value(0.25),
        "users": value(183),
        "paid_users": value(31),
        "free_users": value(124),
        "trends": {name: {"times": minutes, "values": wave(one["value"], 60)} for name, one in header.items()},
    }
    return {
        "summary": summary,
        "attention": {"ready": True, "alerts": "ok", "findings": [], "left_out": 0, "drains": []},
        "users": {
            "online_users": value(42, "postgres", "redis"),
            "online_devices": each("postgres", "redis", desktop=29, ipad=6, phone=12, unknown=2),
            "live_view_sessions": value(5, "postgres", "redis"),
            "daily_active_users": value(96) | before(128, -0.25),
            "monthly_active_users": value(171) | before(171, 0.0),
            "daily_active_users_by_plan": each(paid=28, trial=13, trial_expired=4, free=51),
            "monthly_active_users_by_plan": each(paid=30, trial=16, trial_expired=9, free=116),
        },
        "growth": {
            "stickiness": value(0.5614),
            "daily_active_users": value(96),
            "monthly_active_users": value(171),
            "new_users": {
                window: value(count) | before(count + 1, -1 / (count + 1))
                for window, count in (("24h", 9), ("7d", 58), ("30d", 203))
            },
            "previously_active_users": value(160),
            "returning_users": value(118),
            "lost_users": value(40),
            "share_lost": value(0.25),
            "trials_ended": value(22),
            "trials_converted": value(8),
            "trial_conversion": value(0.3636),
            "paid_users": value(31),
            "paid_users_lost": value(2),
            "churn": value(0.0606),
            "active_users_month_to_date": value(165),
            "ai_requests_ended_month_to_date": value(301_400),
            "estimate": True,
            "cost_per_active_user_dollars": value(2.405, "postgres", "redis"),
            "cost_per_1000_requests_dollars": value(1.3166, "postgres", "redis"),
        },
        "ai": {
            "requests_per_minute": value(21),
            "requests_per_hour": value(1234) | unknown,
            "requests_per_day": value(20_480) | unknown,
            "requests_per_user": each(median=8.5, p90=33.7, max=402),
            "errors": each(provider_error=14, timeout=9, safety_rejection=1, other=0),
            "log_events": {
                "ai.requested": value(81_002, "ai_events_log"),
                "ai.completed": value(80_107, "ai_events_log"),
                "ai.error": value(883, "ai_events_log"),
            },
            "log_errors": each("ai_events_log", provider_error=500, timeout=300, safety_rejection=80, other=3),
        },
        "queues": {
            "ai_queue_depth": value(7, "redis"),
            "preview_queue_depth": value(3, "redis"),
            "queues": [
                {"queue": "ai", "name": "default", "depth": value(5, "redis")},
                {"queue": "ai", "name": "priority", "depth": value(2, "redis")},
                {"queue": "preview", "name": "default", "depth": value(3, "redis")},
            ],
            "jobs": {
                "ai": {
                    "waiting": value(19, "postgres", "redis"),
                    "running": value(6),
                    "oldest_waiting_seconds": value(75.5),
                },
                "preview": {
                    "waiting": value(4, "postgres", "redis"),
                    "running": value(8),
                    "oldest_waiting_seconds": value(None),
                },
            },
            "unacked": {"messages": value(12, "redis"), "oldest_seconds": value(5400.5, "redis")},
            "dead_letters": [{"name": "dlq_tasks", "messages": value(26, "redis")}],
            "latency_seconds": {
                "ai": each(**{"1m": 0.85, "15m": 1.24, "1h": 1.4}),
                "preview": each(**{"1m": None, "15m": 12.5, "1h": 13.1}),
            },
            "preview_requests": each(**{"1m": 2, "1h": 88, "24h": 1_310}),
            "processing": each("redis", jobs=403_112, seconds=561_004.5),
        },
        "workers": {
            "healthy": value(3, "redis"),
            "total": value(4, "redis"),
            "workers": [
                worker("cpu-1", "cpu", True, now - 5, value),
                worker("cpu-2", "cpu", False, now - 400, value),
                worker("gpu-1", "gpu", True, now - 2, value, "active", "g5.xlarge", "spot"),
                worker("gpu-2", "gpu", True, now - 9, value, "idle", "g6.xlarge", "on-demand"),
            ],
        },
        "monetization": {
            "users": value(183),
            "users_by_plan": each(**plans),
            "projects": value(512),
            "paid_free_ratio": value(0.25),
            "estimate": True,
            "tokens_month_to_date": [
                {"model": model, "direction": direction, "tokens": value(tokens)}
                for model, direction, tokens in (
                    ("gpt-4.1", "prompt", 12_400_312),
                    ("gpt-4.1", "completion", 3_104_551),
                    ("gpt-4.1-mini", "prompt", 48_004_010),
                    ("gpt-4.1-mini", "completion", 9_871_200),
                    ("other", "prompt", 120_004),
                )
            ],
            "cost_month_to_date_dollars": each(tokens=84.63, gpu=312.2, total=396.83),
            "cost_month_projected_dollars": each(tokens=115.4, gpu=425.72, total=541.12),
        },
        "status": {
            "degraded": False,
            "version": "0.1.0",
            "sources": [
                {"source": source, "up": True, "last_success": iso(now - 3), "error": None, "provided": True}
                for source in ("postgres", "redis", "ai_events_log", "preview_log")
            ],
            "inputs": [{"input": each.name, "content": each.meaning, "provided": True} for each in INPUTS],
            "collectors": [
                {
                    "collector": "users",
                    "sources": ["postgres"],
                    "up": True,
                    "interval_seconds": 15,
                    "last_success": iso(now - 3),
                    "error": None,
                }
            ],
            "grafana": {"configured": False, "up": None},
        },
        "tables/top-users": rows(
            TOP_USERS.title,
            now,
            [
                {
                    "user_id": f"user-{number}",
                    "user": f"{name}@example.com",
                    "plan": plan,
                    "last_seen": iso(now - number * 3_700),
                    "ai_requests_7d": 2_000 - number * 83,
                }
                for number, (name, plan) in enumerate(
                    (name, plan)
                    for plan in ("paid", "trial", "free", "trial_expired")
                    for name in ("ada", "grace", "edsger", "barbara", "kristen-with-a-long-name")
                )
            ],
        ),
        "tables/incidents": rows(
            INCIDENTS.title,
            now,
            [
                {
                    "time": iso(now - number * 5_000),
                    "kind": "preview_failure" if number % 3 == 2 else "ai_error",
                    "job_id": f"6f1c2b1e-9d0a-4c57-8f60-0000000000{number:02d}",
                    "provider": None if number % 3 == 2 else "openai",
                    "model": None if number % 3 == 2 else "gpt-4.1-mini",
                    "error_kind": "build_error" if number % 3 == 2 else ("timeout", "provider_error")[number % 2],
                }
                for number in range(24)
            ],
        )
        | {"origin": "postgres"},
        **{
            f"charts/ai-requests?range={span}": line(
                TITLES["ai-requests"], "requests", span, ends(now, step, points), wave(900, points), now
            )
            for span, step, points in SPANS
        },
        **{
            f"charts/ai-latency?range={span}": line(
                TITLES["ai-latency"], "seconds", span, ends(now, step, points), wave(1.4, points), now
            )
            for span, step, points in SPANS
        },
        **{
            f"charts/dau?range={days}d": line(
                TITLES["dau"],
                "users",
                f"{days}d",
                [int(now) // DAY * DAY - DAY * back for back in reversed(range(days))],
                wave(90, days),
                now,
            )
            for days in (14, 30, 90)
        },
        "charts/plans": {
            **line(TITLES["plans"], "users", None, None, list(plans.values()), now),
            "kind": "bar",
            "categories": list(plans),
        },
    }


TITLES = {chart.id: chart.title for chart in CHARTS}

SPANS = (("6h", 900, 25), ("24h", 3600, 24), ("7d", 3600, 168))


def wave(around: float, count: int) -> list[float | None]:
    """Values that rise and fall twice, with one gap, and end at `around`."""
    values: list[float | None] = []
    for index in range(count):
        swing = math.sin(4 * math.pi * index / count) * 0.3 + ((index * 7) % 5 - 2) * 0.02
        values.append(round(around * (1 + swing), 2 if around < 10 else 0))
    values[-1] = around
    values[count // 3] = None
    return values


def ends(now: float, step: int, count: int) -> list[int]:
    """The ends of the last `count` steps."""
    return [int(now) // step * step - step * back for back in reversed(range(count))]


def line(
    title: str, unit: str, span: str | None, times: list[int] | None, values: Sequence[float | None], now: float
) -> Document:
    """A chart's document."""
    return {
        "title": title,
        "unit": unit,
        "kind": "line",
        "range": span,
        "ranges": [],
        "timezone": "UTC",
        "status": "ok",
        "sources": ["postgres"],
        "as_of": iso(now - 4),
        "times": times,
        "categories": None,
        "series": [{"name": unit, "label": title, "values": values}],
    }


def rows(title: str, now: float, rows: list[Document]) -> Document:
    """A table's document."""
    return {
        "title": title,
        "status": "ok",
        "sources": ["postgres"],
        "as_of": iso(now - 4),
        "columns": [],
        "rows": rows,
    }


def worker(
    name: str,
    kind: str,
    healthy: bool,
    last: float,
    value: Any,
    state: str | None = None,
    instance: str | None = None,
    lifecycle: str | None = None,
) -> Document:
    """One worker's row."""
    return {
        "worker": name,
        "kind": kind,
        "healthy": value(healthy, "redis"),
        "last_heartbeat": value(iso(last), "redis"),
        "state": value(state, "redis"),
        "instance_type": value(instance, "redis"),
        "lifecycle": value(lifecycle, "redis"),
    }


def degraded(document: Any, source: str) -> Any:
    """The same document while this source is down: its values are degraded, with their last value."""
    if isinstance(document, Mapping):
        changed = {key: degraded(inner, source) for key, inner in document.items()}
        if source in document.get("sources", ()) and document.get("status") == "ok":
            changed["status"] = "degraded"
        if "degraded" in document:
            changed["degraded"] = True
        if document.get("source") == source:
            changed |= {"up": False, "error": "refused"}
        return changed
    if isinstance(document, list):
        return [degraded(inner, source) for inner in document]
    return document


def without(documents: dict[str, Document], values: Mapping[str, str]) -> dict[str, Document]:
    """The same documents where some inputs are not provided: `values` has the input by the path of a value, or of an
    object of values."""
    for one in documents["status"]["inputs"]:
        one["provided"] = one["input"] not in values.values()
    for source in documents["status"]["sources"]:
        source |= {"provided": False, "up": None} if source["source"] in values.values() else {}
    for path, name in values.items():
        document, *keys, last = path.split("/")
        inner = documents[document]
        for key in keys:
            inner = inner[int(key)] if isinstance(inner, list) else inner[key]
        missing = {
            "value": None,
            "status": "not_provided",
            "sources": [BY_NAME[name].source],
            "as_of": documents["summary"]["online_users"]["as_of"],
            "input": name,
        }
        inner[last] = missing if "value" in inner[last] else dict.fromkeys(inner[last], missing)
    return documents
