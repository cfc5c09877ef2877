"""Compressed files, recognised by their first bytes and not by their names: gzip, xz, lzma, bzip2 and zstd.

`files.py` asks here how a rotated file is packed, and reads its content through `Unpacked`.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import sys
import zlib
from collections.abc import Callable
from typing import Protocol

from exporter.sources.jsonl.position import MARK_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

PIECE_BYTES = 1024 * 1024
FIRST_PIECE_BYTES = 64 * 1024
MAGIC_BYTES = 16


class Stream(Protocol):
    """What the libraries make of a compressed file."""

    def read1(self, size: int = -1, /) -> bytes:
        """Some of the content; nothing at its end. Raises EOFError where the file is broken off."""
        ...


Unpack = Callable[[int], Stream]
"""Begin to decompress what a descriptor has to give."""


def _gzip(descriptor: int) -> Stream:
    return gzip.GzipFile(fileobj=open(descriptor, "rb", closefd=False))


def _xz(descriptor: int) -> Stream:
    return lzma.LZMAFile(open(descriptor, "rb", closefd=False))


def _bzip2(descriptor: int) -> Stream:
    return bz2.BZ2File(open(descriptor, "rb", closefd=False))


def _zstd(descriptor: int) -> Stream:
    return zstd.ZstdFile(open(descriptor, "rb", closefd=False))


_READ: tuple[tuple[bytes, Unpack], ...] = (
    (b"\x1f\x8b\x08", _gzip),
    (b"\xfd7zXZ\x00", _xz),
    (b"\x5d\x00\x00", _xz),  # lzma, the format before xz
    *((b"BZh%d\x31\x41\x59\x26\x53\x59" % level, _bzip2) for level in range(1, 10)),
    *((b"BZh%d\x17\x72\x45\x38\x50\x90" % level, _bzip2) for level in range(1, 10)),  # of an empty file
    (b"\x28\xb5\x2f\xfd", _zstd),
    *((bytes([first, 0x2A, 0x4D, 0x18]), _zstd) for first in range(0x50, 0x60)),  # a skippable frame, as pzstd begins
)
_NOT_READ = (
    b"\x04\x22\x4d\x18",  # lz4
    b"LZIP",
    b"\x89LZO",
    b"\x1f\x9d",  # compress
    b"PK\x03\x04",
    b"7z\xbc\xaf\x27\x1c",
)
_NOT_READ_NAME = re.compile(r"\.br$", re.IGNORECASE)  # brotli marks nothing


def unpacking(begin: bytes) -> Unpack | None:
    """How to read a file that begins so; None for one that is not compressed, or not by any of these."""
    return next((unpack for magic, unpack in _READ if begin.startswith(magic)), None)


def may_become_packed(begin: bytes) -> bool:
    """Whether these are fewer bytes than a compressed file's mark has, and the first of one: it is being written."""
    return bool(begin) and any(len(begin) < len(magic) and magic.startswith(begin) for magic, _ in _READ)


def is_not_read(name: str, begin: bytes) -> bool:
    """Whether the file is compressed in a way that is not understood."""
    return begin.startswith(_NOT_READ) or _NOT_READ_NAME.search(name) is not None


class Unpacked:
    """The content of an open compressed file. It is read forward, and a short way back; offsets are the content's."""

    def __init__(self, descriptor: int, unpack: Unpack) -> None:
        self.whole = False  # until its end has been reached and is one
        self._descriptor = descriptor
        self._unpack = unpack
        self._stream: Stream | None = None
        self._head = b""
        self._window = bytearray()  # of the content, from `_start` on
        self._start = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """So many bytes from there on; fewer at the end, or where the file is broken off."""
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
        """The size on disk, or 0 when it has been read to its end."""
        at_end = self.whole and offset >= self._start + len(self._window)
        return 0 if at_end else os.fstat(self._descriptor).st_size

    def _rewind(self) -> Stream:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._window.clear()
        self._start = 0
        self._stream = self._unpack(self._descriptor)
        return self._stream

    def _pull(self, stream: Stream) -> bool:
        """Decompress some more; False at the end."""
        at_start = self._start == 0 and not self._window
        try:
            piece = stream.read1(FIRST_PIECE_BYTES if at_start else PIECE_BYTES)
        except (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's, not the content's
            self._stream = None  # broken off: should it be being written, the next read starts over and gets further
            return False
        if not piece:
            self.whole = os.fstat(self._descriptor).st_size > 0
            return False
        self._window += piece
        if len(self._head) < MARK_BYTES and self._start == 0:
            self._head = bytes(self._window[:MARK_BYTES])
        return True
