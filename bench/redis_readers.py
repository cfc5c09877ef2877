"""Ways to count online users and devices in `ws_sessions:*`, each in a process of its own: `python -m
bench.redis_readers WAY REDIS_URL DATABASE_URL`.

Counts once per line on standard input, and prints the seconds, users and devices as JSON. `product` is the production
code: it also reads from PostgreSQL the sessions with a heartbeat and the sessions of the WebSockets. `product's pass
over Redis` is the part of it that corresponds to the other ways.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import orjson
import redis

PATTERN = "ws_sessions:*"
FIELDS = ("user_id", "session_id", "device_type")
COUNT = 1_000

Counted = tuple[int, int]
"""Users and devices."""


PRODUCT, PRODUCT_PASS = "product", "product's pass over Redis"


def product(url: str, database_url: str, *, redis_alone: bool) -> None:
    """Run the collector of online users on real sources."""
    import uvloop

    from exporter.collector import Sources
    from exporter.collectors.online import ONLINE_DEVICES, ONLINE_USERS, LeftOut, OnlineNow, fold_web_sockets
    from exporter.presence import Presence
    from exporter.sources.jsonl import JsonlLog
    from exporter.sources.postgres import Postgres
    from exporter.sources.redis import Redis

    async def count(sources: Sources) -> Counted:
        if redis_alone:
            presence = Presence()
            await fold_web_sockets(sources.redis, (PATTERN,), presence, LeftOut())
            online = await asyncio.to_thread(presence.count)
            return online.users, sum(online.devices.values())
        samples = await OnlineNow((PATTERN,)).refresh(sources)
        users = sum(cast("float", sample.value) for sample in samples if sample.spec is ONLINE_USERS)
        devices = sum(cast("float", sample.value) for sample in samples if sample.spec is ONLINE_DEVICES)
        return int(users), int(devices)

    async def serve() -> None:
        none = Path("/nonexistent/log")
        sources = Sources(
            postgres=Postgres(database_url),
            redis=Redis(url),
            ai_events_log=JsonlLog("ai_events_log", none),
            preview_log=JsonlLog("preview_log", none),
        )
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            started = time.perf_counter()
            counted = await count(sources)
            _say(time.perf_counter() - started, counted)
        await sources.postgres.close()
        await sources.redis.close()

    uvloop.run(serve())


def redis_py(url: str) -> Counted:
    """Count with redis-py according to its documentation: SCAN, and HMGET in pipelines."""
    rows: list[Sequence[bytes | None]] = []
    with redis.Redis.from_url(url, protocol=2) as client:
        batch: list[bytes] = []
        for key in client.scan_iter(match=PATTERN, count=COUNT):
            batch.append(key)
            if len(batch) == COUNT:
                rows += _hmget(client, batch)
                batch = []
        rows += _hmget(client, batch)
    return _fold(rows)


def _hmget(client: redis.Redis, keys: list[bytes]) -> list[Any]:
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hmget(key, list(FIELDS))
        return pipeline.execute()


def hiredis(url: str) -> Counted:
    """Count with handwritten commands on a socket and hiredis as the parser: the limit for sequential requests."""
    import socket

    import hiredis as parser

    parts = urlsplit(url)
    reader = parser.Reader()
    rows: list[Sequence[bytes | None]] = []
    tail = b"".join(b"$%d\r\n%b\r\n" % (len(field), field) for field in map(str.encode, FIELDS))
    with socket.create_connection((parts.hostname or "", parts.port or 6379)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def answer() -> Any:
            while (found := reader.gets()) is False:
                reader.feed(connection.recv(262_144))
            return found

        if parts.password:
            login = (b"AUTH", (unquote(parts.username or "") or "default").encode(), unquote(parts.password).encode())
            connection.sendall(parser.pack_command(login))  # type: ignore[arg-type]  # it takes more than it says
            if isinstance(found := answer(), parser.ReplyError):
                raise found
        cursor = b"0"
        while True:
            words = (b"SCAN", cursor, b"MATCH", PATTERN.encode(), b"COUNT", b"%d" % COUNT)
            connection.sendall(parser.pack_command(words))  # type: ignore[arg-type]  # it takes more than it says
            cursor, keys = answer()
            connection.sendall(
                b"".join([b"*%d\r\n$5\r\nHMGET\r\n$%d\r\n%b\r\n%b" % (2 + len(FIELDS), len(k), k, tail) for k in keys])
            )
            rows += [answer() for _ in keys]
            if cursor == b"0":
                return _fold(rows)


def keys_command(url: str) -> Counted:
    """Count with KEYS, which must never be used: Redis answers no other client until the whole reply is ready."""
    with redis.Redis.from_url(url, protocol=2, socket_timeout=60) as client:
        return 0, len(cast("list[bytes]", client.keys(PATTERN)))


def _fold(rows: Iterable[Sequence[bytes | None]]) -> Counted:
    users = {row[0] for row in rows if row[0]}
    devices = Counter(row[2] for row in rows if any(row))
    return len(users), devices.total()


def _say(seconds: float, counted: Counted) -> None:
    print(orjson.dumps({"seconds": seconds, "users": counted[0], "devices": counted[1]}).decode(), flush=True)


WAYS: dict[str, Callable[[str], Counted]] = {
    "redis-py SCAN + HMGET": redis_py,
    "hiredis on a socket": hiredis,
    "KEYS": keys_command,
}


if __name__ == "__main__":
    way, redis_url, database = sys.argv[1:]
    if way in (PRODUCT, PRODUCT_PASS):
        product(redis_url, database, redis_alone=way == PRODUCT_PASS)
    else:
        print("ready", flush=True)
        while sys.stdin.readline():
            begun = time.perf_counter()
            result = WAYS[way](redis_url)
            _say(time.perf_counter() - begun, result)
