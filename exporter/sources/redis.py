"""Redis or Valkey, read only and without ever blocking it: SCAN in steps, pipelined reads of a few hundred keys at a
time.

A key of another type than expected, or gone since the SCAN, is one value that is missing, never an error of the
source. Nothing here knows what a key means.

redis-py connects, authenticates, parses and keeps the time limits. Ours is how much goes through it at once: commands
are packed, and their answers taken, a batch at a time. One by one redis-py spends more on each of a million keys than
the server does.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from redis import exceptions
from redis.asyncio import connection as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import Reachability
from exporter.urls import read_redis

COMMAND_SECONDS = 1.0
"""How long the server may take to accept a connection, to take a batch of commands, to answer a batch."""

SCAN_COUNT = 1_000
"""Keys that one SCAN looks at where little is asked about what it finds: 0.3 ms of the server's time."""

PIPELINE_KEYS = 125
"""Keys that are asked about at once. The server has two such batches at most, and a SCAN for as many keys: so much
another client may have to wait for, 0.4 ms on average. Twice as many are read no faster while the server has a core
to itself."""

_CONNECTIONS: Mapping[str, type[driver.AbstractConnection]] = {
    "redis": driver.Connection,
    "rediss": driver.SSLConnection,
    "unix": driver.UnixDomainSocketConnection,
}

_DOWN = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.InvalidResponse, OSError)
"""Errors of a server that cannot be reached, or that cannot be asked yet; refused authentication is one of redis-py's
connection errors. TimeoutError is an OSError."""

Fields = tuple[str | None, ...]
Answers = list[Any]


class WrongType(Exception):
    """In place of a value: the key holds another type than the command expects."""


@dataclass(frozen=True, slots=True)
class Hashes:
    """Some of the hashes of a pass: the values of the fields asked for, as bytes and None where missing, in the order
    of the keys; and the keys that are no hash."""

    keys: Sequence[bytes]
    rows: Sequence[Sequence[bytes | None]]
    wrong_type: Sequence[bytes] = ()


