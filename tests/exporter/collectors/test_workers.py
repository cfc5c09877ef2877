"""Workers, their heartbeats and states, GPU time and its cost (docs/definitions.md#worker,
docs/definitions.md#ai-cost)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from exporter.collectors.workers import Workers
from exporter.errors import SourceUnavailable
from exporter.prices import Prices
from exporter.state import StateFile
from servers.valkey import ValkeyServer
from tests.rows import INSTANT, NO_DATABASE, NOON, NOWHERE, by_name, collect, keep, only

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)

PRICES = Prices.model_validate({"instances": {"g5.xlarge": {"spot": 0.36, "on-demand": 3.6}}})
SPOT = {"instance_type": "g5.xlarge", "lifecycle": "spot"}


class Fleet:
    """Workers' heartbeats in Redis, and the collector's values of them."""

    def __init__(self, url: str, valkey: redis.Redis, directory: Path) -> None:
        self.url, self.valkey, self.directory = url, valkey, directory
        self.prices: Prices | None = None
        self.patterns = ["worker:heartbeat:*"]
        self.healthy_seconds, self.forgotten_seconds = 120.0, 86_400.0
        self.restart()

    def restart(self) -> None:
        """Start a new exporter on the same state directory."""
        self.collector = Workers(
            self.patterns,
            StateFile(self.directory, "gpu"),
            self.prices,
            healthy_seconds=self.healthy_seconds,
            forgotten_seconds=self.forgotten_seconds,
        )

    def beat(self, worker: str, at: datetime | float | str | None = NOON, **fields: object) -> None:
        time = at.timestamp() if isinstance(at, datetime) else at
        keep(self.valkey, f"worker:heartbeat:{worker}", **{"last_heartbeat": time, "kind": "cpu", **fields})

    def gpu(self, worker: str, at: datetime = NOON, state: str | None = "active", **fields: object) -> None:
        self.beat(worker, at, kind="gpu", **{"state": state, **SPOT, **fields})

    def read(self, now: datetime = NOON) -> Mapping[str, Any]:
        return collect(self.collector, NO_DATABASE, self.url, now=now)

    def healthy(self, now: datetime = NOON) -> dict[str, int]:
        return only(self.read(now), "hivesync_worker_healthy")

    def states(self, now: datetime = NOON) -> dict[str, str | None]:
        """The state of each GPU worker; None where every sample is 0."""
        states: dict[str, str | None] = {}
        for labels, value in only(self.read(now), "hivesync_gpu_worker_state").items():
            worker, state = labels.split(",")
            states[worker] = state if value else states.get(worker)
        return states

    def seconds(self) -> dict[str, float]:
        return only(by_name(self.collector.counters()), "hivesync_gpu_instance_seconds_total")

    def left_out(self) -> dict[str, int]:
        """Skipped values by reason, without zeros."""
        counts = only(self.read(), "hivesync_skipped_values")
        assert set(counts) == {
            "workers,wrong_type",
            "workers,malformed",
            "workers,future_heartbeat",
            "workers,gone",
            "workers,state_unwritable",
        }
        return {reason.removeprefix("workers,"): number for reason, number in counts.items() if number}


@pytest.fixture
def fleet(valkey: redis.Redis, valkey_server: ValkeyServer, tmp_path: Path) -> Fleet:
    return Fleet(valkey_server.url, valkey, tmp_path)


def test_without_workers_there_is_nothing_to_show(fleet: Fleet) -> None:
    assert set(fleet.read()) == {
        f"hivesync_skipped_values{{workers,{reason}}}"
        for reason in ("wrong_type", "gone", "malformed", "future_heartbeat", "state_unwritable")
    }
    assert fleet.seconds() == {}


def test_a_worker_shows_its_health_and_heartbeat_under_its_name_and_kind(fleet: Fleet) -> None:
    fleet.beat("cpu-1", NOON - SECOND)
    values = fleet.read()
    assert only(values, "hivesync_worker_healthy") == {"cpu-1,cpu": 1}
    assert only(values, "hivesync_worker_last_heartbeat_timestamp_seconds") == {"cpu-1,cpu": NOON.timestamp() - 1}
    assert only(values, "hivesync_gpu_worker_state") == {}
    assert only(values, "hivesync_gpu_worker_info") == {}


@pytest.mark.parametrize(
    ("age", "healthy", "state"),
    [
        (0 * SECOND, 1, "active"),
        (120 * SECOND, 1, "active"),
        (120 * SECOND + INSTANT, 0, "offline"),
        (DAY, 0, "offline"),
        (-300 * SECOND, 1, "active"),
    ],
    ids=["now", "120 s ago", "past 120 s", "24 h ago", "5 minutes ahead"],
)
def test_a_worker_is_healthy_while_its_heartbeat_is_at_most_120_seconds_old(
    age: timedelta, healthy: int, state: str, fleet: Fleet
) -> None:
    fleet.beat("cpu-1", NOON - age)
    fleet.gpu("gpu-1", NOON - age)
    assert fleet.healthy() == {"cpu-1,cpu": healthy, "gpu-1,gpu": healthy}
    assert fleet.states() == {"gpu-1": state}
    assert fleet.left_out() == {}


def test_a_worker_that_falls_silent_goes_offline_and_comes_back(fleet: Fleet) -> None:
    fleet.gpu("gpu-1", NOON, state="idle")
    assert fleet.states(NOON + 120 * SECOND) == {"gpu-1": "idle"}
    assert fleet.states(NOON + 121 * SECOND) == {"gpu-1": "offline"}
    fleet.gpu("gpu-1", NOON + 130 * SECOND, state="active")
    assert fleet.states(NOON + 131 * SECOND) == {"gpu-1": "active"}


def test_how_old_a_heartbeat_may_be_is_a_setting(fleet: Fleet) -> None:
    fleet.healthy_seconds, fleet.forgotten_seconds = 10, 60
    fleet.restart()
    for age in (10, 11, 60, 61):
        fleet.beat(f"cpu-{age}", NOON - age * SECOND)
    assert fleet.healthy() == {"cpu-10,cpu": 1, "cpu-11,cpu": 0, "cpu-60,cpu": 0}


def test_a_worker_silent_for_24_hours_is_forgotten(fleet: Fleet) -> None:
    fleet.gpu("gpu-1")
    fleet.beat("cpu-1")
    assert len(fleet.healthy(NOON + DAY)) == 2
    later = fleet.read(NOON + DAY + INSTANT)
    for metric in ("worker_healthy", "worker_last_heartbeat_timestamp_seconds", "gpu_worker_state", "gpu_worker_info"):
        assert only(later, f"hivesync_{metric}") == {}
    assert fleet.seconds() == {"g5.xlarge,spot": 0.0}  # a counter keeps its series


def test_a_gpu_worker_is_in_exactly_one_state(fleet: Fleet) -> None:
    for state in ("active", "idle", "offline"):
        fleet.gpu(f"gpu-{state}", state=state)
    samples = only(fleet.read(), "hivesync_gpu_worker_state")
    assert samples == {
        f"gpu-{worker},{state}": int(worker == state)
        for worker in ("active", "idle", "offline")
        for state in ("active", "idle", "offline")
    }


@pytest.mark.parametrize("state", [None, "", "act ive", "draining"])
def test_a_state_we_do_not_know_is_none_of_the_three(state: str | None, fleet: Fleet) -> None:
    fleet.gpu("gpu-1", state=state)
    assert fleet.states() == {"gpu-1": None}
    assert fleet.healthy() == {"gpu-1,gpu": 1}
    assert fleet.states(NOON + HOUR) == {"gpu-1": "offline"}


@pytest.mark.parametrize("kind", [None, "", "tpu", "g pu"])
def test_a_kind_we_do_not_know_is_unknown_and_no_gpu(kind: str | None, fleet: Fleet) -> None:
    fleet.valkey.hset("worker:heartbeat:w", mapping={"last_heartbeat": NOON.timestamp(), "state": "idle"})
    if kind is not None:
        fleet.valkey.hset("worker:heartbeat:w", "kind", kind)
    assert fleet.healthy() == {"w,unknown": 1}
    assert fleet.states() == {}
    assert fleet.seconds() == {}


def test_words_of_a_heartbeat_are_told_without_case_and_blanks(fleet: Fleet) -> None:
    fleet.beat("gpu-1", kind=" GPU", state="Active ", instance_type="g5.xlarge", lifecycle="On-Demand")
    assert fleet.healthy() == {"gpu-1,gpu": 1}
    assert fleet.states() == {"gpu-1": "active"}
    assert only(fleet.read(), "hivesync_gpu_worker_info") == {"gpu-1,g5.xlarge,on-demand": 1}


def test_a_gpu_worker_shows_the_instance_it_runs_on(fleet: Fleet) -> None:
    fleet.gpu("gpu-1")
    fleet.gpu("gpu-2", instance_type=None, lifecycle=None)
    fleet.gpu("gpu-3", instance_type='p4d "24xlarge"', lifecycle="on-demand")
    assert only(fleet.read(), "hivesync_gpu_worker_info") == {
        "gpu-1,g5.xlarge,spot": 1,
        "gpu-2,unknown,unknown": 1,
        "gpu-3,p4d24xlarge,on-demand": 1,
    }


@pytest.mark.parametrize("heartbeat", [None, "", "yesterday", "nan", "inf", "-1", "2026-03-17T12:00:00Z", "1e400"])
def test_a_heartbeat_that_is_no_time_is_left_out_and_counted(heartbeat: str | None, fleet: Fleet) -> None:
    fleet.beat("bad", heartbeat)
    fleet.beat("good")
    assert fleet.healthy() == {"good,cpu": 1}
    assert fleet.left_out() == {"malformed": 1}


def test_a_heartbeat_more_than_5_minutes_ahead_is_left_out_and_counted(fleet: Fleet) -> None:
    fleet.gpu("bad", NOON + 300 * SECOND + timedelta(milliseconds=1))
    fleet.beat("worse", NOON.timestamp() * 1000)  # milliseconds
    fleet.beat("good")
    assert fleet.healthy() == {"good,cpu": 1}
    assert fleet.left_out() == {"future_heartbeat": 2}
    assert fleet.seconds() == {}


def test_a_key_of_another_type_is_left_out_and_counted(fleet: Fleet) -> None:
    fleet.valkey.set("worker:heartbeat:string", NOON.timestamp())
    fleet.valkey.rpush("worker:heartbeat:list", "x")
    fleet.beat("good")
    assert fleet.healthy() == {"good,cpu": 1}
    assert fleet.left_out() == {"wrong_type": 2}


def test_a_key_that_is_gone_before_it_is_read_is_no_worker_and_counted(fleet: Fleet) -> None:
    fleet.patterns = ["worker:heartbeat:*", "controller"]
    fleet.restart()
    fleet.beat("good")
    assert fleet.healthy() == {"good,cpu": 1}
    assert fleet.left_out() == {"gone": 1}


@pytest.mark.parametrize(
    ("patterns", "key", "worker"),
    [
        (["worker:heartbeat:*"], "worker:heartbeat:a:b", "a:b"),
        (["hb:*", "worker:*"], "worker:heartbeat:a", "heartbeat:a"),
        (["worker:[ab]*"], "worker:a1", "a1"),
        (["*:heartbeat"], "a:heartbeat", "a:heartbeat"),
        (["the-worker"], "the-worker", "the-worker"),
    ],
)
def test_a_worker_is_named_by_what_the_patterns_wildcard_stands_for(
    patterns: list[str], key: str, worker: str, fleet: Fleet
) -> None:
    fleet.patterns = patterns
    fleet.restart()
    keep(fleet.valkey, key, kind="cpu", last_heartbeat=NOON.timestamp())
    assert fleet.healthy() == {f"{worker},cpu": 1}


def test_of_workers_with_the_same_label_the_longest_silent_is_shown(fleet: Fleet) -> None:
    fleet.gpu("gpu 1", NOON - SECOND, state="active")
    fleet.gpu("gpu1", NOON - HOUR, state="idle", lifecycle="on-demand")
    fleet.gpu("gpu{1}", NOON - 2 * SECOND, state="idle")
    values = fleet.read()
    assert only(values, "hivesync_worker_healthy") == {"gpu1,gpu": 0}
    assert only(values, "hivesync_worker_last_heartbeat_timestamp_seconds") == {"gpu1,gpu": NOON.timestamp() - 3600}
    assert only(values, "hivesync_gpu_worker_info") == {"gpu1,g5.xlarge,on-demand": 1}
    assert fleet.states() == {"gpu1": "offline"}


def test_a_cpu_and_a_gpu_worker_of_one_name_are_both_shown(fleet: Fleet) -> None:
    fleet.beat("w 1", NOON - HOUR)
    fleet.gpu("w1")
    assert fleet.healthy() == {"w1,cpu": 0, "w1,gpu": 1}
    assert fleet.states() == {"w1": "active"}


def test_what_is_over_200_workers_is_other_as_sick_as_its_sickest(fleet: Fleet) -> None:
    for number in range(205):
        fleet.gpu(f"gpu-{number:03}", NOON - (HOUR if number == 203 else SECOND))
    values = fleet.read()
    healthy = only(values, "hivesync_worker_healthy")
    assert len(healthy) == 201
    assert healthy["gpu-199,gpu"] == 1
    assert healthy["other,gpu"] == 0
    assert len(only(values, "hivesync_gpu_worker_state")) == 201 * 3
    assert len(only(values, "hivesync_gpu_worker_info")) == 201
    assert fleet.states()["other"] == "offline"


def test_instances_of_more_than_200_types_are_other(fleet: Fleet) -> None:
    for number in range(203):
        fleet.gpu(f"gpu-{number:03}", instance_type=f"type-{number:03}")
    types = {labels.split(",")[1] for labels in only(fleet.read(), "hivesync_gpu_worker_info")}
    assert types == {f"type-{number:03}" for number in range(200)} | {"other"}
    assert len(fleet.seconds()) <= 201


def test_gpu_time_is_counted_from_heartbeat_to_heartbeat(fleet: Fleet) -> None:
    """The heartbeats' own times count, not the number of refreshes."""
    fleet.gpu("gpu-1", NOON - 100 * SECOND)
    fleet.gpu("gpu-2", NOON, lifecycle="on-demand")
    fleet.read()
    assert fleet.seconds() == {"g5.xlarge,spot": 0.0, "g5.xlarge,on-demand": 0.0}
    fleet.gpu("gpu-1", NOON)
    fleet.read()
    fleet.read(NOON + HOUR)
    assert fleet.seconds() == {"g5.xlarge,spot": 100.0, "g5.xlarge,on-demand": 0.0}
    fleet.gpu("gpu-1", NOON + 120 * SECOND)
    fleet.gpu("gpu-2", NOON + 30 * SECOND, lifecycle="on-demand")
    fleet.read(NOON + 130 * SECOND)
    assert fleet.seconds() == {"g5.xlarge,spot": 220.0, "g5.xlarge,on-demand": 30.0}
    fleet.gpu("gpu-1", NOON + 241 * SECOND)  # longer than the silence of a running worker
    fleet.read(NOON + 250 * SECOND)
    assert fleet.seconds() == {"g5.xlarge,spot": 220.0, "g5.xlarge,on-demand": 30.0}


