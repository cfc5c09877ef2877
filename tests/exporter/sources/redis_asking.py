"""Questions to Redis and Valkey through the exporter's source, and the commands that the server received."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import pytest
import redis

from exporter.sources.redis import Hashes, Redis

T = TypeVar("T")
Question = Callable[[Redis], Awaitable[Any]]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Redis]:
    client = Redis(url)
    try:
        yield client
    finally:
        await client.close()


def ask(url: str, question: Callable[[Redis], Awaitable[T]]) -> T:
    """The answer to one question of a new client."""

    async def answer() -> T:
        async with opened(url) as client:
            return await question(client)

    return asyncio.run(answer())


def refused(url: str, question: Question, error: type[Exception]) -> tuple[str, bool | None]:
    """The kind of error of a question, and whether the server then counts as reached."""

    async def answer() -> tuple[str, bool | None]:
        async with opened(url) as client:
            with pytest.raises(error) as raised:
                await question(client)
            return raised.value.kind, client.reachability.up  # type: ignore[attr-defined]  # both errors have one

    return asyncio.run(answer())


def lengths(client: Redis) -> Awaitable[Any]:
    return client.lengths([b"ai_queue:default"])


async def found(client: Redis, *patterns: str) -> list[bytes]:
    """All keys of the patterns, sorted."""
    async with aclosing(client.keys(patterns)) as batches:
        return sorted([key async for batch in batches for key in batch])


async def passed(client: Redis, *patterns: str, fields: Sequence[str] = ("user_id",)) -> list[Hashes]:
    """All batches of a pass."""
    async with aclosing(client.all_hashes(patterns, fields)) as batches:
        return [batch async for batch in batches]


def rows_of(batches: Sequence[Hashes]) -> list[tuple[bytes, list[bytes | None]]]:
    """The keys of a pass with their values, sorted."""
    return sorted((key, list(row)) for batch in batches for key, row in zip(batch.keys, batch.rows, strict=True))


def commands(valkey: redis.Redis) -> set[str]:
    """The commands that the server received since the reset of its statistics, except those of this function."""
    had = {name.removeprefix("cmdstat_") for name in valkey.info("commandstats")}
    return had - {"info", "config|resetstat", "flushall"}
