"""Queue depths and processed AI jobs (docs/definitions.md#queue-depth, docs/definitions.md#redis)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import redis

from exporter.collectors.queues import Queues
from exporter.errors import SourceUnavailable
from exporter.spec import Summary
from tests.rows import NO_DATABASE, NOWHERE, by_name, collect, keep, only

PATTERNS = {
    "ai": ("ai_queue:default", "ai_queue:*"),
    "preview": ("preview_queue:default", "preview_queue:*"),
}
EMPTY = {"ai,default": 0, "preview,default": 0}
STATS = "ai_queue:stats"


def queues(**patterns: Sequence[str]) -> Queues:
    return Queues(patterns or PATTERNS)


def wait_in(valkey: redis.Redis, key: str | bytes, jobs: int) -> None:
    valkey.rpush(key, *range(jobs))


def depths(values: Mapping[str, Any]) -> dict[str, int]:
    return only(values, "hivesync_queue_depth")


def left_out(values: Mapping[str, Any]) -> dict[str, int]:
    """Skipped values by reason, without zeros."""
    counts = only(values, "hivesync_skipped_values")
    assert set(counts) == {"queues,wrong_type", "queues,malformed", "queues,beyond_limit"}
    return {reason.removeprefix("queues,"): number for reason, number in counts.items() if number}


def processed(collector: Queues) -> Any:
    """The last summary of the workers' own counters; None before the first."""
    return by_name(collector.counters()).get("hivesync_queue_processing_seconds{ai}")


def test_a_queue_that_is_declared_by_name_is_zero_while_it_is_empty(url: str) -> None:
    values = collect(queues(), NO_DATABASE, url)
    assert depths(values) == EMPTY
    assert left_out(values) == {}


def test_a_depth_is_the_length_of_the_list(url: str, valkey: redis.Redis) -> None:
    wait_in(valkey, "ai_queue:default", 3)
    wait_in(valkey, "ai_queue:priority", 1)
    wait_in(valkey, "preview_queue:default", 7)
    assert depths(collect(queues(), NO_DATABASE, url)) == {"ai,default": 3, "ai,priority": 1, "preview,default": 7}


def test_a_queue_that_was_seen_is_zero_once_it_is_empty(url: str, valkey: redis.Redis) -> None:
    """An empty Redis list has no key."""
    collector = queues()
    wait_in(valkey, "ai_queue:priority", 2)
    assert depths(collect(collector, NO_DATABASE, url)) == EMPTY | {"ai,priority": 2}
    valkey.delete("ai_queue:priority")
    assert depths(collect(collector, NO_DATABASE, url)) == EMPTY | {"ai,priority": 0}
    wait_in(valkey, "ai_queue:priority", 5)
    assert depths(collect(collector, NO_DATABASE, url)) == EMPTY | {"ai,priority": 5}


def test_a_queue_that_was_seen_in_vain_is_not_seen(url: str) -> None:
    assert depths(collect(queues(ai=["ai_queue:*"]), NO_DATABASE, url)) == {}


def test_the_statistics_are_no_queue(url: str, valkey: redis.Redis) -> None:
    keep(valkey, STATS, processed=2, processing_ms=3)
    values = collect(queues(ai=["ai_queue:*", STATS]), NO_DATABASE, url)
    assert depths(values) == {}
    assert left_out(values) == {}


def test_a_key_of_another_type_is_left_out_and_counted(url: str, valkey: redis.Redis) -> None:
    valkey.set("ai_queue:default", "x")
    keep(valkey, "ai_queue:hash", jobs=3)
    valkey.zadd("preview_queue:sorted", {"job": 1})
    wait_in(valkey, "ai_queue:good", 1)
    values = collect(queues(), NO_DATABASE, url)
    assert depths(values) == {"ai,good": 1, "preview,default": 0}
    assert left_out(values) == {"wrong_type": 3}


def test_a_queue_is_named_by_what_follows_the_first_colon_or_by_its_whole_key(url: str, valkey: redis.Redis) -> None:
    for jobs, key in enumerate(["ai_tasks", "jobs:ai:gpu", "ai_queue:default"], start=1):
        wait_in(valkey, key, jobs)
    values = collect(queues(ai=["ai_tasks", "jobs:*", "ai_queue:default"]), NO_DATABASE, url)
    assert depths(values) == {"ai,ai_tasks": 1, "ai,ai:gpu": 2, "ai,default": 3}


