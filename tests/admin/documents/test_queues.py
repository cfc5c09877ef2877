"""Queues and jobs."""

from __future__ import annotations

from pathlib import Path

import psycopg
import redis

from servers.valkey import ValkeyServer
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
    **{
        f"/jobs/{queue}/{state}": f'hivesync_jobs{{queue="{queue}",state="{state}"}}'
        for queue, state in (("ai", "waiting"), ("ai", "running"), ("preview", "running"))
    },
    "/unacked/messages": "hivesync_unacked_messages",
    "/dead_letters/0/messages": 'hivesync_dead_letters{name="dlq_tasks"}',
    "/processing/jobs": 'hivesync_queue_processing_seconds_count{queue="ai"}',
    "/processing/seconds": 'hivesync_queue_processing_seconds_sum{queue="ai"}',
}
"""The sample of each value."""


def test_every_value_has_a_status_sources_and_a_time(world: World) -> None:
    check_values(world, "/queues")


def test_values_are_those_of_the_metrics(world: World) -> None:
    depths = {"/ai_queue_depth", "/preview_queue_depth", *(f"/queues/{index}/depth" for index in range(3))}
    ages = {*(f"/jobs/{queue}/oldest_waiting_seconds" for queue in ("ai", "preview")), "/unacked/oldest_seconds"}
    check_metrics(world, "/queues", EQUAL, depths | ages | {"/jobs/preview/waiting"})


def test_jobs_that_wait_are_the_larger_of_depth_and_rows(world: World) -> None:
    """Of AI there are 4 entries and 9 rows, of previews 2 entries and 1 row."""
    jobs = world.get("/queues").json["jobs"]
    assert {queue: jobs[queue]["waiting"]["value"] for queue in jobs} == {"ai": 9, "preview": 2}
    assert set(jobs["ai"]["waiting"]["sources"]) == {"postgres", "redis"}


def test_ages_are_those_of_the_oldest(world: World) -> None:
    document = world.get("/queues").json
    assert document["jobs"]["ai"]["oldest_waiting_seconds"]["value"] == 40 * 86_400
    assert document["unacked"]["oldest_seconds"]["value"] == 92


def test_ages_are_those_of_the_sources_clocks(
    seeded: None, database: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    with World(database, valkey_server.url, tmp_path, ahead=-3600) as world:
        world.refresh()
        document = world.get("/queues").json
        assert document["jobs"]["ai"]["oldest_waiting_seconds"]["value"] == 40 * 86_400
        assert document["unacked"]["oldest_seconds"]["value"] == 92


def test_while_none_waits_there_is_no_oldest(connection: psycopg.Connection, world: World) -> None:
    connection.execute("DELETE FROM ai_usage_events WHERE status = 'queued'")
    world.refresh()
    oldest = world.get("/queues").json["jobs"]["ai"]["oldest_waiting_seconds"]
    assert (oldest["value"], oldest["status"]) == (None, "ok")


def test_without_a_queue_the_rows_are_the_jobs_that_wait(
    seeded: None, database: str, valkey: redis.Redis, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    valkey.flushall()
    with World(database, valkey_server.url, tmp_path) as world:
        world.refresh()
        document = world.get("/queues").json
        waiting = document["jobs"]["ai"]["waiting"]
        assert (waiting["value"], waiting["status"], document["ai_queue_depth"]["value"]) == (9, "ok", None)


def test_jobs_that_wait_are_degraded_with_either_source(connection: psycopg.Connection, world: World) -> None:
    connection.execute("ALTER TABLE preview_jobs RENAME TO gone")
    world.refresh()
    waiting = world.get("/queues").json["jobs"]["ai"]["waiting"]
    assert (waiting["value"], waiting["status"]) == (9, "degraded")


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
