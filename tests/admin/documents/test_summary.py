"""The summary and its trends."""

from __future__ import annotations

import psycopg

from admin.documents.summary import CARDS
from admin.documents.trends import POINTS, Trends
from admin.documents.values import Value
from tests.admin.documents.values import check_values, metrics
from tests.admin.world import World
from tests.rows import NOON


def test_every_value_has_a_status_sources_and_a_time(world: World) -> None:
    check_values(world, "/summary")


def test_numbers_are_those_of_the_metrics(world: World) -> None:
    samples = metrics(world)
    said = {
        name: value["value"]
        for name, value in world.get("/summary").json.items()
        if isinstance(value, dict) and "value" in value
    }
    paid, free = samples['hivesync_users{plan="paid"}'], samples['hivesync_users{plan="free"}']
    assert said == {
        "online_users": samples["hivesync_online_users"],
        "ai_requests_last_hour": samples['hivesync_ai_requests_in_window{window="1h"}'],
        "ai_queue_depth": 4,
        "preview_queue_depth": 2,
        "ai_jobs_waiting": 9,
        "preview_jobs_waiting": 2,
        "paid_free_ratio": paid / free,
        "paid_share": paid / 6,
        "users": 6,
        "paid_users": paid,
        "free_users": free,
    }
    assert min(said.values()) > 0


def test_trends_hold_the_numbers_of_the_summary(world: World) -> None:
    summary = world.get("/summary").json
    for name, points in summary["trends"].items():
        if name != "ai_requests_last_hour":
            assert points == {"times": [int(NOON.timestamp())], "values": [summary[name]["value"]]}
    assert summary["trends"].keys() == {card.trend for card in CARDS}


def test_the_trend_of_ai_requests_begins_with_history(connection: psycopg.Connection, world: World) -> None:
    trend = world.get("/summary").json["trends"]["ai_requests_last_hour"]
    assert trend["times"] == [int(NOON.timestamp()) - 60 * back for back in range(60, 0, -1)]
    query = (
        "SELECT count(*) FROM ai_usage_events"
        " WHERE created_at > to_timestamp(%s) - interval '1 hour' AND created_at <= to_timestamp(%s)"
    )
    rows = [connection.execute(query, [time, time]).fetchone() for time in trend["times"]]
    assert trend["values"] == [row[0] for row in rows if row]
    assert len(set(trend["values"])) > 1


def test_a_trend_has_one_point_per_minute_for_an_hour() -> None:
    trends = Trends()
    for second in range(0, 2 * 3600, 20):
        if trends.wants(second):
            trends.note(second, {"a": Value(second, second % 120 == 0, (), None)})
    (points,) = trends.shown(("a",)).values()
    assert len(points.times) == POINTS
    assert points.times == list(range(3600, 7200, 60))
    assert points.values == [time if time % 120 == 0 else None for time in points.times]
