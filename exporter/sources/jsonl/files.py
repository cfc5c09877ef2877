"""One file of a log: who it is, and reading bytes from it, plain or compressed, renamed or not.

`search.py` finds files, `recognise.py` compares them with what was read before, `log.py` reads on in them.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exporter.sources.jsonl.archives import (
    MAGIC_BYTES,
    PIECE_BYTES,
    Unpacked,
    is_not_read,
    may_become_packed,
    unpacking,
)
from exporter.sources.jsonl.names import Place
from exporter.sources.jsonl.position import MARK_BYTES, Identity, Mark, Track

Kind = Literal["live", "rotated", "other"]
"""The name that is written to; one that belongs to the log by its name; any other."""

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Name:
    """A name, and the file it stood for when it was looked at. Times are nanoseconds, of the file system's clock."""

    path: Path
    kind: Kind
    identity: Identity
    place: Place
    modified: int
    changed: int
    size: int

    @property
    def shown(self) -> str:
        """The file's name as text, whatever its bytes are."""
        return os.fsencode(self.path.name).decode("utf-8", "backslashreplace")

    @property
    def latest(self) -> int:
        """The latest moment at which it can have been written last: some compressors keep full seconds only."""
        return self.modified + (2 * SECOND if self.modified % SECOND == 0 else 0)

    def quiet(self, now: float, grace: float) -> bool:
        """Whether it has not been written to, or renamed, for that long (the file system's clock against ours)."""
        return now - max(self.modified, self.changed) / SECOND >= grace


def name_at(path: Path, kind: Kind, place: Place) -> Name | None:
    """None where there is no such file; what is a directory or a device is no log, and no rotated log either."""
    try:
        info = path.stat() if kind != "other" else path.lstat()
    except FileNotFoundError:
        return None
    except OSError:
        if kind == "live":
            raise
        return None  # a link to itself, or one into a folder that is closed to us
    if not stat.S_ISREG(info.st_mode):
        if kind == "live":
            raise IsADirectoryError(errno.EISDIR, "not a regular file")
        return None
    identity = (info.st_dev, info.st_ino)
    return Name(path, kind, identity, place, info.st_mtime_ns, info.st_ctime_ns, info.st_size)


class File:
    """One file, opened when it is first read; after that it may be renamed or deleted. `name` is None when it was."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.name: Name | None = None
        self.kept = False
        self._opened: int | None = None
        self._plain = False
        self._unpacked: Unpacked | None = None
        self._begin: bytes | None = None

    @property
    def live(self) -> bool:
        """Whether it is the file that is written to."""
        return self.name is not None and self.name.kind == "live"

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
        if self._begin is not None:
            return True
        try:
            return self.descriptor >= 0
        except PermissionError:
            return False

    @property
    def packed(self) -> bool:
        """Whether it is compressed, or a compressed file of which not even the mark has been written."""
        return self._packing() is not None or (not self._plain and may_become_packed(self._magic()))

    @property
    def whole(self) -> bool:
        """Whether all of it can be read: so for a compressed file once its end has been reached and is one."""
        packing = self._packing()
        return packing.whole if packing is not None else not self.packed

    @property
    def understood(self) -> bool:
        """Whether it is not compressed in a way that cannot be read."""
        return self.live or self.name is None or not is_not_read(self.name.path.name, self._magic())

    def close(self) -> None:
        """Let the file go."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = self._unpacked = None

    def rest(self) -> None:
        """Close it, if it was opened for a look: of thousands of files not all can be open."""
        if not (self.kept or self.live):
            self.close()

    def start(self) -> Track:
        """The track of a file of which nothing has been read."""
        return Track(*self.identity)

    def marked_read(self) -> Track:
        """The track of a file that is not to be read."""
        if not self.readable:
            return Track(*self.identity, state="read")
        begin, start = self.beginning(), 0
        if begin[:1] == b"\0":
            start = self._first_line()
            begin = self.read_at(start, MARK_BYTES)
        return Track(*self.identity, head=Mark.of(begin), state="read", start=start, offset=start)

    def beginning(self) -> bytes:
        """Its first bytes; remembered, so that many files need not stay open to be compared."""
        if self.live:
            return self.read_at(0, MARK_BYTES)
        if self._begin is None:
            self._begin = self.read_at(0, MARK_BYTES)
        return self._begin

    def forget_beginning(self) -> None:
        """Read it again when it is asked for next."""
        self._begin = None

    def read_at(self, offset: int, length: int) -> bytes:
        """So many bytes of its content from there on; fewer at the end, or where a compressed file is broken off."""
        packing = self._packing()
        if packing is not None:
            return packing.read_at(offset, length)
        return b"" if self.packed else os.pread(self.descriptor, length, offset)

    def unread(self, offset: int) -> int:
        """How many bytes there are after `offset`; of a compressed file its size on disk, until it is read."""
        packing = self._packing()
        if packing is not None:
            return packing.unread(offset)
        return max(0, os.fstat(self.descriptor).st_size - offset)

    def quiet(self, now: float, grace: float) -> bool:
        """Whether it has not been written to, or renamed, for that long (the file system's clock against ours)."""
        info = os.fstat(self.descriptor)
        return now - max(info.st_mtime, info.st_ctime) >= grace

    def finished(self, end: int, now: float, grace: float) -> bool:
        """Whether a rotated file that was read up to `end` ends there for good.

        Nobody appends to a compressed one; but it may still be being made.
        """
        if self.packed:
            return self.whole or self.quiet(now, grace)
        return os.fstat(self.descriptor).st_size == end and self.quiet(now, grace)

    def _first_line(self) -> int:
        """Where the NUL bytes end with which it begins."""
        offset = 0
        while piece := self.read_at(offset, PIECE_BYTES):
            if rest := piece.lstrip(b"\0"):
                return offset + len(piece) - len(rest)
            offset += len(piece)
        return offset

    def _packing(self) -> Unpacked | None:
        descriptor = self.descriptor
        if self._unpacked is None and not self._plain:
            if self.live:
                self._plain = True  # for as long as it is open
                return None
            begin = self._magic()
            if (unpack := unpacking(begin)) is not None:
                self._unpacked = Unpacked(descriptor, unpack)
            elif len(begin) == MAGIC_BYTES:
                self._plain = True
        return self._unpacked

    def _magic(self) -> bytes:
        return os.pread(self.descriptor, MAGIC_BYTES, 0)