def test_celery_queues_are_zero_while_they_do_not_exist(url: str) -> None:
    values = collect(queues(ai=["ai_tasks"], preview=["preview_tasks"]), NO_DATABASE, url)
    assert depths(values) == {"ai,ai_tasks": 0, "preview,preview_tasks": 0}


def test_a_key_that_several_patterns_name_counts_once(url: str, valkey: redis.Redis) -> None:
    wait_in(valkey, "ai_queue:default", 2)
    values = collect(queues(ai=["ai_queue:default", "ai_queue:*", "ai_*", "*default"]), NO_DATABASE, url)
    assert depths(values) == {"ai,default": 2}


def test_queues_whose_names_come_to_the_same_are_added_up(url: str, valkey: redis.Redis) -> None:
    wait_in(valkey, "east:default", 2)
    wait_in(valkey, "west:default", 3)
    wait_in(valkey, "west:de fault", 5)
    assert depths(collect(queues(ai=["east:*", "west:*"]), NO_DATABASE, url)) == {"ai,default": 10}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (b'ai_queue:a b\n{c}"d\\', "abcd"),
        (b"ai_queue:Az09._:-", "Az09._:-"),
        (b"ai_queue:\xff\xfe", "unknown"),
        ("ai_queue:größe".encode(), "gre"),
        (b"ai_queue:", "unknown"),
        (b"ai_queue:" + b"x" * 300, "x" * 100),
    ],
    ids=["characters", "all that is allowed", "no UTF-8", "letters", "nothing", "length"],
)
def test_a_name_is_cut_to_what_a_label_may_hold(key: bytes, name: str, url: str, valkey: redis.Redis) -> None:
    wait_in(valkey, key, 2)
    assert depths(collect(queues(ai=["ai_queue:*"]), NO_DATABASE, url)) == {f"ai,{name}": 2}


def test_what_is_over_200_names_is_other_with_the_sum(url: str, valkey: redis.Redis) -> None:
    for number in range(205):
        wait_in(valkey, f"ai_queue:{number:03}", number + 1)
    wait_in(valkey, "preview_queue:default", 1)
    counts = depths(collect(queues(), NO_DATABASE, url))
    assert len({name.partition(",")[2] for name in counts}) == 200 + 1  # over both queues, plus `other`
    assert counts["ai,000"] == 1
    assert counts["ai,198"] == 199
    assert counts["ai,other"] == 200 + 201 + 202 + 203 + 204 + 205
    assert counts["preview,default"] == 1  # declared queues keep their names


def test_names_that_come_and_go_stay_bounded(url: str, valkey: redis.Redis) -> None:
    """For instance queues named by job: the memory of seen names is bounded."""
    collector = queues()
    for start in range(0, 1000, 100):
        for number in range(start, start + 100):
            wait_in(valkey, f"ai_queue:job-{number:04}", 1)
        counts = depths(collect(collector, NO_DATABASE, url))
        assert sum(counts.values()) == 100
        assert len(counts) <= 202
        valkey.flushall()
    valkey.config_resetstat()
    collect(collector, NO_DATABASE, url)
    assert valkey.info("commandstats")["cmdstat_llen"]["calls"] <= 202


def test_a_queue_that_had_no_jobs_for_a_day_is_forgotten(url: str, valkey: redis.Redis) -> None:
    now = 0.0
    collector = Queues(PATTERNS, clock=lambda: now)
    wait_in(valkey, "ai_queue:priority", 2)
    collect(collector, NO_DATABASE, url)
    valkey.delete("ai_queue:priority")
    for now in (60.0, 86_399.0):  # noqa: B007 - the clock
        assert depths(collect(collector, NO_DATABASE, url)) == EMPTY | {"ai,priority": 0}
    now = 86_400.0
    assert depths(collect(collector, NO_DATABASE, url)) == EMPTY | {"ai,priority": 0}
    assert depths(collect(collector, NO_DATABASE, url)) == EMPTY


