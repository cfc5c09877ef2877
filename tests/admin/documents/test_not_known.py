"""Values that nothing is known of yet: null, and never a 0 that looks right."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from exporter.collectors import logs
from servers.valkey import ValkeyServer
from tests.admin.world import World

FAILURES = 12_000


def test_a_queue_that_no_key_tells_of_is_null_and_no_fault(
    seeded: None, database: str, valkey: redis.Redis, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    valkey.flushall()
    valkey.rpush("ai_tasks", *range(10))
    with World(database, valkey_server.url, tmp_path) as world:
        world.refresh()
        content = world.get("/queues").json
        assert content["queues"] == []
        for value in (
            content["ai_queue_depth"],
            content["preview_queue_depth"],
            world.get("/summary").json["ai_queue_depth"],
        ):
            assert (value["value"], value["status"], value["sources"]) == (None, "ok", ["redis"])
        assert world.get("/status").json["degraded"] is False


def test_a_logs_counters_are_as_before_the_first_refresh_until_its_end_is_reached(
    seeded: None, database: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "SAVE_SECONDS", 0.0)  # a refresh reads one slice
        defaults = logs.LogCollector.__init__.__kwdefaults__
        assert defaults is not None
        patch.setitem(defaults, "budget", 0.0)
        with World(database, valkey_server.url, tmp_path) as world:
            line = (
                b'{"event": "ai.error", "ts": "2026-03-17T11:00:00Z", "job_id": "1", "text": "' + b"x" * 1000 + b'"}\n'
            )
            world.settings.ai_events_log.write_bytes(line * FAILURES)
            before = world.get("/ai").json
            world.refresh("ai_events_log")
            for name in ("log_events", "log_errors"):
                assert world.get("/ai").json[name] == before[name]
                assert {(one["value"], one["status"]) for one in before[name].values()} == {(None, "degraded")}
            assert world.get("/status").json["degraded"] is False
            assert world.get("/tables/incidents").json["rows"] == []
            for _ in range(5):
                world.refresh("ai_events_log")
            shown = world.get("/ai").json["log_events"]["ai.error"]
            assert (shown["value"], shown["status"]) == (FAILURES, "ok")
            assert len(world.get("/tables/incidents").json["rows"]) > 0
