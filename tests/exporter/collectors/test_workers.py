"""Workers, their heartbeats and states (docs/definitions.md#worker)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.exporter.collectors.fleet import DAY, HOUR, SECOND, Fleet
from tests.rows import INSTANT, NOON, keep, only


def test_without_workers_there_is_nothing_to_show(fleet: Fleet) -> None:
    assert set(fleet.read()) == {
        f"hivesync_skipped_values{{workers,{reason}}}"
        for reason in ("wrong_type", "gone", "malformed", "future_heartbeat", "beyond_limit", "state_unwritable")
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


@pytest.mark.parametrize("kind", ["preview", "tpu", "g pu"])
def test_a_kind_we_do_not_know_is_unknown_and_no_gpu(kind: str, fleet: Fleet) -> None:
    fleet.beat("w", kind=kind, state="idle")
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


@pytest.mark.parametrize("heartbeat", [None, "", "yesterday", "nan", "inf", "-1", "2026-03-17", "1e400"])
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
    fleet.valkey.sadd("worker:heartbeat:set", "x")
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