def test_of_too_many_queues_those_with_jobs_keep_their_names(url: str, valkey: redis.Redis) -> None:
    collector = queues()
    for number in range(150):
        wait_in(valkey, f"ai_queue:a-{number:03}", 1)
    collect(collector, NO_DATABASE, url)
    valkey.flushall()
    for number in range(100):
        wait_in(valkey, f"ai_queue:z-{number:03}", 3)
    counts = depths(collect(collector, NO_DATABASE, url))
    assert {counts[f"ai,z-{number:03}"] for number in range(100)} == {3}
    assert counts["ai,other"] == 0
    assert len({labels.partition(",")[2] for labels in counts}) == 201


def test_what_the_queue_has_processed_is_what_its_workers_counted(url: str, valkey: redis.Redis) -> None:
    collector = queues()
    keep(valkey, STATS, processed=41, processing_ms="81243.5")
    values = collect(collector, NO_DATABASE, url)
    assert processed(collector) == Summary(total=81.2435, count=41)
    assert left_out(values) == {}


def test_without_statistics_there_is_no_summary(url: str) -> None:
    collector = queues()
    collect(collector, NO_DATABASE, url)
    assert processed(collector) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"processed": 7}, Summary(total=0.0, count=7)),
        ({"processed": 7, "processing_ms": ""}, Summary(total=0.0, count=7)),
        ({"processed": " 7 ", "processing_ms": "1e3", "queue": "default"}, Summary(total=1.0, count=7)),
    ],
)
def test_statistics_with_something_missing_or_more_are_read(
    fields: Mapping[str, object], expected: Summary, url: str, valkey: redis.Redis
) -> None:
    collector = queues()
    keep(valkey, STATS, **fields)
    assert left_out(collect(collector, NO_DATABASE, url)) == {}
    assert processed(collector) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"processed": "many", "processing_ms": 1},
        {"processed": 1, "processing_ms": "long"},
        {"processed": "nan", "processing_ms": 1},
        {"processed": "inf", "processing_ms": 1},
        {"processed": 1, "processing_ms": "1e999"},
        {"processed": -1, "processing_ms": 1},
        {"processed": 1, "processing_ms": -1},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_statistics_that_make_no_sense_are_counted_and_the_last_good_ones_stay(
    fields: Mapping[str, object], url: str, valkey: redis.Redis
) -> None:
    collector = queues()
    keep(valkey, STATS, **fields)
    assert left_out(collect(collector, NO_DATABASE, url)) == {"malformed": 1}
    assert processed(collector) is None
    keep(valkey, STATS, processed=3, processing_ms=2000)
    assert left_out(collect(collector, NO_DATABASE, url)) == {}
    keep(valkey, STATS, **fields)
    assert left_out(collect(collector, NO_DATABASE, url)) == {"malformed": 1}
    assert processed(collector) == Summary(total=2.0, count=3)


def test_statistics_of_another_type_are_counted(url: str, valkey: redis.Redis) -> None:
    collector = queues()
    valkey.rpush(STATS, "job")
    values = collect(collector, NO_DATABASE, url)
    assert left_out(values) == {"malformed": 1}
    assert depths(values) == EMPTY
    assert processed(collector) is None


def test_counters_that_began_anew_are_shown_as_they_are(url: str, valkey: redis.Redis) -> None:
    """Prometheus treats a counter that fell as reset."""
    collector = queues()
    for jobs in (10, 2):
        keep(valkey, STATS, processed=jobs, processing_ms=jobs * 1000)
        collect(collector, NO_DATABASE, url)
    assert processed(collector) == Summary(total=2.0, count=2)


def test_without_redis_there_are_no_depths_and_the_counters_stay(url: str, valkey: redis.Redis) -> None:
    collector = queues()
    keep(valkey, STATS, processed=3, processing_ms=2000)
    collect(collector, NO_DATABASE, url)
    with pytest.raises(SourceUnavailable, match="redis: refused"):
        collect(collector, NO_DATABASE, NOWHERE)
    assert processed(collector) == Summary(total=2.0, count=3)
    valkey.delete(STATS)
    collect(collector, NO_DATABASE, url)
    assert processed(collector) == Summary(total=2.0, count=3)