class Redis:
    """A client of one server. `url` is one that `urls.read_redis` understands; it raises InvalidUrl otherwise."""

    name = "redis"

    def __init__(self, url: str) -> None:
        self.reachability = Reachability(self.name)
        given = read_redis(url)
        defaults: dict[str, Any] = {
            "protocol": 2,  # with 3, redis-py 8 hands out connections that the server has closed
            "socket_timeout": COMMAND_SECONDS,
            "socket_connect_timeout": COMMAND_SECONDS,
            "retry": Retry(NoBackoff(), 0),  # the next refresh is the retry
            "retry_on_error": [],
            "max_connections": 4,
            "client_name": "hivesync-analytics",
        }
        options = {**defaults, **given.options, "parser_class": _BatchParser}
        self._pool = driver.ConnectionPool(_in_batches(_CONNECTIONS[given.scheme]), **options)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    async def time(self) -> float:
        """The server's clock, in unix seconds."""
        ((seconds, micro),) = await self._answers(_packed(b"TIME"), 1)
        return int(seconds) + int(micro) / 1_000_000

    async def keys(self, patterns: Iterable[str]) -> list[bytes]:
        """The keys that match any pattern, each once, sorted; a pattern without a wildcard is returned as it is."""
        wildcards, found = _split(patterns)
        for pattern in wildcards:
            async with self._connection() as connection:
                cursor: bytes | None = b"0"
                while cursor is not None:
                    await connection.send(_scan(pattern, cursor, SCAN_COUNT))
                    cursor, keys = _scanned(await connection.receive(1))
                    found.update(keys)
        return sorted(found)

    async def hashes(self, keys: Sequence[bytes], fields: Sequence[str]) -> list[Fields | WrongType]:
        """For each key the values of these fields of its hash (None where missing), in the order of both."""
        rows = await self._values(_packer("HMGET", fields), keys)
        return [row if isinstance(row, WrongType) else tuple(map(as_text, row)) for row in rows]

    async def lengths(self, keys: Sequence[bytes]) -> list[int | WrongType]:
        """For each key the length of its list, 0 where there is none."""
        return await self._values(_packer("LLEN"), keys)

    async def all_hashes(self, patterns: Iterable[str], fields: Sequence[str]) -> AsyncGenerator[Hashes, None]:
        """A pass over all hashes whose keys match any pattern, a batch at a time. Close it if it is not read to its
        end.

        A key may come more than once: SCAN may find it twice, and so may two patterns. One that is gone since has a row
        without values, as has one that does not exist and is named by a pattern without a wildcard.
        """
        wildcards, named = _split(patterns)
        pack = _packer("HMGET", fields)
        async with self._connection() as connection:
            for keys in _batches(sorted(named)):
                await connection.send(pack(keys))
                yield _hashes(keys, await connection.receive(len(keys)))
            for pattern in wildcards:
                # While a batch is read here, the server works on the next one and on the SCAN after that: what goes out
                # is SCAN 1, SCAN 2, HMGET for what SCAN 1 found, SCAN 3, HMGET for what SCAN 2 found, ...
                await connection.send(_scan(pattern, b"0", PIPELINE_KEYS))
                cursor: bytes | None = b"0"
                asked: Sequence[bytes] = ()
                while cursor is not None:
                    cursor, found = _scanned(await connection.receive(1))
                    await connection.send(_scan(pattern, cursor, PIPELINE_KEYS) + pack(found))
                    if asked:
                        yield _hashes(asked, await connection.receive(len(asked)))
                    asked = found
                    await asyncio.sleep(0)  # answers that are there already are no reason to keep others waiting
                if asked:
                    yield _hashes(asked, await connection.receive(len(asked)))

    async def _values(self, pack: Callable[[Sequence[bytes]], bytes], keys: Sequence[bytes]) -> Answers:
        answers: Answers = []
        for some in _batches(keys):
            answers += await self._answers(pack(some), len(some))
        return answers

    async def _answers(self, commands: bytes, number: int) -> Answers:
        async with self._connection() as connection:
            await connection.send(commands)
            return _checked(await connection.receive(number))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_BatchConnection]:
        """One to ask. What is not read to its end, for whatever reason, is closed: nobody else may read its answers."""
        with self._reached():
            connection = await self._connected()
            try:
                yield connection
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            finally:
                await self._pool.release(connection)

    async def _connected(self) -> _BatchConnection:
        """A connection on which user, name and database are set. Whatever fails before, the source is down: nothing can
        be asked."""
        try:
            return cast("_BatchConnection", await self._pool.get_connection())  # type: ignore[no-untyped-call]
        except (exceptions.RedisError, OSError, TypeError, ValueError) as error:
            raise self._unavailable(_refusal_kind(error)) from error

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turns the driver's errors into ours and notes whether the server answered."""
        try:
            yield
        except _DOWN as error:
            raise self._unavailable(_failure_kind(error)) from error
        except exceptions.RedisError as error:
            self.reachability.worked()  # it answered
            raise CollectionFailed(self.name, _refusal_kind(error)) from error
        self.reachability.worked()

    def _unavailable(self, kind: str) -> SourceUnavailable:
        self.reachability.failed(kind)
        return SourceUnavailable(self.name, kind)


class _BatchParser(driver.DefaultParser):  # type: ignore[misc, valid-type]  # which parser it is depends on hiredis
    """redis-py's parser, which can be told to hand over many answers as one."""

    number: int | None = None
    """How many the next response is to have, in a list; None for the usual one."""

    def on_connect(self, connection: driver.AbstractConnection) -> None:
        super().on_connect(connection)
        self._none_yet = self._reader.gets()

    async def read_response(self, disable_decoding: bool = False, push_request: bool = False) -> Any:
        if self.number is None:
            return await super().read_response(disable_decoding, push_request)
        number, self.number = self.number, None
        answers: Answers = []
        while True:
            answers += islice(iter(self._reader.gets, self._none_yet), number - len(answers))
            if len(answers) == number:
                return answers
            await self.read_from_socket()


class _BatchConnection(driver.AbstractConnection):
    """A connection of redis-py's that is asked many things at once."""

    async def send(self, commands: bytes) -> None:
        """Packed commands."""
        await self.send_packed_command(commands, check_health=False)

    async def receive(self, number: int) -> Answers:
        """The answers to the next so many commands, errors among them."""
        cast("_BatchParser", self._parser).number = number
        return cast("Answers", await self.read_response())


