"""Celery's queues and unacknowledged messages, as real workers and kombu have them
(docs/definitions.md#celery-queue, docs/definitions.md#unacknowledged-message)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from exporter.collectors.queues import Queues
from exporter.collectors.unacked import OLDEST, UNACKED, Unacked
from exporter.queue_keys import CeleryKeys
from exporter.settings import Settings
from servers.celery import CeleryWorker
from tests.celery_app import application, environment, release
from tests.rows import NO_DATABASE, collect, only
from tests.waiting import patience, until

OTHERS = {
    "global_keyprefix": "hive:",
    "sep": ":",
    "priority_steps": [0, 5],
    "unacked_key": "held",
    "unacked_index_key": "held_since",
}
"""Transport options of another application than Celery's defaults."""
OTHER_KEYS = CeleryKeys("hive:", ":", (0, 5), "held", "held_since")
DEPLOYMENTS = pytest.mark.parametrize(
    ("options", "keys"), [({}, CeleryKeys()), (OTHERS, OTHER_KEYS)], ids=["defaults", "other names"]
)

PREFETCHED = 4


def depths(url: str, keys: CeleryKeys | None = None, *patterns: str) -> Mapping[str, int]:
    written = patterns or ("celery:ai_tasks",)
    return only(collect(Queues({"ai": written}, keys), NO_DATABASE, url), "hivesync_queue_depth")


def unacked(url: str, keys: CeleryKeys | None = None) -> tuple[int, float | None]:
    """The number of unacknowledged messages, and the time of the oldest."""
    values = collect(Unacked(keys or CeleryKeys()), NO_DATABASE, url)
    return values[UNACKED.name], values.get(OLDEST.name)


def size(app: Celery, queue: str) -> int:
    """The length of a queue according to kombu."""
    with app.connection_for_read() as connection:
        return int(connection.default_channel._size(queue))


def said_by(app: Celery, what: str) -> int:
    """The number of tasks that the worker names as `active`, `reserved` or `scheduled`."""
    answers = getattr(app.control.inspect(timeout=patience(10), limit=1), what)() or {}
    return sum(map(len, answers.values()))


@contextmanager
def worker(url: str, folder: Path, **options: Any) -> Iterator[CeleryWorker]:
    with CeleryWorker(
        folder, url, app="tests.celery_app", queues=["ai_tasks"], environment=environment(**options)
    ) as running:
        yield running


@DEPLOYMENTS
def test_a_celery_queue_is_the_sum_of_its_priorities(url: str, options: dict[str, Any], keys: CeleryKeys) -> None:
    app = application(url, **options)
    assert depths(url, keys) == {"ai,ai_tasks": 0}
    for priority in range(10):
        app.send_task("hold", priority=priority)
    app.send_task("hold", queue="ai_tasks_gpu")
    assert depths(url, keys) == {"ai,ai_tasks": size(app, "ai_tasks")} == {"ai,ai_tasks": 10}
    assert depths(url, keys, "celery:ai_tasks_gpu", "celery:ai_tasks") == {"ai,ai_tasks": 10, "ai,ai_tasks_gpu": 1}


@DEPLOYMENTS
def test_messages_with_a_worker_are_the_ones_that_celery_names(
    url: str, valkey: redis.Redis, tmp_path: Path, options: dict[str, Any], keys: CeleryKeys
) -> None:
    app = application(url, **options)
    assert unacked(url, keys) == (0, None)
    with worker(url, tmp_path, **options):
        for priority in (0, 0, 9, 0, 3, 0, 0, 6, 0, 0):
            app.send_task("hold", priority=priority)
        until(lambda: depths(url, keys) == {"ai,ai_tasks": 5}, "the worker has begun a job, and fetched what it may")
        assert said_by(app, "active") == 1
        assert said_by(app, "reserved") == PREFETCHED
        assert size(app, "ai_tasks") == 5
        index: Any = valkey.zrange(f"{keys.prefix}{keys.unacked_index}", 0, -1, withscores=True)
        assert unacked(url, keys) == (PREFETCHED, min(score for _, score in index))
        now: Any = valkey.time()
        assert abs(min(score for _, score in index) - now[0]) < 600
        release(valkey, 10)
        until(lambda: unacked(url, keys) == (0, None), "the worker has ended all jobs")
    assert depths(url, keys) == {"ai,ai_tasks": 0}