def test_an_idle_gpu_worker_costs_as_much_as_an_active_one_and_a_cpu_worker_nothing(fleet: Fleet) -> None:
    for at in (NOON, NOON + 60 * SECOND):
        fleet.gpu("gpu-1", at, state="idle")
        fleet.beat("cpu-1", at, **SPOT)
        fleet.read(at)
    assert fleet.seconds() == {"g5.xlarge,spot": 60.0}


def test_gpu_time_goes_on_after_a_restart(fleet: Fleet) -> None:
    fleet.gpu("gpu-1", NOON)
    fleet.read(NOON)
    fleet.gpu("gpu-1", NOON + 60 * SECOND)
    fleet.read(NOON + 60 * SECOND)
    fleet.restart()
    assert fleet.seconds() == {"g5.xlarge,spot": 60.0}
    fleet.gpu("gpu-1", NOON + 100 * SECOND)
    fleet.read(NOON + 100 * SECOND)
    assert fleet.seconds() == {"g5.xlarge,spot": 100.0}


def test_gpu_time_that_was_counted_stays_while_redis_is_down(fleet: Fleet) -> None:
    for at in (NOON, NOON + 60 * SECOND):
        fleet.gpu("gpu-1", at)
        fleet.read(at)
    up, fleet.url = fleet.url, NOWHERE
    with pytest.raises(SourceUnavailable, match="redis: refused"):
        fleet.read(NOON + 70 * SECOND)
    assert fleet.seconds() == {"g5.xlarge,spot": 60.0}
    fleet.url = up
    fleet.gpu("gpu-1", NOON + 120 * SECOND)
    fleet.read(NOON + 120 * SECOND)
    assert fleet.seconds() == {"g5.xlarge,spot": 120.0}


