"""Faults of the Redis server: killed, stopped, loading, paused, busy, full, a replica, with other rights and keys."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

import redis

from faults.promises import EXACTNESS, IDENTITY, ISOLATION
from faults.scene import VALKEY_SETTINGS, Scene
from faults.subject import POLL_SECONDS, require
from faults.table import fault
from servers.bound import Bound, slowness
from servers.valkey import ValkeyServer

KEYS, QUICK_KEYS = 1_000_000, 20_000
LOADED_KEYS, LOAD_MICROSECONDS = 500, 10_000
PAUSED_SECONDS = 8
CHANGES = 'hivesync_source_changes_total{source="redis"}'
ENDLESS = "while true do end"


@fault("redis", ISOLATION, down=["redis"], quick=True)
def redis_killed(scene: Scene) -> Iterator[None]:
    """Redis is killed, and started empty after a while."""
    scene.valkey.kill()
    try:
        yield
    finally:
        scene.valkey.start()


@fault("redis", ISOLATION, down=["redis"])
def redis_stopped(scene: Scene) -> Iterator[None]:
    """The process of Redis is stopped (SIGSTOP), and continued."""
    os.kill(scene.valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(scene.valkey.pid, signal.SIGCONT)


@fault("redis", IDENTITY, may_degrade=True)
def redis_restarted(scene: Scene) -> Iterator[None]:
    """Redis is restarted at once, and is empty."""
    before = _changes(scene)
    scene.valkey.stop()
    scene.valkey.start()
    _wait_for_change(scene, before)
    yield


@fault("redis", IDENTITY, may_degrade=True)
def redis_fail_over(scene: Scene) -> Iterator[None]:
    """The address of Redis moves to another server, without keys, and back."""
    other = ValkeyServer(scene.directory / f"valkey-{time.monotonic_ns()}", VALKEY_SETTINGS)
    other.password = scene.valkey.password
    with other:
        before = _changes(scene)
        scene.cache.switch(other.port)
        try:
            _wait_for_change(scene, before)
            yield
        finally:
            before = _changes(scene)
            scene.cache.switch(scene.valkey.port)
        _wait_for_change(scene, before)


@contextmanager
def _configured(scene: Scene, changed: Mapping[str, str], back: Mapping[str, str]) -> Iterator[redis.Redis]:
    """Change settings of Redis within the block, whose client stays connected."""
    with scene.redis() as client:
        client.ping()
        for name, value in changed.items():
            client.config_set(name, value)
        try:
            yield client
        finally:
            for name, value in back.items():
                client.config_set(name, value)


def _disconnect(client: redis.Redis) -> None:
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]


@fault("redis", ISOLATION, down=["redis"])
def redis_wrong_password(scene: Scene) -> Iterator[None]:
    """The password of Redis is another."""
    with _configured(scene, {"requirepass": "another"}, {"requirepass": scene.valkey.password}) as client:
        _disconnect(client)
        yield


@fault("redis", ISOLATION, down=["redis"])
def redis_no_connection_left(scene: Scene) -> Iterator[None]:
    """Other clients hold every connection that Redis has."""
    with _configured(scene, {"maxclients": "1"}, {"maxclients": "10000"}) as client:
        _disconnect(client)
        yield


@fault("redis", ISOLATION, failing=["queues"])
def redis_rights_revoked(scene: Scene) -> Iterator[None]:
    """The right to a command is revoked."""
    with scene.redis() as client:
        client.execute_command("ACL", "SETUSER", "default", "-llen")  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+llen")  # type: ignore[no-untyped-call]


@fault("redis", ISOLATION, down=["redis"], quick=True)
def redis_loading(scene: Scene) -> Iterator[None]:
    """Redis loads its data and refuses every command meanwhile."""

    def reload() -> None:
        with suppress(redis.RedisError), scene.redis(socket_timeout=120) as client:
            client.execute_command("DEBUG", "RELOAD")  # type: ignore[no-untyped-call]

    with scene.redis() as client:
        client.mset({f"loaded:{number}": "x" * 100 for number in range(LOADED_KEYS)})
    with _configured(scene, {"key-load-delay": str(LOAD_MICROSECONDS)}, {}):
        loading = Thread(target=reload, daemon=True)
        loading.start()
        try:
            yield
        finally:
            loading.join()
    with scene.redis() as client:
        client.config_set("key-load-delay", 0)
        client.delete(*(f"loaded:{number}" for number in range(LOADED_KEYS)))


@fault("redis", ISOLATION, down=["redis"])
def redis_paused(scene: Scene) -> Iterator[None]:
    """Redis answers no command for eight seconds (CLIENT PAUSE, which no client can end)."""
    with scene.redis(socket_timeout=PAUSED_SECONDS * 2 * slowness()) as client:
        client.client_pause(PAUSED_SECONDS * 1000)
        try:
            yield
        finally:
            client.ping()


@fault("redis", ISOLATION, down=["redis"])
def redis_busy(scene: Scene) -> Iterator[None]:
    """A script occupies Redis, which refuses every other command."""

    def run() -> None:
        with suppress(redis.RedisError), scene.redis(socket_timeout=300) as other:
            other.eval(ENDLESS, 0)

    with _configured(scene, {"busy-reply-threshold": "100"}, {}) as client:
        script = Thread(target=run, daemon=True)
        script.start()
        try:
            yield
        finally:
            while script.is_alive():
                with suppress(redis.RedisError):
                    client.script_kill()
                script.join(0.1)
            client.config_set("busy-reply-threshold", "5000")


@fault("redis", EXACTNESS, quick=True)
def redis_out_of_memory(scene: Scene) -> Iterator[None]:
    """Redis has no memory left and refuses every write."""
    with _configured(scene, {"maxmemory": "1", "maxmemory-policy": "noeviction"}, {"maxmemory": "0"}):
        yield


@fault("redis", ISOLATION, down=["redis"])
def redis_replica_without_primary(scene: Scene) -> Iterator[None]:
    """Redis is a replica that has lost its primary and serves no stale data."""
    settings = {"replica-serve-stale-data": "no"}, {"replica-serve-stale-data": "yes"}
    with _configured(scene, *settings) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]


@fault("redis", EXACTNESS)
def redis_wrong_types(scene: Scene) -> Iterator[None]:
    """Keys hold other types than expected."""
    keys = ("ai_queue:wrong", "ws_sessions:wrong", "worker:heartbeat:wrong")
    with scene.redis() as client:
        client.set(keys[0], "no list")
        client.rpush(keys[1], "no hash")
        client.sadd(keys[2], "no hash")
        try:
            yield
        finally:
            client.delete(*keys)


@fault("redis", EXACTNESS, may_degrade=True)
def redis_many_keys(scene: Scene) -> Iterator[None]:
    """A million WebSockets are there at once, and gone at the end."""
    number = QUICK_KEYS if scene.quick else KEYS
    script = (
        "for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do"
        " redis.call('HSET', 'ws_sessions:many-' .. i, 'user_id', 'many-' .. i, 'device_type', 'ipad') end"
    )
    try:
        with scene.redis(socket_timeout=60) as client:
            for first in range(0, number, 5_000):
                client.eval(script, 0, str(first), str(first + 4_999))
        _wait_for(scene, 'hivesync_online_devices{device_type="ipad"}', float(number), 120)
        yield
    finally:
        with scene.redis(socket_timeout=60) as client:
            for first in range(0, number, 5_000):
                client.unlink(*(f"ws_sessions:many-{i}" for i in range(first, first + 5_000)))


@fault("redis", EXACTNESS)
def redis_flushed(scene: Scene) -> Iterator[None]:
    """All keys of Redis are deleted at once."""
    with scene.redis() as client:
        client.flushall()
    yield


def _changes(scene: Scene) -> float:
    return (scene.exporter.answer() or {}).get(CHANGES, 0.0)


def _wait_for_change(scene: Scene, before: float) -> None:
    _wait_for(scene, CHANGES, before + 1, 30)


def _wait_for(scene: Scene, name: str, least: float, within: float) -> None:
    bound, value = Bound(within), 0.0
    while value < least:
        require(not bound.is_reached(), f"{name} is {value:g}, not {least:g}")
        time.sleep(POLL_SECONDS)
        answer: Mapping[str, Any] = scene.exporter.answer() or {}
        value = answer.get(name, 0.0)
