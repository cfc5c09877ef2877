"""More workers, and longer texts, than the exporter distinguishes (docs/definitions.md#limits-of-workers-and-lists)."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
import redis
from structlog.testing import capture_logs

from exporter import heartbeats, remembered
from exporter.collectors import workers
from exporter.gpu_usage import GpuUsage
from exporter.sources.redis import PIPELINE_KEYS
from tests.exporter.collectors import beside
from tests.exporter.collectors.fleet import HOUR, PRICES, SECOND, Fleet
from tests.exporter.collectors.test_worker_table import PUBLISHED, WorkerTable
from tests.rows import NOON, WITHIN_A_MINUTE, keep, only

WORKER = """'HSET', string.format('worker:heartbeat:%07d', n), 'kind', n % 2 == 1 and 'gpu' or 'cpu',
            'last_heartbeat', ARGV[1], 'state', 'idle', 'instance_type', 't' .. n, 'lifecycle', 'spot'"""


def limit(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(remembered, "LIMIT", number)


def beyond(fleet: Fleet) -> int:
    return fleet.left_out().get("beyond_limit", 0)


def test_200_000_workers_are_read_in_steps_and_10_000_are_remembered(
    fleet: Fleet, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside.fill(valkey, 200_000, WORKER, NOON.timestamp())
    turns, threads = beside.Turns(), set[int]()
    add, merged, after = heartbeats.Heartbeats.add, workers._merged, GpuUsage.after

    def noted(function: Any, note: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            note()
            return function(*arguments, **named)

        return call

    def note_thread() -> None:
        threads.add(threading.get_ident())

    monkeypatch.setattr(heartbeats.Heartbeats, "add", noted(add, turns.note))
    monkeypatch.setattr(workers, "_merged", noted(merged, note_thread))
    monkeypatch.setattr(GpuUsage, "after", noted(after, note_thread))
    with capture_logs() as logs:
        refreshed = beside.refresh(fleet.collector, fleet.url, turns)

    assert turns.work.total() >= 200_000
    assert max(turns.work.values()) <= PIPELINE_KEYS
    assert threads
    assert threading.get_ident() not in threads
    assert refreshed.scrapes == beside.SCRAPES
    assert refreshed.values["hivesync_skipped_values{workers,beyond_limit}"] == 190_000
    assert len(only(refreshed.values, "hivesync_worker_healthy")) == 202  # `other` of both kinds
    assert len(fleet.collector._usage.last_beats) == 5_000
    assert (fleet.directory / "gpu").stat().st_size < 300_000
    assert [(log["event"], log["limit"], log["beyond"]) for log in logs] == [
        ("collector.beyond_limit", 10_000, 190_000)
    ]


def test_workers_beyond_the_limit_are_other_as_sick_as_their_sickest(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 210)
    for number in range(220):
        fleet.gpu(f"{number:03}", NOON - (HOUR if number == 219 else SECOND))
        fleet.beat(f"{number:03}-cpu", NOON - 2 * SECOND)
    values = fleet.read()
    healthy = only(values, "hivesync_worker_healthy")
    assert len(healthy) == 202
    assert (healthy["other,cpu"], healthy["other,gpu"]) == (1, 0)
    assert only(values, "hivesync_worker_last_heartbeat_timestamp_seconds")["other,cpu"] == NOON.timestamp() - 2
    assert fleet.states()["other"] == "offline"
    assert beyond(fleet) == 230


def test_workers_are_remembered_by_name_whatever_the_order_of_arrival(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 5)
    for number in (9, 3, 7, 1, 5, 0, 8, 2, 6, 4):
        fleet.beat(f"w-{number}")
    assert set(fleet.healthy()) == {*(f"w-{number},cpu" for number in range(5)), "other,cpu"}


def test_a_key_that_two_patterns_match_is_one_worker_beyond_the_limit(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 3)
    fleet.patterns = ["worker:heartbeat:*", "worker:heartbeat:w*"]
    fleet.restart()
    for number in range(10):
        fleet.beat(f"w-{number}")
    fleet.valkey.rpush("worker:heartbeat:w-list", "x")
    assert fleet.left_out() == {"beyond_limit": 7, "wrong_type": 1}


def test_the_excess_is_logged_once_until_it_is_over(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 2)
    with capture_logs() as logs:
        for names in ("abc", "abcd", "ab", "abc"):
            fleet.valkey.flushall()
            for name in names:
                fleet.beat(name)
            fleet.read()
    assert [log["beyond"] for log in logs] == [1, 1]


def test_gpu_cost_is_absent_while_a_gpu_worker_is_beyond_the_limit(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 2)
    fleet.prices = PRICES
    fleet.restart()
    for worker in "abc":
        fleet.gpu(worker)
    assert not [name for name in fleet.read() if "dollars" in name]
    fleet.valkey.delete("worker:heartbeat:c")
    fleet.beat("d")
    assert beyond(fleet) == 1
    assert only(fleet.read(), "hivesync_ai_cost_month_to_date_dollars") == {"gpu": 0.0}


def test_workers_that_come_and_go_do_not_fill_the_state(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 10)
    for start in range(5):
        fleet.valkey.flushall()
        for number in range(8):
            fleet.gpu(f"{start}-{number}", NOON + start * SECOND)
        fleet.read(NOON + start * SECOND)
    remembered_workers = fleet.collector._usage.last_beats
    assert len(remembered_workers) == 10
    assert {worker for worker in remembered_workers if worker.startswith("4-")} == {f"4-{n}" for n in range(8)}


def test_long_ids_are_cut_and_stay_distinct(fleet: Fleet) -> None:
    for end in ("a", "b"):
        fleet.gpu("x" * 100_000 + end)
    fleet.read()
    assert sorted(map(len, fleet.collector._usage.last_beats)) == [250, 250]
    assert fleet.healthy() == {f"{'x' * 100},gpu": 1}


@pytest.mark.parametrize("size", [1_001, 1_000_000, 10_000_000])
def test_a_time_that_is_too_long_is_none(size: int, fleet: Fleet) -> None:
    fleet.beat("bad", f"{NOON.timestamp():.0f}{' ' * size}")
    fleet.beat("good")
    assert fleet.healthy() == {"good,cpu": 1}
    assert fleet.left_out() == {"wrong_type" if size > 4 * 1024 * 1024 else "malformed": 1}


def test_other_words_of_any_length_cost_no_heartbeat(fleet: Fleet) -> None:
    fleet.gpu("a", state="idle" * 500_000, instance_type="g{" * 500_000)
    fleet.gpu("b", lifecycle="spot" + " " * 1_000_000)
    assert fleet.healthy() == {"a,gpu": 1, "b,gpu": 1}
    assert only(fleet.read(), "hivesync_gpu_worker_info") == {f"a,{'g' * 100},spot": 1, "b,g5.xlarge,spot": 1}


def test_of_a_hash_with_a_million_fields_five_are_read(fleet: Fleet, valkey: redis.Redis) -> None:
    some = "local words = {} for i = 1, 4000 do words[i] = ARGV[1] .. i end"
    for number in range(500):
        valkey.eval(f"{some} redis.call('HSET', 'worker:heartbeat:a', unpack(words))", 0, f"{number}-")
    keep(valkey, "worker:heartbeat:a", kind="cpu", last_heartbeat=NOON.timestamp())
    valkey.config_resetstat()
    assert fleet.healthy() == {"a,cpu": 1}
    assert valkey.info("stats")["total_net_output_bytes"] < 10_000


def test_a_table_of_many_workers_has_the_values_of_its_definitions(
    connection: psycopg.Connection, database: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 220)
    connection.execute(PUBLISHED.encode())
    connection.execute(
        "INSERT INTO workers (worker_id, kind, last_heartbeat_at)"
        " SELECT CASE n %% 7 WHEN 0 THEN repeat('x', 2000) ELSE '' END || lpad(n::text, 4, '0'),"
        "        CASE n %% 2 WHEN 0 THEN 'gpu' ELSE 'cpu' END, %s - make_interval(secs => n %% 300)"
        " FROM generate_series(1, 1200) AS n",
        [WITHIN_A_MINUTE],
    )
    values = WorkerTable(database, tmp_path).read()
    assert values["hivesync_skipped_values{workers,beyond_limit}"] == 980
