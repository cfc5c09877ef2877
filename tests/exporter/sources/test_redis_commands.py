"""Commands to Redis and Valkey, read only, and the connection that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from exporter.collectors.online import OnlineNow
from exporter.collectors.queues import Queues
from exporter.collectors.workers import Workers
from exporter.heartbeats import RedisHeartbeats
from exporter.sources.redis import Redis
from exporter.state import StateFile
from exporter.worker_keys import Kinds
from tests.exporter.sources.redis_asking import ask, commands, found, lengths, passed, rows_of
from tests.rows import collect, keep


def test_collectors_scan_and_never_block_or_write(url: str, valkey: redis.Redis, database: str, tmp_path: Path) -> None:
    for number in range(1500):
        keep(valkey, f"ws_sessions:{number}", user_id=number)
        keep(valkey, f"worker:heartbeat:{number}", kind="gpu", last_heartbeat=1)
        valkey.rpush(f"ai_queue:{number}", 1)
    valkey.config_resetstat()
    heartbeats = RedisHeartbeats(["worker:heartbeat:*"], [], Kinds())
    workers = Workers(heartbeats, StateFile(tmp_path, "gpu"), None, healthy_seconds=120, forgotten_seconds=86_400)
    for collector in (OnlineNow(["ws_sessions:*"]), Queues({"ai": ["ai_queue:*"]}), workers):
        collect(collector, database, url)
    had = commands(valkey)
    assert had >= {"scan", "hmget", "llen", "time"}
    assert had - {"scan", "hmget", "llen", "time"} <= {"hello", "auth", "select", "client|setname", "client|setinfo"}
    assert valkey.info("commandstats")["cmdstat_scan"]["calls"] > 3 * 2


def test_a_connection_has_our_name(url: str, valkey: redis.Redis) -> None:
    async def named(client: Redis) -> list[str]:
        await client.time()
        return [other["name"] for other in await asyncio.to_thread(valkey.client_list)]

    assert "hivesync-analytics" in ask(url, named)


def test_a_connection_that_was_cut_is_replaced(url: str, valkey: redis.Redis) -> None:
    async def twice(client: Redis) -> bool | None:
        await found(client, "a*")
        assert await asyncio.to_thread(valkey.client_kill_filter, _type="normal", skipme=True) >= 1
        await found(client, "a*")
        await client.time()
        return client.reachability.up

    assert ask(url, twice) is True


def connections(valkey: redis.Redis) -> int:
    """The number of connections of the exporter to the server."""
    return sum(other["name"] == "hivesync-analytics" for other in valkey.client_list())


async def ends_early(client: Redis) -> None:
    async with aclosing(client.all_hashes(["ws_sessions:*"], ("user_id",))) as batches:
        async for _ in batches:
            return


async def is_cancelled(client: Redis) -> None:
    reading = asyncio.create_task(passed(client, "ws_sessions:*"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading


async def cannot_use_what_it_reads(client: Redis) -> None:
    with suppress(ZeroDivisionError):
        async with aclosing(client.all_hashes(["ws_sessions:*"], ("user_id",))) as batches:
            async for _ in batches:
                raise ZeroDivisionError


@pytest.mark.parametrize("stops", [ends_early, is_cancelled, cannot_use_what_it_reads])
def test_answers_that_nobody_read_are_given_to_nobody_else(
    stops: Callable[[Redis], Awaitable[None]], url: str, valkey: redis.Redis
) -> None:
    """The pass is abandoned with requests pending at the server."""
    for number in range(3_000):
        keep(valkey, f"ws_sessions:{number}", user_id=number)
    valkey.rpush("ai_queue:default", 1, 2)

    async def question(client: Redis) -> tuple[Any, ...]:
        for _ in range(5):
            await stops(client)
        return await lengths(client), len(rows_of(await passed(client, "ws_sessions:*"))), await found(client, "ai_*")

    assert ask(url, question) == ([2], 3_000, [b"ai_queue:default"])


def test_one_connection_is_kept_from_question_to_question(url: str, valkey: redis.Redis) -> None:
    async def questions(client: Redis) -> int:
        for _ in range(3):
            await passed(client, "a*")
            await lengths(client)
            await found(client, "a*")
            await client.time()
        return await asyncio.to_thread(connections, valkey)

    valkey.config_resetstat()
    assert ask(url, questions) == 1
    assert valkey.info("stats")["total_connections_received"] == 1
