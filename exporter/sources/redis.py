"""Redis or Valkey, read only and without blocking it: SCAN in steps, pipelined reads of a few hundred keys at a time.

A key of another type than expected, or deleted since the SCAN, is one missing value, never an error of the source; so
is a key with a value that makes the answer too large (`ANSWER_BYTES`). This module does not know the meaning of keys.

redis-py connects, authenticates, parses and applies the time limits. This module decides on the size of batches:
commands are packed, and their answers read, a batch at a time. One by one, redis-py spends more time on each of a
million keys than the server.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from redis import exceptions
from redis.asyncio import connection as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import Reachability
from exporter.sources.redis_batches import Answers, AnswersTooLarge, BatchConnection, BatchParser, in_batches
from exporter.sources.redis_commands import Command, packed, packer, scan
from exporter.sources.redis_refusals import DOWN, NOT_UNDERSTOOD, TOO_LARGE, failure_kind, refusal_kind, unready_kind
from exporter.urls import read_redis

COMMAND_SECONDS = 1.0
"""Time limit of the server for accepting a connection, reading a batch of commands, answering a batch."""

SCAN_COUNT = 1_000
"""Keys examined by one SCAN where few keys are read afterwards: 0.3 ms of the server's time."""

PIPELINE_KEYS = 125
"""Keys per batch. The server has at most two such batches pending, and a SCAN of the same size: another client may have
to wait for these, 0.4 ms on average. Doubling the batch gives no higher speed while the server has a core to itself."""

STRING_BYTES = 100
"""Bytes that are read of a string: it may have any length, and a longer one has no meaning here."""

FIELD_BYTES = 1_000
"""Bytes that are kept of a hash's field. A longer value ends in an ellipsis, so that it is neither a number nor a word
by its beginning."""

CONNECTIONS = 8
"""One for each collector of Redis, whose passes over many keys may coincide, and one for keys within a pass."""

_CONNECTIONS: Mapping[str, type[driver.AbstractConnection]] = {
    "redis": driver.Connection,
    "rediss": driver.SSLConnection,
    "unix": driver.UnixDomainSocketConnection,
}

# redis-py before 5.3 asks for a name, which it does not use; later versions warn of it.
_NAME_PARAMETER = inspect.signature(driver.ConnectionPool.get_connection).parameters.get("command_name")
_COMMAND_NAME = ("_",) if _NAME_PARAMETER is not None and _NAME_PARAMETER.default is inspect.Parameter.empty else ()

Fields = tuple[str | None, ...]


class WrongType(Exception):
    """A key that holds another type than the command expects, in place of its value."""


class TooLarge(WrongType):
    """A key whose value is too large to be read, in place of it."""


@dataclass(frozen=True, slots=True)
class Hashes:
    """A batch of the hashes of a pass: the values of the requested fields, as bytes and None where missing, in the
    order of the keys; and the keys that are no hash."""

    keys: Sequence[bytes]
    rows: Sequence[Sequence[bytes | None]]
    wrong_type: Sequence[bytes] = ()


