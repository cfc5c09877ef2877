"""Connections of redis-py's for batches of commands, and the identity of the server that answers.

redis batches (this) -> redis.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, cast

from redis import exceptions
from redis.asyncio import connection as driver

from exporter.sources.redis_commands import Command
from exporter.sources.redis_refusals import NOT_UNDERSTOOD, unready_kind

ANSWER_BYTES = 4 * 1024 * 1024
"""Limit of the answers to a batch of commands: thirty times those of 125 heartbeats, with values of any sense."""

_RUN_ID = re.compile(rb"^run_id:(\w+)", re.MULTILINE)

Answers = list[Any]


class AnswersTooLarge(exceptions.RedisError):
    """The answers to a batch of commands exceed ANSWER_BYTES: the rest of them is not read."""


class BatchParser(driver.DefaultParser):  # type: ignore[misc, valid-type]  # the class depends on hiredis
    """redis-py's parser with an option to return many answers as one."""

    number: int | None = None
    """Number of answers in the next response, returned as a list; None for a normal response."""

    def on_connect(self, connection: driver.AbstractConnection) -> None:
        super().on_connect(connection)
        self._none_yet = self._reader.gets()

    async def read_response(self, *arguments: Any, **options: Any) -> Any:  # redis-py's versions differ in these
        if self.number is None:
            return await super().read_response(*arguments, **options)
        number, self.number = self.number, None
        answers: Answers = []
        left = ANSWER_BYTES
        while True:
            answers += islice(iter(self._reader.gets, self._none_yet), number - len(answers))
            if len(answers) == number:
                return answers
            left -= await self._feed()
            if left < 0:
                raise AnswersTooLarge

    async def _feed(self) -> int:
        """Feed the reader, as `read_from_socket` does, and return the number of bytes."""
        content = await self._stream.read(self._read_size)
        if not content:
            raise exceptions.ConnectionError("closed by the server")
        self._reader.feed(content)
        return len(content)


_HAS_CHECKING_CONNECT = hasattr(driver.AbstractConnection, "on_connect_check_health")
"""Whether redis-py calls `on_connect_check_health` for a new connection; 5.2 calls `on_connect`."""


class BatchConnection(driver.AbstractConnection):
    """A connection of redis-py's for batches of commands, with the identity of its server."""

    run_id: bytes | None = None
    """The server's id, which changes at each start; None where it may not be read."""

    is_new = True
    """Whether no command was sent since it was connected."""

    async def connect(self) -> None:
        """Connect, unless connected: a connection that was reset while it was idle is no connection. redis-py looks for
        the end of a stream only."""
        reader = self._reader
        if reader is not None and reader.exception() is not None:
            await self.disconnect(nowait=True)
        await super().connect()  # type: ignore[no-untyped-call]

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)
        await self._read_run_id()

    async def on_connect(self) -> None:
        await super().on_connect()
        if not _HAS_CHECKING_CONNECT:
            await self._read_run_id()

    async def _read_run_id(self) -> None:
        await self.send_command(Command.INFO, "server", check_health=False)
        try:
            answer = await self.read_response()
        except exceptions.ResponseError as error:  # forbidden, or unknown to a proxy
            if unready_kind(error) is not None:
                raise
            answer = None
        found = _RUN_ID.search(answer) if isinstance(answer, bytes) else None
        self.run_id, self.is_new = found[1] if found else None, True

    async def send(self, commands: bytes) -> None:
        """Send packed commands."""
        with _driver_errors():
            await self.send_packed_command(commands, check_health=False)

    async def receive(self, number: int) -> Answers:
        """Return the answers to the next `number` commands, including errors."""
        cast("BatchParser", self._parser).number = number
        with _driver_errors():
            return cast("Answers", await self.read_response())


@contextmanager
def _driver_errors() -> Iterator[None]:
    """Convert errors of the driver's that are none of its own classes: uvloop's for a connection closed by the server,
    and the parser's for answers of impossible types."""
    try:
        yield
    except RuntimeError as error:
        raise exceptions.ConnectionError(str(error)) from error
    except (TypeError, ValueError) as error:
        raise exceptions.InvalidResponse(NOT_UNDERSTOOD) from error


def in_batches(kind: type[driver.AbstractConnection]) -> type[driver.AbstractConnection]:
    """Return the same kind of connection (TCP, TLS, Unix socket), for batches."""
    return type(f"Batch{kind.__name__}", (BatchConnection, kind), {})
