"""Redis or Valkey, read only and without ever blocking it: SCAN in steps, pipelined reads of a few hundred keys at a
time.

A key of another type than expected, or gone since the SCAN, is one value that is missing, never an error of the
source. Nothing here knows what a key means.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import redis.asyncio as driver
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import Reachability

COMMAND_SECONDS = 1.0
SCAN_COUNT = 1_000
PIPELINE_KEYS = 500

Fields = tuple[str | None, ...]


class WrongType(Exception):
    """In place of a value: the key holds another type than the command expects."""


class Redis:
    """A client of one server. `url` is any redis-py URL (`redis://`, `rediss://`, `unix://`)."""

    name = "redis"

    def __init__(self, url: str) -> None:
        self.reachability = Reachability(self.name)
        self._client = driver.Redis.from_url(
            url,
            protocol=2,  # with 3, redis-py 8 hands out connections that the server has closed
            socket_timeout=COMMAND_SECONDS,
            socket_connect_timeout=COMMAND_SECONDS,
            retry=Retry(NoBackoff(), 0),  # the next refresh is the retry
            retry_on_error=[],
            max_connections=4,
            client_name="hivesync-analytics",
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def time(self) -> float:
        """The server's clock, in unix seconds."""
        async with self._reached():
            seconds, micro = await self._client.time()
            return seconds + micro / 1_000_000

    async def keys(self, patterns: Iterable[str]) -> list[bytes]:
        """The keys that match any pattern, each once, sorted; a pattern without a wildcard is returned as it is."""
        found: set[bytes] = set()
        async with self._reached():
            for pattern in patterns:
                if not is_wildcard(pattern):
                    found.add(pattern.encode())
                    continue
                async for key in self._client.scan_iter(match=pattern, count=SCAN_COUNT):
                    found.add(key)
        return sorted(found)

    async def hashes(self, keys: Sequence[bytes], fields: Sequence[str]) -> list[Fields | WrongType]:
        """For each key the values of these fields of its hash (None where missing), in the order of both."""
        rows = await self._pipelined(keys, lambda pipeline, key: pipeline.hmget(key, fields))
        return [row if isinstance(row, WrongType) else tuple(map(_text, row)) for row in rows]

    async def lengths(self, keys: Sequence[bytes]) -> list[int | WrongType]:
        """For each key the length of its list, 0 where there is none."""
        return cast("list[int | WrongType]", await self._pipelined(keys, lambda pipeline, key: pipeline.llen(key)))

    async def _pipelined(self, keys: Sequence[bytes], command: Any) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(keys), PIPELINE_KEYS):
            async with self._reached(), self._client.pipeline(transaction=False) as pipeline:
                for key in keys[start : start + PIPELINE_KEYS]:
                    command(pipeline, key)
                answers += await cast("Awaitable[list[Any]]", pipeline.execute(raise_on_error=False))
        for index, answer in enumerate(answers):
            if isinstance(answer, exceptions.ResponseError) and str(answer).startswith("WRONGTYPE"):
                answers[index] = WrongType()
            elif isinstance(answer, Exception):
                async with self._reached():
                    raise answer
        return answers

    @asynccontextmanager
    async def _reached(self) -> AsyncIterator[None]:
        """Turns the driver's errors into ours and notes whether the server answered."""
        try:
            yield
        except (exceptions.AuthenticationError, exceptions.BusyLoadingError) as error:
            raise self._unavailable(
                "authentication" if isinstance(error, exceptions.AuthenticationError) else "loading"
            ) from error
        except (exceptions.TimeoutError, TimeoutError) as error:
            raise self._unavailable("timeout") from error
        except (exceptions.ConnectionError, exceptions.InvalidResponse, OSError) as error:
            raise self._unavailable(_connection_kind(error)) from error
        except exceptions.RedisError as error:
            self.reachability.worked()  # it answered
            kind = "no_permission" if isinstance(error, exceptions.NoPermissionError) else "command_refused"
            raise CollectionFailed(self.name, kind) from error
        self.reachability.worked()

    def _unavailable(self, kind: str) -> SourceUnavailable:
        self.reachability.failed(kind)
        return SourceUnavailable(self.name, kind)


def _connection_kind(error: BaseException | None) -> str:
    """A constant for what the driver, or what it was caused by, says of a connection that failed."""
    while error is not None:
        if isinstance(error, socket.gaierror):
            return "unknown_host"
        if isinstance(error, ConnectionRefusedError) or "refused" in str(error) or "Error 111" in str(error):
            return "refused"
        error = error.__cause__ or error.__context__
    return "connection_lost"


def is_wildcard(pattern: str) -> bool:
    """Whether a key pattern can match more than the key of that name."""
    return any(character in pattern for character in "*?[")


def _text(value: bytes | None) -> str | None:
    """As text that every other system takes: PostgreSQL has no NUL."""
    return None if value is None else value.decode("utf-8", "replace").replace("\0", "\u2400")