def test_a_retry_with_a_countdown_is_with_the_worker_and_not_in_the_queue(url: str, tmp_path: Path) -> None:
    app = application(url)
    with worker(url, tmp_path):
        app.send_task("fail_once", args=[3600])
        until(lambda: said_by(app, "scheduled"), "the worker has the retry")
        messages, oldest = unacked(url)
        assert (messages, depths(url)) == (1, {"ai,ai_tasks": 0})
        assert oldest is not None
    assert (unacked(url), depths(url)) == ((0, None), {"ai,ai_tasks": 1}), "a worker that ends gives it back"


def test_bindings_are_no_queue_under_any_pattern(url: str, valkey: redis.Redis) -> None:
    for options in ({}, OTHERS):
        app = application(url, **options)
        with app.connection_for_write() as connection:
            app.amqp.queues["ai_tasks"](connection.default_channel).declare()
        app.send_task("hold")
    assert valkey.exists("_kombu.binding.ai_tasks", "hive:_kombu.binding.ai_tasks") == 2
    values = collect(Queues({"ai": ["*"]}, OTHER_KEYS), NO_DATABASE, url)
    assert only(values, "hivesync_queue_depth") == {"ai,ai_tasks": 2}
    assert only(values, "hivesync_skipped_values")["queues,wrong_type"] == 0


def test_a_celery_queue_under_a_pattern_too_counts_once(url: str) -> None:
    app = application(url)
    for priority in (0, 3):
        app.send_task("hold", priority=priority)
    assert depths(url, None, "celery:ai_tasks", "ai_*") == {"ai,ai_tasks": 2}


def test_the_messages_themselves_are_never_read(url: str, valkey: redis.Redis) -> None:
    valkey.hset("unacked", "tag", json.dumps("a prompt"))
    valkey.zadd("unacked_index", {"tag": 1_700_000_000})
    monitoring: Any = valkey.monitor()  # type: ignore[no-untyped-call]
    with monitoring as monitor:
        assert unacked(url) == (1, 1_700_000_000)
        commands: list[str] = []
        while not commands or commands[-1].split()[0] != "ZRANGE":
            commands.append(monitor.next_command()["command"])
    assert [command for command in commands if "unacked" in command] == [
        "HLEN unacked",
        "ZRANGE unacked_index 0 0 WITHSCORES",
    ]


def test_an_index_without_messages_has_no_oldest(url: str, valkey: redis.Redis) -> None:
    valkey.zadd("unacked_index", {"tag": 1_700_000_000})
    assert unacked(url) == (0, None)


@pytest.mark.parametrize("score", ["inf", "-inf", 0, -5])
def test_a_time_that_is_none_is_left_out_and_counted(score: Any, url: str, valkey: redis.Redis) -> None:
    valkey.hset("unacked", "tag", "x")
    valkey.zadd("unacked_index", {"tag": score})
    values = collect(Unacked(CeleryKeys()), NO_DATABASE, url)
    assert values[UNACKED.name] == 1
    assert OLDEST.name not in values
    assert only(values, "hivesync_skipped_values") == {"unacked,malformed": 1, "unacked,wrong_type": 0}


def test_keys_of_another_type_are_left_out_and_counted(url: str, valkey: redis.Redis) -> None:
    valkey.set("unacked", "x")
    valkey.set("unacked_index", "x")
    values = collect(Unacked(CeleryKeys()), NO_DATABASE, url)
    assert set(values) == {f"hivesync_skipped_values{{unacked,{reason}}}" for reason in ("malformed", "wrong_type")}
    assert only(values, "hivesync_skipped_values")["unacked,wrong_type"] == 2


@pytest.mark.parametrize("setting", ["ai_queue_keys", "preview_queue_keys", "dead_letter_keys"])
def test_only_a_celery_queue_in_a_setting_makes_messages_be_counted(
    setting: str, url: str, valkey: redis.Redis
) -> None:
    valkey.hset("unacked", "tag", "x")
    written: dict[str, Any] = {setting: ("ai_tasks", "celery:ai_tasks")}
    settings = Settings.model_construct(**written)
    assert settings.has_celery
    assert not Settings.model_construct().has_celery
    assert collect(Unacked(None), NO_DATABASE, url) == {}
