"""How to read a log that is being written and rotated: every line once, whatever happens to its files.

The application and its log rotation stand before this, a collector behind it. A collector asks for the next slice of
lines, and remembers the position after it together with what it made of the lines; from that position on, this process
or the next one reads neither a line twice nor skips one, for as long as the line still is in some file.

pygtail knows where a rotated file goes: logrotate's, savelog's and Python's names, and which of them is the last. It
is asked for that. The rest is ours, as pygtail stops at a byte that is no text, calls tell() for every line, can lose
its own offset file, knows one rotation only, and opens files by names that may have moved on: the older rotations,
recognising a file again, and reading it.

A file is recognised by its inode and by what it holds: a digest of its first bytes and one of the bytes just before
the place where reading stopped. So it is found again when it was renamed (same inode), copied or compressed (same
content), and it is not taken for itself when it was truncated and has grown again, or when its inode was given to
another file. Files that were rotated away while nobody looked are the ones newer than the newest that is recognised.

What counts as a line: whatever a newline ends, and what is left at the end of a rotated file once nothing more is
written to it. Blank lines are none. A carriage return, NUL and bytes that are no UTF-8 are left in the line. A line
that is too long is counted and passed over in pieces. The half line at the end of the live file waits for its end.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import re
import stat
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any, Literal, get_args

import structlog
from pygtail.core import Pygtail

from exporter.errors import SourceUnavailable
from exporter.sources import Reachability

SLICE_BYTES = 4 * 1024 * 1024
LINE_BYTES = 1024 * 1024
GRACE_SECONDS = 60.0

_MARK_BYTES = 256  # enough for a time stamp and an id, which no other file has at that place
_PIECE_BYTES = 1024 * 1024
_LOOKS = 5
_REMEMBERED = 8
_KINDS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EISDIR: "not_a_file",
    errno.ESTALE: "rotating",
}

_log = structlog.get_logger()

Identity = tuple[int, int]
"""Device and inode."""

State = Literal["open", "read", "gone"]
"""Still to be read or watched; read to its end, for good; not to be found any more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a stretch of a file looked like; nothing of its content can be had from it."""

    length: int
    digest: str

    @classmethod
    def of(cls, content: bytes) -> Mark:
        """The mark of these bytes."""
        return cls(len(content), hashlib.blake2b(content, digest_size=12).hexdigest())


_NOTHING = Mark.of(b"")


@dataclass(frozen=True, slots=True)
class Track:
    """How far one file has been read: `anchor` marks the last bytes before `offset`, `head` the first ones."""

    device: int
    inode: int
    offset: int = 0
    head: Mark = _NOTHING
    anchor: Mark = _NOTHING
    skipping: bool = False  # in the middle of a line that is too long
    state: State = "open"

    @property
    def identity(self) -> Identity:
        """Device and inode of the file."""
        return self.device, self.inode

    @property
    def blank(self) -> bool:
        """Whether nothing has been read of the file by which it could be recognised."""
        return self.head.length == 0


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log has been read: a track for every file that matters still, the oldest first."""

    tracks: tuple[Track, ...] = ()

    def to_state(self) -> dict[str, Any]:
        """As JSON for the state directory."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Any) -> Position:
        """The inverse of `to_state`. Raises KeyError, TypeError or ValueError on anything else."""
        return cls(tuple(map(_track_from_state, state["tracks"])))


@dataclass(frozen=True, slots=True)
class Slice:
    """The next lines of a log.

    `lines` are without their newlines; `oversized` counts those that were too long and are not among them; `position`
    is the one after both. `unread_bytes` is what is left in all files known: bytes after the position, and for a
    compressed file its size on disk until it is read to its end. `more`: the slice ended because it was full.
    """

    lines: list[bytes]
    oversized: int
    position: Position
    unread_bytes: int
    more: bool


class JsonlLog:
    """One log: the file at `path` and those it was rotated to. For one reader at a time.

    `line_limit` is the length in bytes over which a line is too long; `grace` how long (seconds) a rotated file must
    have been left alone before it is given up, since writers go on in it until they open the new one.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        line_limit: int = LINE_BYTES,
        grace: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.path = path
        self.reachability = Reachability(name, clock)
        self._line_limit = line_limit
        self._grace = grace
        self._clock = clock
        self._rotation = _Rotation(path)
        # Files stay open between two reads: as long as one does, no other file can get its inode, and what is written
        # to it can be read even after its last name is gone.
        self._files: dict[Identity, _File] = {}

    def read(self, position: Position | None, limit: int = SLICE_BYTES) -> Slice:
        """The next `limit` bytes or so (one line's length more at most) after `position`; blocks.

        Without a position: the live file from its start, and nothing of what was rotated before. Raises
        SourceUnavailable; the position then still holds.
        """
        try:
            found = self._read_settled(position, limit)
        except OSError as error:
            kind = _KINDS.get(error.errno or 0, "io")
            if kind in ("io", "rotating"):
                self.close()  # a descriptor of a network file system can be stale for good
            self.reachability.failed(kind)
            raise SourceUnavailable(self.name, kind) from error
        self.reachability.worked()
        return found

    def close(self) -> None:
        """Close every file; the next read opens them anew."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _read_settled(self, position: Position | None, limit: int) -> Slice:
        for _ in range(_LOOKS - 1):
            try:
                return self._read(position, limit)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESTALE):
                    raise
                # Names move while a rotation is under way: look again.
        return self._read(position, limit)

    def _read(self, position: Position | None, limit: int) -> Slice:
        now = self._clock()
        chain = self._unrotated(position) or self._chain(position, now)
        reading = _Reading(budget=limit)
        after = Position(tuple(self._advance(track, file, reading, now) for track, file in chain))
        newest = chain[-1][1] if chain else None
        live = any(file.live for file in self._files.values())
        if after == position and not live and (newest is None or newest.name is None):
            raise FileNotFoundError(errno.ENOENT, "neither the log nor the file it was rotated to")
        self._keep(file for (_, file), track in zip(chain, after.tracks, strict=True) if track.state == "open")
        for reason in reading.lost:
            _log.warning("log.lines_lost", log=self.name, reason=reason)
        return Slice(reading.lines, reading.oversized, after, reading.unread, reading.more)

    # Which files there are, and how far each has been read ------------------------------------------------------

    def _unrotated(self, position: Position | None) -> list[tuple[Track, _File | None]]:
        """The chain when the live file is the one it was and no other is being read; else nothing.

        That is so at nearly every read, and needs no look at the directory: while a file is live, none is newer.
        """
        if position is None or not position.tracks:
            return []
        *older, newest = position.tracks
        live = _name(self.path, _LIVE)
        if live is None or newest.identity != live.identity or newest.state != "open" or newest.blank:
            return []
        if any(track.state == "open" for track in older):
            return []
        file = self._file(live)
        return [*((track, None) for track in older), (newest, file)] if _fits(newest, file) else []

    def _chain(self, position: Position | None, now: float) -> list[tuple[Track, _File | None]]:
        """Every file that matters, the oldest first, with how far it has been read; None for a file not found."""
        files = self._look()
        live = files[-1] if files and files[-1].live else None
        if position is None:
            if live is None:
                raise FileNotFoundError(errno.ENOENT, "no such log")
            before = [file for file in files[:-1] if not self._may_be_copy(file, live, now)]
            return _without_oldest([*((file.marked_read(), file) for file in before), (live.start(), live)])
        chain, strangers = self._recognise(self._recognisable(position.tracks, live), files)
        # A file of which nothing was read yet tells nothing about those beside it.
        unread = [file for track, file in chain if file is not None and track.blank and track.state == "open"]
        unknown = strangers | {file.identity for file in unread}
        new = [file for file in _newest(files, unknown) if file.identity in strangers]
        if live is not None:
            copies = [file for file in (*unread, *new) if file is not live and self._may_be_copy(file, live, now)]
            if copies:  # what is read of the live file now will be read in its copy later, or the other way round
                chain = [(track, None if file in copies else file) for track, file in chain]
                new = [file for file in new if file is not live and file not in copies]
        return _without_oldest([*chain, *((file.start(), file) for file in new)])

    def _recognisable(self, tracks: Sequence[Track], live: _File | None) -> Sequence[Track]:
        """The tracks without the newest ones of which nothing was read: their files are new, whichever those are now.

        But one that we hold open and that is no longer live was rotated before it had a line, and may still get some.
        """
        if not tracks or not tracks[-1].blank or tracks[-1].state != "open":
            return tracks
        file = self._files.get(tracks[-1].identity)
        held = file is not None and file.held and file is not live
        return tracks if held else self._recognisable(tracks[:-1], live)

    def _look(self) -> list[_File]:
        """All files of the log, the oldest first and the live one last, as they were at one moment."""
        names = list(self._names())
        if names != list(self._names()):
            raise OSError(errno.ESTALE, "the directory is changing")
        self._files = {identity: file for identity, file in self._files.items() if file.held}
        for file in self._files.values():
            file.name = None
        # Of two names of one file (a link to the newest one, say) the newer counts.
        newest_name = {name.identity: name for name in names}
        return [self._file(name) for name in names if newest_name[name.identity] is name]

    def _names(self) -> Iterator[_Name]:
        folder, base = self.path.parent, self.path.name
        found = {entry.name: order for entry in folder.iterdir() if (order := _order(entry.name, base)) is not None}
        if (last := self._rotation.last()) is not None:
            found.setdefault(last, _Order("pygtail"))
        for name, order in sorted(found.items(), key=lambda item: item[1]):
            if name.endswith(".gz") and name.removesuffix(".gz") in found:
                continue  # being compressed, or uncompressed: the plain one has it all
            if (rotated := _name(folder / name, order)) is not None:
                yield rotated
        if (live := _name(self.path, _LIVE)) is not None:
            yield live

    def _file(self, name: _Name) -> _File:
        file = self._files.get(name.identity)
        if file is None:
            kind = _Archive if name.path.suffix == ".gz" and not name.live else _File
            file = self._files[name.identity] = kind(name.identity)
        file.name = name
        return file

    def _keep(self, files: Iterable[_File | None]) -> None:
        """Close all but these."""
        kept = {file.identity for file in files if file is not None}
        for identity in self._files.keys() - kept:
            self._files.pop(identity).close()

    def _recognise(
        self, tracks: Sequence[Track], files: Sequence[_File]
    ) -> tuple[list[tuple[Track, _File | None]], set[Identity]]:
        """Each track with the file it is about, and the identities of the files that no track is about."""
        found: dict[int, _File] = {}
        strangers = {file.identity: file for file in files}
        # A file that lost its name is read on in itself, as we hold it; in what was made of it there is nothing new.
        held = {index: file for index, track in enumerate(tracks) if (file := self._nameless(track)) is not None}
        sought = [held[index].marked_read() if index in held else track for index, track in enumerate(tracks)]

        def claim(fits: Callable[[Track, _File], bool]) -> set[int]:
            claimed = set()
            for index in range(len(sought)):
                # The oldest file goes to the oldest track, for the case that files look alike.
                for file in () if index in found else strangers.values():
                    if fits(sought[index], file):
                        found[index] = strangers.pop(file.identity)
                        claimed.add(index)
                        break
            return claimed

        claim(_is_same)
        claim(_is_copy)
        shortened = claim(_is_shortened_copy)
        claim(_may_be_same)
        chain = [
            (replace(track, state="read") if index in shortened else track, held.get(index) or found.get(index))
            for index, track in enumerate(tracks)
        ]
        return chain, set(strangers)

    def _nameless(self, track: Track) -> _File | None:
        file = self._files.get(track.identity)
        return file if track.state == "open" and file is not None and file.name is None and _fits(track, file) else None

    def _may_be_copy(self, file: _File, live: _File, now: float) -> bool:
        """Whether a rotated file may be a copy of the live one that is about to be truncated."""
        if not file.readable or file.quiet(now, self._grace):
            return False
        offset = 0
        while piece := file.read_at(offset, _PIECE_BYTES):
            if live.read_at(offset, len(piece)) != piece:
                return False
            offset += len(piece)
        return offset > 0

    # Reading ----------------------------------------------------------------------------------------------------

    def _advance(self, track: Track, file: _File | None, reading: _Reading, now: float) -> Track:
        """Read on in one file, as far as the budget goes; the track after that."""
        if file is None:
            if track.state == "open":
                reading.lost.append("file_gone")
            return track if track.state == "read" else replace(track, state="gone")
        track = replace(track, device=file.identity[0], inode=file.identity[1])
        if track.state == "read":
            return track
        if reading.budget <= 0:
            reading.more = True
            reading.unread += file.unread(track.offset)
            return replace(track, state="open")

        lead = track.anchor.length
        base = track.offset - lead  # `content` begins here; the anchor is read with it, so that the two belong together
        wanted = lead + max(reading.budget, self._line_limit + 1)
        content = file.read_at(base, wanted)
        if Mark.of(content[:lead]) != track.anchor:
            raise OSError(errno.ESTALE, "the file was truncated just now")
        at_end = len(content) < wanted

        begin, skipping = lead, track.skipping
        if skipping:
            newline = content.find(b"\n", lead)
            begin, skipping = (newline + 1, False) if newline >= 0 else (len(content), True)
        end = max(content.rfind(b"\n", begin) + 1, begin)
        reading.take(content[begin:end], self._line_limit)
        if len(content) - end > self._line_limit:
            reading.oversized += 1
            skipping, end = True, len(content)
        state: State = "open"
        if at_end and not file.live and file.finished(base + len(content), now, self._grace):
            reading.take(content[end:], self._line_limit)
            if not file.whole:
                reading.lost.append("archive_damaged")
            state, end = "read", len(content)

        reading.budget -= end - lead
        reading.more |= not at_end
        if state == "open":
            reading.unread += file.unread(base + end)
        return replace(
            track,
            offset=base + end,
            # What is not read yet is left out: a half line can be how many files begin.
            head=Mark.of(content[: min(end, _MARK_BYTES)]) if base == 0 else track.head,
            anchor=Mark.of(content[max(0, end - _MARK_BYTES) : end]),
            skipping=skipping,
            state=state,
        )


@dataclass(slots=True)
class _Reading:
    """What one slice has gathered so far, and how many bytes it may still read."""

    budget: int
    lines: list[bytes] = field(default_factory=list)
    oversized: int = 0
    unread: int = 0
    more: bool = False
    lost: list[str] = field(default_factory=list)

    def take(self, block: bytes, line_limit: int) -> None:
        """Add the lines of a block. Nothing here is done line by line in Python: that would cost more than parsing."""
        lines = block.split(b"\n")
        if len(block) > line_limit and max(map(len, lines)) > line_limit:
            fitting = [line for line in lines if len(line) <= line_limit]
            self.oversized += len(lines) - len(fitting)
            lines = fitting
        self.lines += filter(bytes.strip, lines)


# Files and their names -------------------------------------------------------------------------------------------


class _Rotation(Pygtail):  # type: ignore[misc]  # pygtail has no types
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
class _Order:
    """Where a rotated name stands among its kind: the greater, the newer. Kinds cannot be compared by name."""

    scheme: str
    number: int = 0
    date: str = ""


_LIVE = _Order("live")
_SUFFIX = re.compile(r"(?:\.(?P<number>[1-9]\d{0,4})|(?P<date>[-.]\d{4}-?\d\d-?\d\d(?:[-_]\d+)*))(?:\.gz)?")


def _order(name: str, base: str) -> _Order | None:
    """`x.log.2` is older than `x.log.1.gz`, `x.log-20250101` than `x.log-20250102`; None for no rotated name."""
    match = _SUFFIX.fullmatch(name.removeprefix(base)) if name.startswith(base) else None
    if match is None:
        return None
    if match["number"]:
        return _Order("number", number=-int(match["number"]))
    return _Order(re.sub(r"\d", "0", match["date"]), date=match["date"])


@dataclass(frozen=True, slots=True)
class _Name:
    """A name, and the file it stood for when it was looked at."""

    path: Path
    order: _Order
    identity: Identity

    @property
    def live(self) -> bool:
        """Whether this is the name that is written to."""
        return self.order is _LIVE


def _name(path: Path, order: _Order) -> _Name | None:
    """None where there is no such file; what is a directory or a device is no log, and no rotated log either."""
    try:
        info = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(info.st_mode):
        if order is _LIVE:
            raise IsADirectoryError(errno.EISDIR, "not a regular file")
        return None
    return _Name(path, order, (info.st_dev, info.st_ino))


class _File:
    """One file, opened when it is first read; after that it may be renamed or deleted. `name` is None when it was."""

    whole = True

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.name: _Name | None = None
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
        head = self.read_at(0, _MARK_BYTES) if self.readable else b""
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


class _Archive(_File):
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
        return bytes(self._window[begin : begin + length])

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
            piece = stream.read1(_PIECE_BYTES)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            self._stream = None  # broken off: should it be being written, the next read starts over and gets further
            return False
        if not piece:
            self.whole = os.fstat(self.descriptor).st_size > 0
            return False
        self._window += piece
        if len(self._head) < _MARK_BYTES and self._start == 0:
            self._head = bytes(self._window[:_MARK_BYTES])
        return True


# Recognising -----------------------------------------------------------------------------------------------------


def _is_same(track: Track, file: _File) -> bool:
    """Whether this is the track's file, perhaps under a new name."""
    return track.identity == file.identity and (not file.readable or (not track.blank and _fits(track, file)))