def test_time_that_cannot_be_remembered_is_not_counted_and_none_is_lost(fleet: Fleet, tmp_path: Path) -> None:
    fleet.gpu("gpu-1", NOON)
    fleet.read(NOON)
    fleet.gpu("gpu-1", NOON + 60 * SECOND)
    (tmp_path / ".gpu.new").mkdir()  # blocks every new state file
    with capture_logs() as logs:
        for _ in range(2):
            values = fleet.read(NOON + 60 * SECOND)
            assert values["hivesync_skipped_values{workers,state_unwritable}"] == 1
            assert values["hivesync_worker_healthy{gpu-1,gpu}"] == 1  # known values are shown
            assert fleet.seconds() == {"g5.xlarge,spot": 0.0}
        (tmp_path / ".gpu.new").rmdir()
        fleet.gpu("gpu-1", NOON + 110 * SECOND)
        assert fleet.read(NOON + 110 * SECOND)["hivesync_skipped_values{workers,state_unwritable}"] == 0
    assert fleet.seconds() == {"g5.xlarge,spot": 110.0}
    assert [log["event"] for log in logs] == ["system.analytics.degraded", "system.analytics.recovered"]
    assert str(tmp_path / "gpu") in logs[0]["detail"]


def test_nothing_is_written_while_nothing_changes(fleet: Fleet, tmp_path: Path) -> None:
    fleet.gpu("gpu-1")
    fleet.read()
    before = (tmp_path / "gpu").stat()
    fleet.read(NOON + SECOND)
    after = (tmp_path / "gpu").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize(
    "content",
    ['{"total": 3}', '{"total": [], "month": "2026-03", "in_month": []}', '{"total": [["a"]]}', "[]", "half of it"],
)
def test_a_state_that_makes_no_sense_costs_the_counts_and_is_said(content: str, fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "gpu").write_text(content)
    with capture_logs() as logs:
        fleet.restart()
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [("warning", "state.corrupt")]
    for at in (NOON, NOON + 60 * SECOND):
        fleet.gpu("gpu-1", at)
        fleet.read(at)
    assert fleet.seconds() == {"g5.xlarge,spot": 60.0}


