"""A queue without a key in Redis is absent instead of 0, unless the operator's settings name the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from exporter.collectors.queues import Queues
from exporter.errors import SourceUnavailable
from exporter.settings import Settings
from exporter.sources.redis import is_wildcard
from tests.rows import NO_DATABASE, NOWHERE, collect, only

DEFAULTS = {queue: Settings.model_fields[f"{queue}_queue_keys"].default for queue in ("ai", "preview")}
WRITTEN = {"ai": ["ai_queue:default", "ai_queue:*"], "preview": ["preview_queue:default"]}


class QueueWatch:
    """A collector, its last values, and its log since the last query of it."""

    def __init__(self, url: str, patterns: Mapping[str, Sequence[str]] = DEFAULTS) -> None:
        self.url = url
        self.now = 0.0
        self.collector = Queues(patterns, clock=lambda: self.now)
        self.events: list[Any] = []

    def depths(self) -> dict[str, int]:
        with capture_logs() as events:
            values = collect(self.collector, NO_DATABASE, self.url)
        self.events += [event for event in events if event["event"] == "queue.no_key_matches"]
        return only(values, "hivesync_queue_depth")

    def said(self) -> list[str]:
        """The queues for which the log says that no key matches."""
        queues = [event["queue"] for event in self.events]
        self.events.clear()
        return queues


def test_no_default_declares_a_queue() -> None:
    assert all(map(is_wildcard, (*DEFAULTS["ai"], *DEFAULTS["preview"])))


def test_a_queue_of_another_name_than_the_defaults_is_not_shown_as_empty(url: str, valkey: redis.Redis) -> None:
    valkey.rpush("ai_tasks", *range(10))
    watch = QueueWatch(url)
    assert watch.depths() == {}
    assert watch.said() == ["ai", "preview"]


def test_the_log_says_once_which_setting_is_to_be_written(url: str) -> None:
    watch = QueueWatch(url, {"ai": ["ai_queue:*", "jobs?"]})
    for _ in range(3):
        watch.depths()
    (event,) = watch.events
    assert event == {
        "event": "queue.no_key_matches",
        "log_level": "warning",
        "queue": "ai",
        "setting": "HIVESYNC_AI_QUEUE_KEYS",
        "patterns": "ai_queue:*,jobs?",
        "remedy": "name the queue's keys in the setting: one without a wildcard is 0 while it does not exist",
    }


def test_a_queue_that_was_seen_is_0_while_its_key_is_gone_for_a_day(url: str, valkey: redis.Redis) -> None:
    watch = QueueWatch(url)
    valkey.rpush("ai_queue:default", "job")
    assert watch.depths() == {"ai,default": 1}
    assert watch.said() == ["preview"]
    valkey.delete("ai_queue:default")
    for watch.now in (60.0, 86_399.0, 86_400.0):
        assert watch.depths() == {"ai,default": 0}
    assert watch.said() == []
    assert watch.depths() == {}
    assert watch.said() == ["ai"]


def test_it_is_logged_again_only_after_a_key_has_matched(url: str, valkey: redis.Redis) -> None:
    watch = QueueWatch(url, {"preview": DEFAULTS["preview"]})
    said = []
    for _ in range(2):
        valkey.rpush("preview_queue:default", "job")
        watch.depths()
        valkey.delete("preview_queue:default")
        watch.now += 2 * 86_400
        for _ in range(3):
            watch.depths()
        said.append(watch.said())
    assert said == [["preview"], ["preview"]]


def test_a_key_that_the_operator_has_written_is_0_while_it_does_not_exist(url: str) -> None:
    watch = QueueWatch(url, WRITTEN)
    assert watch.depths() == {"ai,default": 0, "preview,default": 0}
    assert watch.said() == []


def test_a_key_of_another_type_is_a_key_that_matches(url: str, valkey: redis.Redis) -> None:
    valkey.set("ai_queue:default", "x")
    watch = QueueWatch(url, {"ai": DEFAULTS["ai"]})
    assert watch.depths() == {}
    assert watch.said() == []


def test_the_statistics_are_no_key_of_a_queue(url: str, valkey: redis.Redis) -> None:
    valkey.hset("ai_queue:stats", "processed", "3")
    watch = QueueWatch(url, {"ai": DEFAULTS["ai"]})
    assert watch.depths() == {}
    assert watch.said() == ["ai"]


def test_while_redis_cannot_be_asked_nothing_is_said_of_its_keys() -> None:
    watch = QueueWatch(NOWHERE)
    with pytest.raises(SourceUnavailable), capture_logs() as events:
        collect(watch.collector, NO_DATABASE, NOWHERE)
    assert events == []