def _is_copy(track: Track, file: _File) -> bool:
    """Whether this is a copy of the track's file, compressed or not.

    The live file is one only where the whole directory was copied, and never one of a file that was read to its end.
    """
    if track.blank or (file.live and track.state == "read"):
        return False
    return file.readable and _fits(track, file)


def _is_shortened_copy(track: Track, file: _File) -> bool:
    """Whether this is a copy from before the last lines that were read were written: nothing in it is unread."""
    if track.blank or file.live or track.state == "read":
        return False
    anchor = track.anchor.length
    return file.readable and _begins_alike(track, file) and len(file.read_at(track.offset - anchor, anchor)) < anchor


def _may_be_same(track: Track, file: _File) -> bool:
    """Whether nothing speaks against it: of the track's file nothing is known but its inode."""
    return track.identity == file.identity and track.blank and track.state == "open"


def _fits(track: Track, file: _File) -> bool:
    """Whether the file begins as the track's did, and goes on where reading stopped."""
    if not _begins_alike(track, file):
        return False
    anchor = track.anchor.length
    return track.state == "read" or Mark.of(file.read_at(track.offset - anchor, anchor)) == track.anchor


def _begins_alike(track: Track, file: _File) -> bool:
    return Mark.of(file.read_at(0, track.head.length)) == track.head


