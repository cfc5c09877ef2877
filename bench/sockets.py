"""Open WebSockets in Valkey, a million of them in seconds: handwritten commands, with replies switched off."""

from __future__ import annotations

import time
from typing import Any, cast

import numpy as np
import redis

CHUNK = 10_000
EXPIRES_SECONDS = 6 * 3600
SMALL = 20
"""Number of WebSockets in every Valkey."""

DEVICES = ("desktop", "desktop", "desktop", "phone", "ipad")
SHARING = 4
"""Of five WebSockets, four belong to a user with another WebSocket: there are fewer users than connections."""


def fill(url: str, count: int, seed: int) -> None:
    """Write `count` hashes `ws_sessions:*` in HiveSync's format, with an expiry of some hours."""
    rng = np.random.default_rng(seed)
    now = int(time.time())
    with redis.Redis.from_url(url, socket_timeout=120, single_connection_client=True) as client:
        connection = client.connection
        try:
            connection.send_packed_command([b"CLIENT REPLY OFF\r\n"])
            for first in range(0, count, CHUNK):
                connection.send_packed_command([_commands(rng, first, min(CHUNK, count - first), count, now)])
            connection.send_packed_command([b"CLIENT REPLY ON\r\n"])
            connection.read_response()
        finally:
            connection.disconnect()
        there = client.dbsize()
        if there < count:
            raise RuntimeError(f"{there} keys in place of {count}")


def user_of(connection: int, count: int) -> int:
    """Return the number of the user of connection `connection` of `count`."""
    return connection % (count - count * SHARING // 10)


def _commands(rng: np.random.Generator, first: int, number: int, count: int, now: int) -> bytes:
    draws = rng.bytes(number * 16).hex()
    commands = []
    for index in range(number):
        digits = draws[index * 32 : index * 32 + 32]
        session = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        key = f"ws_sessions:{digits[16:]}{first + index:08x}"
        user = f"{user_of(first + index, count):08x}-0000-4000-8000-{0:012x}"
        device = DEVICES[int(digits[0], 16) % len(DEVICES)]
        connected = now - int(digits[1:4], 16)
        commands.append(
            f"HSET {key} user_id {user} session_id {session} device_type {device}"
            f" connected_at {connected} last_seen_at {now}\r\nEXPIRE {key} {EXPIRES_SECONDS}\r\n"
        )
    return "".join(commands).encode()


def seed_small(url: str) -> None:
    """Write a few of all other keys that the product reads: queues, workers, some WebSockets."""
    now = time.time()
    with redis.Redis.from_url(url) as client:
        client.rpush("ai_queue:default", *(f"job {number}" for number in range(12)))
        client.rpush("preview_queue:default", "job")
        client.hset("ai_queue:stats", mapping={"processed": 1000, "processing_ms": 2_000_000})
        for number in range(2):
            worker = {"kind": "cpu", "last_heartbeat": now, "state": "active"}
            client.hset(f"worker:heartbeat:cpu-{number}", mapping=cast("dict[Any, Any]", worker))
            gpu = worker | {"kind": "gpu", "instance_type": "g5.xlarge", "lifecycle": "spot"}
            client.hset(f"worker:heartbeat:gpu-{number}", mapping=cast("dict[Any, Any]", gpu))
        for number in range(SMALL):
            session = {"user_id": f"guest-{number}", "device_type": "desktop", "connected_at": now, "last_seen_at": now}
            client.hset(f"ws_sessions:small-{number}", mapping=cast("dict[Any, Any]", session))
