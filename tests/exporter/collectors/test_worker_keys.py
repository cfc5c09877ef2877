"""Forms of heartbeats in Redis other than the hash: keys around the id, strings, siblings, kinds
(docs/definitions.md#worker)."""

from __future__ import annotations

import pytest

from exporter.errors import CollectionFailed
from exporter.worker_keys import Kinds
from servers.valkey import ValkeyServer
from tests.exporter.collectors.fleet import HOUR, SECOND, Fleet
from tests.rows import NOON, keep, only


@pytest.fixture(autouse=True)
def keys_around_the_id(fleet: Fleet) -> None:
    fleet.patterns, fleet.kind_keys = ["worker:{id}:heartbeat"], ["worker:{id}:type"]
    fleet.restart()


@pytest.mark.parametrize(
    ("pattern", "key", "worker"),
    [
        ("worker:{id}:heartbeat", "worker:a:heartbeat", "a"),
        ("worker:{id}:heartbeat", "worker:a:b:heartbeat", "a:b"),
        ("{id}:heartbeat", "a:heartbeat", "a"),
        ("hb:{id}", "hb:a", "a"),
        ("{{id}}:hb", "{a}:hb", "a"),
        ("a\\b]{id}:hb", "a\\b]c:hb", "c"),
    ],
)
def test_the_worker_is_named_by_the_part_between(pattern: str, key: str, worker: str, fleet: Fleet) -> None:
    fleet.patterns = [pattern]
    fleet.restart()
    for name in (key, "worker:a:other", "a_b]c:hb"):
        keep(fleet.valkey, name, kind="cpu", last_heartbeat=NOON.timestamp())
    assert fleet.healthy() == {f"{worker},cpu": 1}


@pytest.mark.parametrize(
    ("written", "age"),
    [
        (f"{NOON.timestamp():.0f}", 0),
        (f"{NOON.timestamp() - 1.25}", 1.25),
        (f" {NOON.timestamp() - 2} ", 2),
        ("2026-03-17T11:59:57Z", 3),
        ("2026-03-17T11:59:56.500000+00:00", 3.5),
        ("2026-03-17T13:59:55+02:00", 5),
        ("2026-03-17 11:59:54", 6),
    ],
)
def test_a_time_in_a_string_or_a_hash_is_a_heartbeat(written: str, age: float, fleet: Fleet) -> None:
    fleet.valkey.set("worker:string:heartbeat", written)
    keep(fleet.valkey, "worker:hash:heartbeat", last_heartbeat=written)
    beats = only(fleet.read(), "hivesync_worker_last_heartbeat_timestamp_seconds")
    assert beats == {"string,cpu": NOON.timestamp() - age, "hash,cpu": NOON.timestamp() - age}
    assert fleet.left_out() == {}


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (f"{NOON.timestamp() * 1000:.0f}", "future_heartbeat"),
        ("2026-03-17T13:00:00Z", "future_heartbeat"),
        ("soon", "malformed"),
        ("2026-03-17", "malformed"),
        ("-1", "malformed"),
        ("nan", "malformed"),
        ("1" * 1000, "future_heartbeat"),
        ("", "gone"),
    ],
)
def test_a_string_that_is_no_time_of_now_is_counted(written: str, reason: str, fleet: Fleet) -> None:
    fleet.valkey.set("worker:bad:heartbeat", written)
    fleet.valkey.set("worker:good:heartbeat", NOON.timestamp())
    assert fleet.healthy() == {"good,cpu": 1}
    assert fleet.left_out() == {reason: 1}


def test_a_string_beside_the_heartbeat_is_the_kind(fleet: Fleet) -> None:
    fleet.kinds = Kinds(("cpu", "gpu", "cleanup"))
    fleet.restart()
    for worker, kind in {"a": "cleanup", "b": " GPU", "c": "cpu", "d": "tpu", "e": None}.items():
        fleet.valkey.set(f"worker:{worker}:heartbeat", NOON.timestamp())
        if kind:
            fleet.valkey.set(f"worker:{worker}:type", kind)
    assert set(fleet.healthy()) == {"a,cleanup", "b,gpu", "c,cpu", "d,unknown", "e,cpu"}
    assert fleet.left_out() == {}