def _newest(files: Sequence[_File], unknown: set[Identity]) -> list[_File]:
    """The unknown files that came to be after the newest that is known, the oldest first.

    While the live file is known nothing can be newer. Names of different kinds cannot be compared, so each kind has a
    newest of its own.
    """
    if files and files[-1].live and files[-1].identity not in unknown:
        return []
    newest: list[_File] = []
    for _, kin in groupby(reversed(files), key=_scheme):
        newest += takewhile(lambda file: file.identity in unknown, kin)
    return newest[::-1]


def _without_oldest(chain: list[tuple[Track, _File | None]]) -> list[tuple[Track, _File | None]]:
    """The chain without what need not be remembered: of the files read for good, a few of each kind are enough."""
    kept = []
    of_kind: Counter[str] = Counter()
    for track, file in reversed(chain):
        if track.blank and (file is None or (track.state == "read" and file.readable)):
            continue  # nothing could be recognised by it
        kind = "gone" if file is None else _scheme(file)
        of_kind[kind] += track.state != "open"
        if track.state == "open" or of_kind[kind] <= _REMEMBERED:
            kept.append((track, file))
    return kept[::-1]


def _scheme(file: _File) -> str:
    return "" if file.name is None else file.name.order.scheme


# State -----------------------------------------------------------------------------------------------------------


def _track_from_state(state: Any) -> Track:
    offset = _number(state["offset"], most=2**63 - 1)
    if state["state"] not in get_args(State) or not isinstance(state["skipping"], bool):
        raise ValueError("not a track")
    return Track(
        device=_number(state["device"]),
        inode=_number(state["inode"]),
        offset=offset,
        head=Mark(_number(state["head"]["length"], most=_MARK_BYTES), str(state["head"]["digest"])),
        anchor=Mark(_number(state["anchor"]["length"], most=min(offset, _MARK_BYTES)), str(state["anchor"]["digest"])),
        skipping=state["skipping"],
        state=state["state"],
    )


def _number(value: Any, most: int = 2**64 - 1) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("out of range")
    return value