def _in_batches(kind: type[driver.AbstractConnection]) -> type[driver.AbstractConnection]:
    """The same kind of connection (TCP, TLS, Unix socket), asked in batches."""
    return type(f"Batch{kind.__name__}", (_BatchConnection, kind), {})


def _packed(*words: bytes) -> bytes:
    """A command as it is sent."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _packer(command: str, arguments: Sequence[str] = ()) -> Callable[[Sequence[bytes]], bytes]:
    """Packs a command for each of many keys: all the rest of it is always the same."""
    before, after = _packed(command.encode(), b"KEY", *(a.encode() for a in arguments)).split(b"$3\r\nKEY\r\n", 1)
    return lambda keys: b"".join([b"%b$%d\r\n%b\r\n%b" % (before, len(key), key, after) for key in keys])


def _scan(pattern: str, cursor: bytes | None, count: int) -> bytes:
    """The SCAN that goes on there; nothing where there is nothing more."""
    if cursor is None:
        return b""
    return _packed(b"SCAN", cursor, b"MATCH", pattern.encode(), b"COUNT", str(count).encode())


def _scanned(answers: Answers) -> tuple[bytes | None, Sequence[bytes]]:
    """What a SCAN says: where to go on, None at the end, and the keys."""
    ((cursor, keys),) = _checked(answers)
    return None if cursor == b"0" else cursor, keys


def _checked(answers: Answers) -> Answers:
    """Answers that are values, or WrongType; raises any other error that there is."""
    for index, answer in enumerate(answers):
        if isinstance(answer, exceptions.ResponseError) and str(answer).startswith("WRONGTYPE"):
            answers[index] = WrongType()
        elif isinstance(answer, Exception):
            raise answer
    return answers


def _hashes(keys: Sequence[bytes], answers: Answers) -> Hashes:
    if set(map(type, answers)) == {list}:  # almost always, and found out in no time
        return Hashes(keys, answers)
    answered = list(zip(keys, _checked(answers), strict=True))
    found = [(key, row) for key, row in answered if not isinstance(row, WrongType)]
    return Hashes(
        keys=[key for key, _ in found],
        rows=[row for _, row in found],
        wrong_type=[key for key, row in answered if isinstance(row, WrongType)],
    )


def _batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[start : start + PIPELINE_KEYS] for start in range(0, len(keys), PIPELINE_KEYS))


def _split(patterns: Iterable[str]) -> tuple[list[str], set[bytes]]:
    """The patterns that have to be looked for, and the keys that the others name."""
    patterns = list(patterns)
    return list(filter(is_wildcard, patterns)), {p.encode() for p in patterns if not is_wildcard(p)}


def _refusal_kind(error: Exception) -> str:
    """A constant for what the server refused, or for how it failed."""
    if isinstance(error, _DOWN):
        return _failure_kind(error)
    if isinstance(error, exceptions.NoPermissionError):
        return "no_permission"
    if isinstance(error, exceptions.ResponseError):
        return "unknown_database" if "DB index" in str(error) else "command_refused"
    return "not_understood"


def _failure_kind(error: Exception) -> str:
    """A constant for how a server cannot be reached."""
    if isinstance(error, exceptions.AuthenticationError):
        return "authentication"
    if isinstance(error, exceptions.BusyLoadingError):
        return "loading"
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return "timeout"
    return _connection_kind(error)


def _connection_kind(error: BaseException | None) -> str:
    """A constant for what the driver, or what it was caused by, says of a connection that failed."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return "tls"
        if isinstance(error, socket.gaierror):
            return "unknown_host"
        if isinstance(error, FileNotFoundError | PermissionError):  # a socket, or a file of certificates
            return "missing" if isinstance(error, FileNotFoundError) else "permission"
        if isinstance(error, ConnectionRefusedError) or "refused" in str(error) or "Error 111" in str(error):
            return "refused"
        error = error.__cause__ or error.__context__
    return "connection_lost"


def is_wildcard(pattern: str) -> bool:
    """Whether a key pattern can match more than the key of that name."""
    return any(character in pattern for character in "*?[")


def as_text(value: bytes | None) -> str | None:
    """As text that every other system takes: PostgreSQL has no NUL."""
    return None if value is None else value.decode("utf-8", "replace").replace("\0", "\u2400")
