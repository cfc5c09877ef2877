"""What one read hands over: whole lines, as they stand in the bytes that were read, to be taken in small batches.

`log.py` gathers a slice in a thread, a collector takes its lines apart on the event loop. So nothing here looks at all
bytes of a slice in one go: the thread only finds where batches end, and each batch is copied out when its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from exporter.sources.jsonl.position import Position

BATCH_BYTES = 64 * 1024
"""About 300 lines, which take 0.2 ms: short beside the few milliseconds in which a scrape is answered, and long beside
what a turn of the event loop costs."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The next lines of a log.

    `pieces` are whole lines with their newlines; `oversized` counts those that were too long and are not among them;
    `position` is the one after both. `unread_bytes` is what is left in all files known: bytes after the position, and
    for a compressed file its size on disk until it is read to its end. `more`: the slice ended because it was full.
    """

    pieces: list[memoryview]
    oversized: int
    position: Position
    unread_bytes: int
    more: bool

    def batches(self) -> Iterator[bytes]:
        """The lines, with their newlines and blank ones among them, a few at a time."""
        return (piece.tobytes() for piece in self.pieces)


@dataclass(slots=True)
class Reading:
    """What one slice has gathered so far, how many bytes it may still read, and whether to wait for files missing."""

    budget: int
    waiting: bool = False
    pieces: list[memoryview] = field(default_factory=list)
    oversized: int = 0
    unread: int = 0
    more: bool = False
    lost: list[dict[str, Any]] = field(default_factory=list)

    def take(self, content: bytes, begin: int, end: int, line_limit: int) -> None:
        """Add the lines from `begin` to `end`: cut where one ends, and without those that are longer than the limit."""
        view = memoryview(content)
        most = min(BATCH_BYTES, line_limit)
        while begin < end:
            cut = content.rfind(b"\n", begin, min(begin + most, end)) + 1
            longest = most
            if not cut:  # one line, longer than that or without a newline
                newline = content.find(b"\n", begin, end)
                cut, longest = (end, end - begin) if newline < 0 else (newline + 1, newline - begin)
            if longest > line_limit and b"\0" in content[begin : begin + 1]:
                nul = _nul(content, begin, cut)
                longest, begin = longest - nul, begin + nul  # they are no part of the line
            if longest > line_limit:
                self.oversized += 1
            else:
                self.pieces.append(view[begin:cut])
            begin = cut


def _nul(content: bytes, begin: int, end: int) -> int:
    """How many NUL bytes begin there."""
    return end - begin - len(content[begin:end].lstrip(b"\0"))
