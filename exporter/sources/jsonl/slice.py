"""The result of one read: whole lines, as they stand in the bytes that were read, taken in small batches.

`log.py` collects a slice in a thread, a collector processes its lines on the event loop. Therefore no function here
scans all bytes of a slice at once: the thread only finds the ends of batches, and each batch is copied when it is
processed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from exporter.sources.jsonl.position import Position

BATCH_BYTES = 64 * 1024
"""About 300 lines, which take 0.2 ms: short relative to the few milliseconds of a scrape, and long relative to the cost
of an iteration of the event loop."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The next lines of a log.

    `pieces` are whole lines with their newlines; `oversized` counts the lines that were too long, which are not among
    them; `position` is the position after both. `unread_bytes` is the number of unread bytes in all known files: bytes
    after the position, and for a compressed file its size on disk until it is read to its end. `more`: the slice ended
    because it was full.
    """

    pieces: list[memoryview]
    oversized: int
    position: Position
    unread_bytes: int
    more: bool

    def batches(self) -> Iterator[bytes]:
        """Yield the lines, with their newlines and including blank ones, in batches."""
        return (piece.tobytes() for piece in self.pieces)


@dataclass(slots=True)
class Reading:
    """The content of a slice so far, the number of bytes it may still read, and whether to wait for missing files."""

    budget: int
    waiting: bool = False
    pieces: list[memoryview] = field(default_factory=list)
    oversized: int = 0
    unread: int = 0
    more: bool = False
    lost: list[dict[str, Any]] = field(default_factory=list)

    def take(self, content: bytes, begin: int, end: int, line_limit: int) -> None:
        """Add the lines from `begin` to `end`, cut at ends of lines, without lines longer than the limit."""
        view = memoryview(content)
        most = min(BATCH_BYTES, line_limit)
        while begin < end:
            cut = content.rfind(b"\n", begin, min(begin + most, end)) + 1
            longest = most
            if not cut:  # one line that is longer or without a newline
                newline = content.find(b"\n", begin, end)
                cut, longest = (end, end - begin) if newline < 0 else (newline + 1, newline - begin)
            if longest > line_limit and b"\0" in content[begin : begin + 1]:
                nul = _nul(content, begin, cut)
                longest, begin = longest - nul, begin + nul  # NUL bytes are no part of the line
            if longest > line_limit:
                self.oversized += 1
            else:
                self.pieces.append(view[begin:cut])
            begin = cut


def _nul(content: bytes, begin: int, end: int) -> int:
    """Return the number of NUL bytes at `begin`."""
    return end - begin - len(content[begin:end].lstrip(b"\0"))
