"""The real exporter beside a HiveSync with other names of queues."""

from __future__ import annotations

from pathlib import Path

import redis

from servers.valkey import ValkeyServer
from tests.rows import NO_DATABASE
from tests.running import RunningExporter, some_of

DEPTH = "hivesync_queue_depth"


def test_with_default_settings_a_queue_of_another_name_has_no_depth_and_one_event(
    tmp_path: Path, valkey_server: ValkeyServer, valkey: redis.Redis
) -> None:
    valkey.rpush("ai_tasks", *range(10))
    unset = {"ai_queue_keys": "", "preview_queue_keys": ""}
    with RunningExporter(tmp_path, database_url=NO_DATABASE, redis_url=valkey_server.url, **unset) as exporter:  # type: ignore[arg-type]
        samples = exporter.refreshed(3)
        assert samples['hivesync_collector_up{collector="queues"}'] == 1
        assert some_of(samples, {DEPTH}) == {}
        said = [event for event in exporter.events() if event["event"] == "queue.no_key_matches"]
        assert [(event["setting"], event["patterns"]) for event in said] == [
            ("HIVESYNC_AI_QUEUE_KEYS", "ai_queue:*"),
            ("HIVESYNC_PREVIEW_QUEUE_KEYS", "preview_queue:*"),
        ]


def test_a_queue_that_is_written_is_there_whether_it_has_a_key_or_not(
    tmp_path: Path, valkey_server: ValkeyServer, valkey: redis.Redis
) -> None:
    valkey.rpush("ai_tasks", *range(10))
    with RunningExporter(
        tmp_path, database_url=NO_DATABASE, redis_url=valkey_server.url, ai_queue_keys="ai_tasks,ai_later"
    ) as exporter:
        depths = {name: depth for name, depth in some_of(exporter.samples(), {DEPTH}).items() if 'queue="ai"' in name}
        assert depths == {f'{DEPTH}{{name="ai_tasks",queue="ai"}}': 10, f'{DEPTH}{{name="ai_later",queue="ai"}}': 0}