class Redis:
    """A client of one server. `url` must be valid for `urls.read_redis`; raises InvalidUrl otherwise."""

    name = "redis"

    def __init__(self, url: str) -> None:
        self.reachability = Reachability(self.name, has_identity=True)
        self._run_id: bytes | None = None
        given = read_redis(url)
        defaults: dict[str, Any] = {
            "protocol": 2,  # with 3, redis-py 8 returns connections that the server has closed
            "socket_timeout": COMMAND_SECONDS,
            "socket_connect_timeout": COMMAND_SECONDS,
            "retry": Retry(NoBackoff(), 0),  # the next refresh is the retry
            "retry_on_error": [],
            "max_connections": CONNECTIONS,
            "client_name": "hivesync-analytics",
        }
        if given.scheme == "rediss" and given.options.get("ssl_cert_reqs") != "none":
            defaults["ssl_check_hostname"] = True  # as it is by default since redis-py 6
        options = {**defaults, **given.options, "parser_class": BatchParser}
        self._pool = driver.ConnectionPool(in_batches(_CONNECTIONS[given.scheme]), **options)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    async def time(self) -> float:
        """Return the server's clock, in unix seconds."""
        answers = await self._answers(packed(Command.TIME.encode()), 1, _is_time)
        seconds, micro = map(int, answers[0])
        return seconds + micro / 1_000_000

    async def ask(self, *words: bytes) -> Any:
        """Return the answer to one command, or WrongType. Raises CollectionFailed for a refused command."""
        (answer,) = await self._answers(packed(*words), 1, lambda _: True)
        return answer

    async def keys(
        self, patterns: Iterable[str], named: Collection[bytes] = ()
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """Yield these keys, and those that match any pattern, a batch at a time; a pattern without a wildcard is a key.
        To be closed if it is not read to its end. Between two batches no connection is in use.

        A key may occur more than once: SCAN may return it twice, and so may two patterns.
        """
        wildcards, others = _split(patterns)
        for some in _batches(sorted({*named, *others})):
            yield some
        for pattern in wildcards:
            cursor: bytes | None = b"0"
            while cursor is not None:
                cursor, keys = await self._scan(pattern, cursor)
                for some in _batches(keys):
                    yield some

    async def hashes(self, keys: Sequence[bytes], fields: Sequence[str]) -> list[Fields | WrongType]:
        """Return, per key, the values of these fields of its hash (None where missing), in the order of both."""
        rows = await self._rows(keys, fields)
        return [row if isinstance(row, WrongType) else tuple(map(_field, row)) for row in rows]

    async def strings(self, keys: Sequence[bytes]) -> list[str | WrongType | None]:
        """Return, per key, the first STRING_BYTES of its string, None where it is missing or empty."""
        values = await self._values(
            packer(Command.GETRANGE, ("0", str(STRING_BYTES - 1))), keys, lambda answer: isinstance(answer, bytes)
        )
        return [value if isinstance(value, WrongType) else as_text(value or None) for value in values]

    async def lengths(self, keys: Sequence[bytes]) -> list[int | WrongType]:
        """Return, per key, the length of its list, 0 where there is none."""
        return await self._values(packer(Command.LLEN), keys, lambda answer: isinstance(answer, int))

    async def sizes(self, keys: Sequence[bytes]) -> list[int | WrongType]:
        """Return, per key, the number of fields of its hash, 0 where there is none."""
        return await self._values(packer(Command.HLEN), keys, lambda answer: isinstance(answer, int))

    async def lowest_score(self, key: bytes) -> float | WrongType | None:
        """Return the lowest score in a sorted set; None where there is none."""
        (lowest,) = await self._values(packer(Command.ZRANGE, ("0", "0", "WITHSCORES")), [key], _is_scored)
        if isinstance(lowest, WrongType):
            return lowest
        return float(lowest[1]) if lowest else None

    async def all_hashes(self, patterns: Iterable[str], fields: Sequence[str]) -> AsyncGenerator[Hashes, None]:
        """Pass over all hashes whose keys match any pattern, a batch at a time. To be closed if it is not read to its
        end.

        A key may occur more than once: SCAN may return it twice, and so may two patterns. A key deleted meanwhile has a
        row without values, like a missing key that is named by a pattern without a wildcard.
        """
        wildcards, named = _split(patterns)
        for keys in _batches(sorted(named)):
            yield _hashes(keys, await self._rows(keys, fields), len(fields))
        for pattern in wildcards:
            try:
                async with aclosing(self._pass(pattern, fields)) as batches:
                    async for batch in batches:
                        yield batch
                continue
            except CollectionFailed as error:
                if error.kind != TOO_LARGE:
                    raise
            # The pass is repeated, without a batch pending: only then is it known which keys have the large values.
            async with aclosing(self.keys([pattern])) as found:
                async for keys in found:
                    yield _hashes(keys, await self._rows(keys, fields), len(fields))

    async def _pass(self, pattern: str, fields: Sequence[str]) -> AsyncGenerator[Hashes, None]:
        pack = packer(Command.HMGET, fields)
        async with self._connection() as connection:
            # While a batch is read here, the server processes the next one and the SCAN after that. The order of
            # commands is SCAN 1, SCAN 2, HMGET for the keys of SCAN 1, SCAN 3, HMGET for the keys of SCAN 2, ...
            await connection.send(scan(pattern, b"0", PIPELINE_KEYS))
            cursor: bytes | None = b"0"
            asked: Sequence[bytes] = ()
            while cursor is not None:
                cursor, found = _scanned(await connection.receive(1))
                await connection.send(scan(pattern, cursor, PIPELINE_KEYS) + pack(found))
                if asked:
                    yield _hashes(asked, await connection.receive(len(asked)), len(fields))
                asked = found
                await asyncio.sleep(0)  # answers that have already arrived must not block other tasks
            if asked:
                yield _hashes(asked, await connection.receive(len(asked)), len(fields))

    async def _scan(self, pattern: str, cursor: bytes) -> tuple[bytes | None, Sequence[bytes]]:
        """Return the next cursor, None at the end, and the keys: fewer of them where their names are long."""
        count = SCAN_COUNT
        while True:
            try:
                async with self._connection() as connection:
                    await connection.send(scan(pattern, cursor, count))
                    return _scanned(await connection.receive(1))
            except CollectionFailed as error:
                if error.kind != TOO_LARGE or count == 1:
                    raise
            count //= 10

    async def _rows(self, keys: Sequence[bytes], fields: Sequence[str]) -> Answers:
        return await self._values(packer(Command.HMGET, fields), keys, lambda answer: _are_rows([answer], len(fields)))

    async def _values(
        self, pack: Callable[[Sequence[bytes]], bytes], keys: Sequence[bytes], is_value: Callable[[Any], bool]
    ) -> Answers:
        answers: Answers = []
        for some in _batches(keys):
            answers += await self._batch(pack, some, is_value)
            await asyncio.sleep(0)
        return answers

    async def _batch(
        self, pack: Callable[[Sequence[bytes]], bytes], keys: Sequence[bytes], is_value: Callable[[Any], bool]
    ) -> Answers:
        """Return an answer per key. Where they are too large together, the batch is halved."""
        try:
            return await self._answers(pack(keys), len(keys), is_value)
        except CollectionFailed as error:
            if error.kind != TOO_LARGE:
                raise
        if len(keys) == 1:
            return [TooLarge()]
        middle = len(keys) // 2
        return [
            *await self._batch(pack, keys[:middle], is_value),
            *await self._batch(pack, keys[middle:], is_value),
        ]

    async def _answers(self, commands: bytes, number: int, is_value: Callable[[Any], bool]) -> Answers:
        async with self._connection() as connection:
            await connection.send(commands)
            answers = _checked(await connection.receive(number))
            for answer in answers:
                if not isinstance(answer, WrongType) and not is_value(answer):
                    raise exceptions.InvalidResponse(NOT_UNDERSTOOD)
            return answers

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[BatchConnection]:
        """Take a connection from the pool. A connection with unread answers, for any reason, is closed: they must not
        reach another reader."""
        with self._reached():
            connection = await self._connected()
            try:
                yield connection
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            finally:
                await self._pool.release(connection)

    async def _connected(self) -> BatchConnection:
        """Return a connection on which user, name and database are set. After any failure before that, the source is
        down."""
        try:
            connection = cast("BatchConnection", await self._pool.get_connection(*_COMMAND_NAME))  # type: ignore[no-untyped-call]
            try:
                await self._identify(connection)
            except BaseException:
                await connection.disconnect(nowait=True)
                await self._pool.release(connection)
                raise
        except (exceptions.RedisError, OSError, TypeError, ValueError, RuntimeError) as error:
            raise self._unavailable(refusal_kind(error)) from error
        return connection

    async def _identify(self, connection: BatchConnection) -> None:
        """Record whether another server answers than before: a replica, or the same one after a restart."""
        if self._run_id is not None and connection.run_id != self._run_id and not connection.is_new:
            await connection.disconnect()
            await connection.connect()
        connection.is_new = False
        before, self._run_id = self._run_id, connection.run_id or self._run_id
        if before is not None and self._run_id != before:
            self.reachability.changed("run_id")

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Convert the driver's errors, and record whether the server answered."""
        try:
            yield
        except DOWN as error:
            raise self._unavailable(failure_kind(error)) from error
        except AnswersTooLarge as error:
            self.reachability.worked()
            raise CollectionFailed(self.name, TOO_LARGE) from error
        except exceptions.RedisError as error:
            if (kind := unready_kind(error)) is not None:
                raise self._unavailable(kind) from error
            self.reachability.worked()  # it answered
            raise CollectionFailed(self.name, refusal_kind(error)) from error
        self.reachability.worked()

    def _unavailable(self, kind: str) -> SourceUnavailable:
        self.reachability.failed(kind)
        return SourceUnavailable(self.name, kind)


def _scanned(answers: Answers) -> tuple[bytes | None, Sequence[bytes]]:
    """Return the result of a SCAN: the next cursor, None at the end, and the keys."""
    match _checked(answers):
        case [[bytes() as cursor, list() as keys]] if set(map(type, keys)) <= {bytes}:
            return None if cursor == b"0" else cursor, keys
    raise exceptions.InvalidResponse(NOT_UNDERSTOOD)


def _is_time(answer: Any) -> bool:
    return _are_rows([answer], 2) and all(number is not None and number.isdigit() for number in answer)


def _is_scored(answer: Any) -> bool:
    """Return whether this is at most one member of a sorted set, with its score."""
    return answer == [] or _are_rows([answer], 2)


def _are_rows(answers: Answers, fields: int) -> bool:
    """Return whether each answer has a value, or None, for every field; takes little time."""
    return (
        set(map(type, answers)) <= {list}
        and set(map(len, answers)) <= {fields}
        and set(map(type, chain.from_iterable(answers))) <= {bytes, type(None)}
    )


def _checked(answers: Answers) -> Answers:
    """Return answers that are values, or WrongType; raise any other error among them."""
    for index, answer in enumerate(answers):
        if isinstance(answer, exceptions.ResponseError) and str(answer).startswith("WRONGTYPE"):
            answers[index] = WrongType()
        elif isinstance(answer, Exception) and not isinstance(answer, WrongType):
            raise answer
    return answers


def _hashes(keys: Sequence[bytes], answers: Answers, fields: int) -> Hashes:
    if _are_rows(answers, fields):  # almost always the case
        return Hashes(keys, answers)
    answered = list(zip(keys, _checked(answers), strict=True))
    found = [(key, row) for key, row in answered if not isinstance(row, WrongType)]
    if not _are_rows([row for _, row in found], fields):
        raise exceptions.InvalidResponse(NOT_UNDERSTOOD)
    return Hashes(
        keys=[key for key, _ in found],
        rows=[row for _, row in found],
        wrong_type=[key for key, row in answered if isinstance(row, WrongType)],
    )


def _batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[start : start + PIPELINE_KEYS] for start in range(0, len(keys), PIPELINE_KEYS))


def _split(patterns: Iterable[str]) -> tuple[list[str], set[bytes]]:
    """Return the patterns with wildcards, and the keys named by the others."""
    patterns = list(patterns)
    return list(filter(is_wildcard, patterns)), {p.encode() for p in patterns if not is_wildcard(p)}


def is_wildcard(pattern: str) -> bool:
    """Return whether a key pattern can match more than the key of that name."""
    return any(character in pattern for character in "*?[")


def _field(value: bytes | None) -> str | None:
    text = as_text(value if value is None else value[:FIELD_BYTES])
    return text if text is None or value is None or len(value) <= FIELD_BYTES else f"{text}\N{HORIZONTAL ELLIPSIS}"


def as_text(value: bytes | None) -> str | None:
    """Return the value as text that is valid in every other system: PostgreSQL does not support NUL."""
    return None if value is None else value.decode("utf-8", "replace").replace("\0", "\u2400")
