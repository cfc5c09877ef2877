"""A log's files: their names and which is older, and reading bytes from one, plain or compressed, renamed or not.

pygtail is asked here for the name that the live file was put away under last.
"""

from __future__ import annotations

import errno
import gzip
import os
import re
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path

from pygtail.core import Pygtail

from exporter.sources.jsonl.position import MARK_BYTES, Identity, Mark, Track

PIECE_BYTES = 1024 * 1024


class Rotation(Pygtail):  # type: ignore[misc]  # pygtail has no types
    """pygtail, asked for the name under which the live file was put away last, and for nothing else."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), offset_file=os.devnull)
        self._path = path

    def last(self) -> str | None:
        """The file name, None where there is none beside the live file."""
        found = Path(self._check_rotated_filename_candidates() or "")
        # A path with wildcards in it makes it find other files.
        mine = found.parent == self._path.parent and found.name.startswith(self._path.name)
        return found.name if mine else None

    def __del__(self) -> None:
        """pygtail's own would open the live file in order to close it."""


@dataclass(frozen=True, slots=True, order=True)
class Order:
    """Where a rotated name stands among its kind: the greater, the newer. Kinds cannot be compared by name."""

    scheme: str
    number: int = 0
    date: str = ""


LIVE = Order("live")
_SUFFIX = re.compile(r"(?:\.(?P<number>[1-9]\d{0,4})|(?P<date>[-.]\d{4}-?\d\d-?\d\d(?:[-_]\d+)*))(?:\.gz)?")


def order_of(name: str, base: str) -> Order | None:
    """`x.log.2` is older than `x.log.1.gz`, `x.log-20250101` than `x.log-20250102`; None for no rotated name."""
    match = _SUFFIX.fullmatch(name.removeprefix(base)) if name.startswith(base) else None
    if match is None:
        return None
    if match["number"]:
        return Order("number", number=-int(match["number"]))
    return Order(re.sub(r"\d", "0", match["date"]), date=match["date"])


@dataclass(frozen=True, slots=True)
class Name:
    """A name, and the file it stood for when it was looked at."""

    path: Path
    order: Order
    identity: Identity

    @property
    def live(self) -> bool:
        """Whether this is the name that is written to."""
        return self.order is LIVE


def name_at(path: Path, order: Order) -> Name | None:
    """None where there is no such file; what is a directory or a device is no log, and no rotated log either."""
    try:
        info = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(info.st_mode):
        if order is LIVE:
            raise IsADirectoryError(errno.EISDIR, "not a regular file")
        return None
    return Name(path, order, (info.st_dev, info.st_ino))


class File:
    """One file, opened when it is first read; after that it may be renamed or deleted. `name` is None when it was."""

    whole = True

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.name: Name | None = None
        self._opened: int | None = None

    @property
    def live(self) -> bool:
        """Whether it is the file that is written to."""
        return self.name is not None and self.name.live

    @property
    def held(self) -> bool:
        """Whether it is open, so that no other file can have its identity."""
        return self._opened is not None

    @property
    def descriptor(self) -> int:
        """The open file. Raises OSError ESTALE when the name has come to stand for another one."""
        if self._opened is None:
            if self.name is None:
                raise FileNotFoundError(errno.ENOENT, "closed, and without a name")
            opened = os.open(self.name.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            info = os.fstat(opened)
            if (info.st_dev, info.st_ino) != self.identity:
                os.close(opened)
                raise OSError(errno.ESTALE, "rotated just now")
            self._opened = opened
        return self._opened

    @property
    def readable(self) -> bool:
        """Whether we may open it."""
        try:
            return self.descriptor >= 0
        except PermissionError:
            return False

    def close(self) -> None:
        """Let the file go."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None

    def start(self) -> Track:
        """The track of a file of which nothing has been read."""
        return Track(*self.identity)

    def marked_read(self) -> Track:
        """The track of a file that is not to be read."""
        head = self.read_at(0, MARK_BYTES) if self.readable else b""
        return Track(*self.identity, head=Mark.of(head), state="read")

    def read_at(self, offset: int, length: int) -> bytes:
        """So many bytes from there on; fewer at the end."""
        return os.pread(self.descriptor, length, offset)

    def unread(self, offset: int) -> int:
        """How many bytes there are after `offset`."""
        return max(0, os.fstat(self.descriptor).st_size - offset)

    def quiet(self, now: float, grace: float) -> bool:
        """Whether it has not been written to, or renamed, for that long (the file system's clock against ours)."""
        info = os.fstat(self.descriptor)
        return now - max(info.st_mtime, info.st_ctime) >= grace

    def finished(self, end: int, now: float, grace: float) -> bool:
        """Whether a rotated file that was read up to `end` ends there for good."""
        return os.fstat(self.descriptor).st_size == end and self.quiet(now, grace)


class Archive(File):
    """A gzip file: offsets are those of what was compressed. It is read forward, and a short way back."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.whole = False  # until its end has been reached and is one
        self._stream: gzip.GzipFile | None = None
        self._head = b""
        self._window = bytearray()  # of the content, from `_start` on
        self._start = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """So many bytes from there on; fewer at the end, or where the archive is broken off."""
        if offset + length <= len(self._head):
            return self._head[offset : offset + length]
        stream = self._stream
        if stream is None or offset < self._start:
            stream = self._rewind()
        while self._start + len(self._window) < offset + length and self._pull(stream):
            # What was asked for is kept: the half line at its end, and the anchor before that, will be asked for again.
            passed = min(offset - self._start, len(self._window))
            if passed > 0:
                del self._window[:passed]
                self._start += passed
        begin = offset - self._start
        with memoryview(self._window) as window:
            return bytes(window[begin : begin + length])

    def unread(self, offset: int) -> int:
        """Its size on disk, or 0 when it has been read to its end."""
        at_end = self.whole and offset >= self._start + len(self._window)
        return 0 if at_end else os.fstat(self.descriptor).st_size

    def finished(self, end: int, now: float, grace: float) -> bool:
        """Nobody appends to an archive; but it may still be being made."""
        return self.whole or self.quiet(now, grace)

    def close(self) -> None:
        """Let the file go."""
        super().close()
        self._stream = None

    def _rewind(self) -> gzip.GzipFile:
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        self._window.clear()
        self._start = 0
        self._stream = gzip.GzipFile(fileobj=open(self.descriptor, "rb", closefd=False))  # noqa: SIM115
        return self._stream

    def _pull(self, stream: gzip.GzipFile) -> bool:
        """Decompress some more; False at the end."""
        try:
            piece = stream.read1(PIECE_BYTES)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            self._stream = None  # broken off: should it be being written, the next read starts over and gets further
            return False
        if not piece:
            self.whole = os.fstat(self.descriptor).st_size > 0
            return False
        self._window += piece
        if len(self._head) < MARK_BYTES and self._start == 0:
            self._head = bytes(self._window[:MARK_BYTES])
        return True