def test_without_prices_there_are_no_dollars(fleet: Fleet) -> None:
    fleet.gpu("gpu-1")
    assert not [name for name in fleet.read() if "dollars" in name]


def test_gpu_cost_is_this_months_hours_at_the_prices_of_type_and_lifecycle(fleet: Fleet) -> None:
    fleet.prices = PRICES
    fleet.restart()
    start = datetime(2026, 3, 1, tzinfo=UTC)
    for age in (0, 100):
        at = start + age * SECOND
        fleet.gpu("spot", at)
        fleet.gpu("on-demand", at, lifecycle="on-demand")
        fleet.gpu("priceless", at, instance_type="p5.48xlarge")
        fleet.read(at)
    middle = start + timedelta(days=15.5)  # half of March
    values = fleet.read(middle)
    assert only(values, "hivesync_ai_cost_month_to_date_dollars") == {"gpu": pytest.approx(0.01 + 0.1)}
    assert only(values, "hivesync_ai_cost_month_projected_dollars") == {"gpu": pytest.approx(0.22)}


def test_gpu_cost_begins_anew_with_the_month_and_the_counter_does_not(fleet: Fleet) -> None:
    fleet.prices = PRICES
    fleet.restart()
    april = datetime(2026, 4, 1, tzinfo=UTC)
    costs = []
    for seconds in (-60, -20, 80):
        fleet.gpu("gpu-1", april + seconds * SECOND)
        values = fleet.read(april + seconds * SECOND)
        costs.append(values["hivesync_ai_cost_month_to_date_dollars{gpu}"])
    assert costs == pytest.approx([0.0, 40 * 0.0001, 80 * 0.0001])
    assert fleet.seconds() == {"g5.xlarge,spot": 140.0}


def test_a_month_that_has_just_begun_has_no_projection(fleet: Fleet) -> None:
    fleet.prices = PRICES
    fleet.restart()
    values = fleet.read(datetime(2026, 4, 1, tzinfo=UTC))
    assert only(values, "hivesync_ai_cost_month_to_date_dollars") == {"gpu": 0.0}
    assert only(values, "hivesync_ai_cost_month_projected_dollars") == {}
