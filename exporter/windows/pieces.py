"""Pieces of a long reading, so that no statement takes long, whatever the size of the tables.

    async for piece, rows in in_pieces(transaction, plan.new, self._read):
        ...

All pieces are read in one transaction: together they are the same rows as one reading of the whole part. The duration
of each piece decides on the length of the next one. A piece that the server cuts short is read again, in shorter ones.
A transaction reads the newest piece first: it has the most rows, where a table grows.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from exporter.errors import CollectionFailed
from exporter.sources.postgres import Transaction
from exporter.sources.refusals import STATEMENT_TIMEOUT
from exporter.windows.units import HOUR, MINUTE, Part

FIRST = HOUR
"""Length of the first piece."""

GOAL_SECONDS = 2.0
"""Duration that pieces approach: a quarter of the server's limit, as the load may grow between two of them."""

MOST_GROWTH = 24
"""The greatest factor between the lengths of two pieces: the first is too short to predict a month's."""

SAVING = 0.75
"""A longer piece that needs at most this share of the time per minute saves time: where no index finds the rows, each
piece reads the whole table, so that a few long pieces are cheaper than many."""

CUT = 4
"""The piece that replaces one that the server cut short is that many times shorter."""

T = TypeVar("T")


class Pace:
    """The length (microseconds) of the next piece: whole minutes."""

    def __init__(self, longest: int | None = None, first: int = FIRST) -> None:
        self._longest: float = math.inf if longest is None else longest
        self._seconds_per_length = math.inf
        self.length = MINUTE
        self._set(first)

    def took(self, seconds: float) -> None:
        """Note the duration of a piece of this length."""
        per_length = seconds / self.length
        if seconds < GOAL_SECONDS:
            factor = min(MOST_GROWTH, GOAL_SECONDS / max(seconds, 0.001))
        elif per_length < SAVING * self._seconds_per_length:
            factor = 2.0
        else:
            factor = GOAL_SECONDS / seconds
        self._seconds_per_length = per_length
        self._set(self.length * factor)

    def cut_short(self) -> bool:
        """Note that a piece of this length took too long. Return whether shorter ones are possible."""
        was = self.length
        self._longest = was // 2
        self._set(was // CUT)
        return self.length < was

    def _set(self, length: float) -> None:
        self.length = max(MINUTE, int(min(length, self._longest)) // MINUTE * MINUTE)


async def in_pieces(
    transaction: Transaction,
    part: Part,
    read: Callable[[Part], Awaitable[T]],
    *,
    longest: int | None = None,
    first: int = FIRST,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[tuple[Part, T], None]:
    """Yield the pieces of a part, the newest first, and the result of `read` for each. They meet at whole minutes.

    `read` may be called again for a shorter piece: it must not keep anything. `longest` is the maximum length of a
    piece, `first` the length of the first one. Raises CollectionFailed where the shortest piece takes too long too.
    """
    pace, end = Pace(longest, first), part.end
    while end > part.start:
        piece = Part(max(part.start, (end - pace.length) // MINUTE * MINUTE), end)
        began = clock()
        try:
            async with transaction.savepoint():
                result = await read(piece)
        except CollectionFailed as error:
            # A query that an administrator cancels fails in the same way, but earlier.
            is_slow = error.kind == STATEMENT_TIMEOUT and clock() - began >= transaction.statement_seconds
            if not (is_slow and pace.cut_short()):
                raise
            continue
        pace.took(clock() - began)
        yield piece, result
        end = piece.start
