"""A reader of logs like a collector, and operations of tests on its files."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from exporter.sources.jsonl import JsonlLog, Position, Slice

LINE_LIMIT = 2000


class Reader:
    """Reads as a collector does: the position is kept as JSON, and `restart` stands for another process."""

    def __init__(self, path: Path, archives: Sequence[Path] = ()) -> None:
        self.path = path
        self.archives = archives
        self.ahead = 0.0
        self.position: bytes | None = None
        self.oversized = 0
        self.unread_bytes = 0
        self.log = self._log()

    def _log(self) -> JsonlLog:
        def clock() -> float:
            return time.time() + self.ahead

        return JsonlLog("ai_events_log", self.path, self.archives, line_limit=LINE_LIMIT, clock=clock)

    def restart(self) -> None:
        self.log.close()
        self.log = self._log()

    def slice(self, limit: int = 1 << 20) -> tuple[list[bytes], bool]:
        before = None if self.position is None else Position.from_state(orjson.loads(self.position))
        found = self.log.read(before, limit)
        self.position = orjson.dumps(found.position.to_state())
        self.oversized += found.oversized
        self.unread_bytes = found.unread_bytes
        return lines_of(found), found.more

    def read(self, limit: int = 1 << 20) -> list[bytes]:
        lines, more = self.slice(limit)
        while more:
            next_lines, more = self.slice(limit)
            lines += next_lines
        return lines

    def read_after_grace(self) -> list[bytes]:
        self.ahead += 61
        try:
            return self.read()
        finally:
            self.ahead -= 61


def lines(first: int, last: int) -> list[bytes]:
    return [b'{"n":%d,"ts":"2025-01-01T00:00:00Z"}' % number for number in range(first, last + 1)]


def lines_of(found: Slice) -> list[bytes]:
    return [line for batch in found.batches() for line in batch.split(b"\n") if line.strip()]


def text(first: int, last: int) -> bytes:
    return b"".join(line + b"\n" for line in lines(first, last))


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def rotate_by_rename(path: Path, to: str = ".1") -> Path:
    old = path.with_name(path.name + to)
    path.rename(old)
    path.write_bytes(b"")
    return old


def rotate_by_copy(path: Path, to: str = ".1") -> Path:
    old = path.with_name(path.name + to)
    shutil.copyfile(path, old)
    os.truncate(path, 0)
    return old


def compress(path: Path) -> Path:
    archive = path.with_name(path.name + ".gz")
    archive.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return archive


rotations = pytest.mark.parametrize("rotate", [rotate_by_rename, rotate_by_copy])
suffixes = pytest.mark.parametrize(
    "suffix", [".1", "-20250101", ".2025-01-01", ".20250101", "-20250101-1735689600", ".2025-01-01_10-30-00"]
)

Rotate = Callable[[Path, str], Path]


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """Make opening the file fail as without permission, for root too."""
    real = os.open

    def refusing(name: Path, flags: int, mode: int = 0o777) -> int:
        if name == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, flags, mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refusing)
        yield


@contextmanager
def most_memory(most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
