"""Queues and jobs."""

from __future__ import annotations

import psycopg
import redis

from tests.admin.documents.values import check_metrics, check_values
from tests.admin.world import World

EQUAL = {
    **{
        f"/latency_seconds/{queue}/{window}": "hivesync_job_latency_average_seconds"
        f'{{queue="{queue}",window="{window}"}}'
        for queue in ("ai", "preview")
        for window in ("1m", "15m", "1h")
    },
    **{
        f"/preview_requests/{window}": f'hivesync_preview_requests_in_window{{window="{window}"}}'
        for window in ("1m", "1h", "24h")
    },
    "/processing/jobs": 'hivesync_queue_processing_seconds_count{queue="ai"}',
    "/processing/seconds": 'hivesync_queue_processing_seconds_sum{queue="ai"}',
}
"""The sample of each value."""


def test_every_value_has_a_status_sources_and_a_time(world: World) -> None:
    check_values(world, "/queues")


def test_values_are_those_of_the_metrics(world: World) -> None:
    depths = {"/ai_queue_depth", "/preview_queue_depth", *(f"/queues/{index}/depth" for index in range(3))}
    check_metrics(world, "/queues", EQUAL, depths)


def test_queues_are_listed_by_name_and_added_up(world: World) -> None:
    document = world.get("/queues").json
    queues = [(q["queue"], q["name"], q["depth"]["value"]) for q in document["queues"]]
    assert queues == [("ai", "default", 3), ("ai", "priority", 1), ("preview", "default", 2)]
    assert (document["ai_queue_depth"]["value"], document["preview_queue_depth"]["value"]) == (4, 2)


def test_the_depth_of_an_empty_queue_is_0(valkey: redis.Redis, world: World) -> None:
    valkey.flushall()
    world.refresh()
    assert world.get("/queues").json["ai_queue_depth"]["value"] == 0


def test_without_succeeded_jobs_the_latency_is_null_and_ok(connection: psycopg.Connection, world: World) -> None:
    connection.execute("TRUNCATE ai_usage_events")
    with world.restarted() as restarted:
        latency = restarted.get("/queues").json["latency_seconds"]["ai"]["1h"]
    assert (latency["value"], latency["status"]) == (None, "ok")
