"""More lists than the exporter distinguishes (docs/definitions.md#limits-of-workers-and-lists)."""

from __future__ import annotations

import pytest
import redis
from structlog.testing import capture_logs

from exporter import queue_keys, remembered
from exporter.collectors.dead_letters import DeadLetters
from exporter.collectors.queues import Queues
from exporter.sources.redis import PIPELINE_KEYS
from servers.valkey import ValkeyServer
from tests.exporter.collectors import beside
from tests.rows import NO_DATABASE, collect, only


@pytest.fixture
def url(valkey_server: ValkeyServer, valkey: redis.Redis) -> str:
    """The address of an empty Valkey."""
    return valkey_server.url


def test_100_000_queues_are_read_in_steps_and_every_job_is_counted(
    url: str, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside.fill(valkey, 100_000, "'RPUSH', string.format('ai_queue:%07d', n), 'job', 'job'")
    valkey.rpush("ai_queue:default", *range(7))
    turns, add = beside.Turns(), queue_keys.ListLengths.add

    def noted(reading: queue_keys.ListLengths, key: bytes, length: int) -> None:
        turns.note()
        add(reading, key, length)

    monkeypatch.setattr(queue_keys.ListLengths, "add", noted)
    collector = Queues({"ai": ["ai_queue:default", "ai_queue:*"], "preview": ["preview_queue:default"]})
    with capture_logs() as logs:
        refreshed = beside.refresh(collector, url, turns)

    assert turns.work.total() >= 100_000
    assert max(turns.work.values()) <= PIPELINE_KEYS
    assert refreshed.scrapes == beside.SCRAPES
    depths = only(refreshed.values, "hivesync_queue_depth")
    assert len(depths) == 202
    assert (depths["ai,default"], depths["preview,default"]) == (7, 0)
    assert sum(depths.values()) == 200_007
    assert refreshed.values["hivesync_skipped_values{queues,beyond_limit}"] == 90_001
    assert [log["event"] for log in logs] == ["collector.beyond_limit"]


@pytest.mark.parametrize("patterns", [["q:*"], ["q:*", "q:1*", "*"], ["q:001", "q:*"]])
def test_a_list_that_several_patterns_match_counts_once_beyond_the_limit(
    patterns: list[str], url: str, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "LIMIT", 50)
    for number in range(200):
        valkey.rpush(f"q:{number:03}", *range(number % 5 + 1))
    depths = only(values := collect(Queues({"ai": patterns}), NO_DATABASE, url), "hivesync_queue_depth")
    assert sum(depths.values()) == 600
    assert values["hivesync_skipped_values{queues,beyond_limit}"] == 150


def test_declared_lists_and_those_with_jobs_keep_their_names(
    url: str, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "LIMIT", 4)
    collector = Queues({"ai": ["q:*", "z:declared"]})
    for name in ("q:x", "q:y", "q:z"):
        valkey.rpush(name, "job")
    collect(collector, NO_DATABASE, url)
    valkey.delete("q:y", "q:z")
    for name in ("q:a", "q:b"):
        valkey.rpush(name, "job", "job")
    depths = only(collect(collector, NO_DATABASE, url), "hivesync_queue_depth")
    assert depths == {"ai,declared": 0, "ai,a": 2, "ai,b": 2, "ai,x": 1, "ai,other": 0}


def test_a_key_that_is_too_long_is_one_of_the_others(url: str, valkey: redis.Redis) -> None:
    for name, jobs in {"q:a": 1, "q:" + "x" * 998: 2, "q:" + "x" * 999: 4, "q:" + "y" * 1_000_000: 8}.items():
        valkey.rpush(name, *range(jobs))
    values = collect(Queues({"ai": ["q:*"]}), NO_DATABASE, url)
    assert only(values, "hivesync_queue_depth") == {"ai,a": 1, f"ai,{'x' * 100}": 2, "ai,other": 12}
    assert values["hivesync_skipped_values{queues,beyond_limit}"] == 2


def test_dead_letters_beyond_the_limit_are_counted(
    url: str, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "LIMIT", 10)
    for number in range(300):
        valkey.rpush(f"dlq:{number:03}", "x", "y")
    valkey.set("dlq:string", "x")
    values = collect(DeadLetters(["dlq:*"]), NO_DATABASE, url)
    assert only(values, "hivesync_dead_letters") == {**{f"{n:03}": 2 for n in range(10)}, "other": 580}
    assert only(values, "hivesync_skipped_values") == {"dead_letters,wrong_type": 1, "dead_letters,beyond_limit": 290}
