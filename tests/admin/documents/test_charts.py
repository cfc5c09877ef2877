"""The charts."""

from __future__ import annotations

import psycopg
import pytest

from tests.admin.documents.values import AS_OF
from tests.admin.world import World
from tests.rows import NOON


@pytest.mark.parametrize(
    ("path", "points", "span"),
    [
        ("/charts/ai-requests", 24, "24h"),
        ("/charts/ai-requests?range=6h", 25, "6h"),
        ("/charts/ai-requests?range=7d", 168, "7d"),
        ("/charts/ai-latency", 24, "24h"),
        ("/charts/ai-latency?range=6h", 25, "6h"),
        ("/charts/ai-latency?range=7d", 168, "7d"),
        ("/charts/dau", 14, "14d"),
        ("/charts/dau?range=30d", 30, "30d"),
        ("/charts/dau?range=90d", 90, "90d"),
    ],
)
def test_a_chart_has_a_point_for_each_time(path: str, points: int, span: str, world: World) -> None:
    chart = world.get(path).json
    assert (chart["kind"], chart["range"], chart["timezone"], chart["categories"]) == ("line", span, "UTC", None)
    assert span in chart["ranges"]
    assert len(chart["times"]) == points == len(set(chart["times"]))
    assert chart["times"] == sorted(chart["times"])
    assert [len(series["values"]) for series in chart["series"]] == [points]
    assert (chart["status"], chart["sources"], chart["as_of"]) == ("ok", ["postgres"], AS_OF)
    assert any(chart["series"][0]["values"])


def test_the_chart_of_a_day_has_all_its_requests(connection: psycopg.Connection, world: World) -> None:
    chart = world.get("/charts/ai-requests").json
    end = NOON.timestamp() - 60
    assert chart["times"][-1] == end
    row = connection.execute(
        "SELECT count(*) FROM ai_usage_events WHERE created_at > to_timestamp(%s) AND created_at <= to_timestamp(%s)",
        [end - 86_400, end],
    ).fetchone()
    assert row is not None
    assert sum(chart["series"][0]["values"]) == row[0] > 0


def test_days_without_a_roll_up_are_gaps(world: World) -> None:
    chart = world.get("/charts/dau").json
    assert chart["times"][-1] == NOON.timestamp() - 12 * 3600
    assert chart["series"][0]["values"] == [None] * 12 + [4, None]


def test_the_plans_are_bars(world: World) -> None:
    chart = world.get("/charts/plans").json
    assert (chart["kind"], chart["ranges"], chart["range"], chart["times"]) == ("bar", [], None, None)
    assert chart["categories"] == ["paid", "free", "trial", "trial_expired"]
    assert chart["series"][0]["values"] == [1, 3, 1, 1]


@pytest.mark.parametrize(
    "path",
    [
        "/charts/dau?range=24h",
        "/charts/ai-requests?range=14d",
        "/charts/ai-requests?range=",
        "/charts/plans?format=xml",
        "/tables/incidents?format=",
    ],
)
def test_an_unknown_range_or_format_is_422(path: str, world: World) -> None:
    answer = world.get(path)
    assert (answer.status, answer.header("content-type")) == (422, "application/problem+json")
    assert answer.json["status"] == 422