def test_a_hash_beside_the_heartbeat_adds_to_its_words(fleet: Fleet) -> None:
    sibling = {"kind": "gpu", "state": "idle", "instance_type": "g5.xlarge", "lifecycle": "spot"}
    keep(fleet.valkey, "worker:a:type", **sibling)
    keep(fleet.valkey, "worker:a:heartbeat", last_heartbeat=NOON.timestamp(), state="active")
    fleet.valkey.rpush("worker:b:type", "gpu")
    fleet.valkey.set("worker:b:heartbeat", NOON.timestamp())
    assert fleet.healthy() == {"a,gpu": 1, "b,cpu": 1}
    assert fleet.states() == {"a": "active"}
    assert only(fleet.read(), "hivesync_gpu_worker_info") == {"a,g5.xlarge,spot": 1}


def test_a_key_beside_the_heartbeat_is_no_worker(fleet: Fleet) -> None:
    fleet.patterns = ["worker:{id}"]
    fleet.restart()
    fleet.valkey.set("worker:a", NOON.timestamp())
    fleet.valkey.set("worker:a:type", "gpu")
    assert fleet.healthy() == {"a,gpu": 1}
    assert fleet.left_out() == {}


@pytest.mark.parametrize("default", ["cpu", "ai"])
def test_a_worker_without_a_kind_has_the_default(default: str, fleet: Fleet) -> None:
    fleet.kinds = Kinds(("cpu", "gpu", "preview"), default)
    fleet.restart()
    for worker, kind in {"a": None, "b": "", "c": " ", "d": "Preview", "e": "ai"}.items():
        keep(fleet.valkey, f"worker:{worker}:heartbeat", last_heartbeat=NOON.timestamp(), kind=kind)
    assert set(fleet.healthy()) == {f"a,{default}", f"b,{default}", f"c,{default}", "d,preview", "e,unknown"}


def test_a_worker_keeps_the_at_sign_of_its_name(fleet: Fleet) -> None:
    for worker in ("celery@web-1", "celery@web 1!"):
        fleet.valkey.set(f"worker:{worker}:heartbeat", (NOON - (HOUR if "!" in worker else SECOND)).timestamp())
    fleet.valkey.set("worker:gpu@1:type", "gpu")
    keep(fleet.valkey, "worker:gpu@1:heartbeat", last_heartbeat=NOON.timestamp(), instance_type="g5@x", lifecycle="a@b")
    assert fleet.healthy() == {"celery@web-1,cpu": 1, "celery@web1,cpu": 0, "gpu@1,gpu": 1}
    assert only(fleet.read(), "hivesync_gpu_worker_info") == {"gpu@1,g5x,ab": 1}


def test_without_the_right_to_read_strings_hashes_are_still_read(fleet: Fleet, valkey_server: ValkeyServer) -> None:
    fleet.valkey.acl_setuser(
        "hashes", enabled=True, passwords=["+secret"], keys=["*"], commands=["+scan", "+hmget", "+time", "+client"]
    )
    fleet.valkey.set("worker:string:heartbeat", NOON.timestamp())
    fleet.url = valkey_server.url_of("hashes", "secret")
    try:
        with pytest.raises(CollectionFailed, match="no_permission"):
            fleet.read()  # all heartbeats are strings: the right is missing
        keep(fleet.valkey, "worker:hash:heartbeat", last_heartbeat=NOON.timestamp())
        assert fleet.healthy() == {"hash,cpu": 1}
        assert fleet.left_out() == {"wrong_type": 1}
    finally:
        fleet.valkey.acl_deluser("hashes")


def test_a_worker_of_several_keys_has_its_latest_heartbeat(fleet: Fleet) -> None:
    fleet.patterns = ["worker:{id}:heartbeat", "hb:{id}"]
    fleet.restart()
    fleet.valkey.set("worker:a:heartbeat", f"{NOON.timestamp() - 40}")
    fleet.valkey.set("hb:a", f"{NOON.timestamp() - 5}")
    fleet.valkey.set("hb:b", f"{NOON.timestamp() - 40}")
    fleet.valkey.set("worker:b:heartbeat", f"{NOON.timestamp() - 5}")
    beats = only(fleet.read(), "hivesync_worker_last_heartbeat_timestamp_seconds")
    assert beats == dict.fromkeys(("a,cpu", "b,cpu"), NOON.timestamp() - 5)
