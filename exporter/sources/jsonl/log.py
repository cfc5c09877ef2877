"""One log as a whole: finds its files, follows them through rotations, and hands out the next lines."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from exporter.errors import SourceUnavailable
from exporter.sources import Reachability
from exporter.sources.jsonl.files import LIVE, PIECE_BYTES, Archive, File, Name, Order, Rotation, name_at, order_of
from exporter.sources.jsonl.position import MARK_BYTES, Identity, Mark, Position, State, Track
from exporter.sources.jsonl.recognise import (
    fits,
    is_copy,
    is_same,
    is_shortened_copy,
    may_be_same,
    newer_than,
    without_oldest,
)
from exporter.sources.jsonl.slice import Reading, Slice

SLICE_BYTES = 4 * 1024 * 1024
LINE_BYTES = 1024 * 1024
GRACE_SECONDS = 60.0

_LOOKS = 5
_KINDS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EISDIR: "not_a_file",
    errno.ESTALE: "rotating",
}

_log = structlog.get_logger()


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
        self._rotation = Rotation(path)
        # Files stay open between two reads: as long as one does, no other file can get its inode, and what is written
        # to it can be read even after its last name is gone.
        self._files: dict[Identity, File] = {}

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
        reading = Reading(budget=limit)
        after = Position(tuple(self._advance(track, file, reading, now) for track, file in chain))
        newest = chain[-1][1] if chain else None
        live = any(file.live for file in self._files.values())
        if after == position and not live and (newest is None or newest.name is None):
            raise FileNotFoundError(errno.ENOENT, "neither the log nor the file it was rotated to")
        self._keep(file for (_, file), track in zip(chain, after.tracks, strict=True) if track.state == "open")
        for reason in reading.lost:
            _log.warning("log.lines_lost", log=self.name, reason=reason)
        return Slice(reading.pieces, reading.oversized, after, reading.unread, reading.more)

    # Which files there are, and how far each has been read ------------------------------------------------------

    def _unrotated(self, position: Position | None) -> list[tuple[Track, File | None]]:
        """The chain when the live file is the one it was and no other is being read; else nothing.

        That is so at nearly every read, and needs no look at the directory: while a file is live, none is newer.
        """
        if position is None or not position.tracks:
            return []
        *older, newest = position.tracks
        live = name_at(self.path, LIVE)
        if live is None or newest.identity != live.identity or newest.state != "open" or newest.blank:
            return []
        if any(track.state == "open" for track in older):
            return []
        file = self._file(live)
        return [*((track, None) for track in older), (newest, file)] if fits(newest, file) else []

    def _chain(self, position: Position | None, now: float) -> list[tuple[Track, File | None]]:
        """Every file that matters, the oldest first, with how far it has been read; None for a file not found."""
        files = self._look()
        live = files[-1] if files and files[-1].live else None
        if position is None:
            if live is None:
                raise FileNotFoundError(errno.ENOENT, "no such log")
            before = [file for file in files[:-1] if not self._may_be_copy(file, live, now)]
            return without_oldest([*((file.marked_read(), file) for file in before), (live.start(), live)])
        chain, known, strangers = self._recognise(self._recognisable(position.tracks, live), files)
        unread = [file for track, file in chain if file is not None and track.blank and track.state == "open"]
        new = [file for file in newer_than(known, files) if file.identity in strangers]
        if live is not None:
            copies = [file for file in (*unread, *new) if file is not live and self._may_be_copy(file, live, now)]
            if copies:  # what is read of the live file now will be read in its copy later, or the other way round
                chain = [(track, None if file in copies else file) for track, file in chain]
                new = [file for file in new if file is not live and file not in copies]
        return without_oldest([*chain, *((file.start(), file) for file in new)])

    def _recognisable(self, tracks: Sequence[Track], live: File | None) -> Sequence[Track]:
        """The tracks without the newest ones of which nothing was read: their files are new, whichever those are now.

        But one that we hold open and that is no longer live was rotated before it had a line, and may still get some.
        """
        if not tracks or not tracks[-1].blank or tracks[-1].state != "open":
            return tracks
        file = self._files.get(tracks[-1].identity)
        held = file is not None and file.held and file is not live
        return tracks if held else self._recognisable(tracks[:-1], live)

    def _look(self) -> list[File]:
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

    def _names(self) -> Iterator[Name]:
        folder, base = self.path.parent, self.path.name
        found = {entry.name: order for entry in folder.iterdir() if (order := order_of(entry.name, base)) is not None}
        if (last := self._rotation.last()) is not None:
            found.setdefault(last, Order("pygtail"))
        for name, order in sorted(found.items(), key=lambda item: item[1]):
            if name.endswith(".gz") and name.removesuffix(".gz") in found:
                continue  # being compressed, or uncompressed: the plain one has it all
            if (rotated := name_at(folder / name, order)) is not None:
                yield rotated
        if (live := name_at(self.path, LIVE)) is not None:
            yield live

    def _file(self, name: Name) -> File:
        file = self._files.get(name.identity)
        if file is None:
            kind = Archive if name.path.suffix == ".gz" and not name.live else File
            file = self._files[name.identity] = kind(name.identity)
        file.name = name
        return file

    def _keep(self, files: Iterable[File | None]) -> None:
        """Close all but these."""
        kept = {file.identity for file in files if file is not None}
        for identity in self._files.keys() - kept:
            self._files.pop(identity).close()

    def _recognise(
        self, tracks: Sequence[Track], files: Sequence[File]
    ) -> tuple[list[tuple[Track, File | None]], set[Identity], set[Identity]]:
        """Each track with the file it is about; which files are known by that, and which are nobody's."""
        found: dict[int, File] = {}
        strangers = {file.identity: file for file in files}
        # A file that lost its name is read on in itself, as we hold it; in what was made of it there is nothing new.
        held = {index: file for index, track in enumerate(tracks) if (file := self._nameless(track)) is not None}
        sought = [held[index].marked_read() if index in held else track for index, track in enumerate(tracks)]

        def claim(fits: Callable[[Track, File], bool]) -> set[int]:
            claimed = set()
            for index in range(len(sought)):
                # The oldest file goes to the oldest track, for the case that files look alike.
                for file in () if index in found else strangers.values():
                    if fits(sought[index], file):
                        found[index] = strangers.pop(file.identity)
                        claimed.add(index)
                        break
            return claimed

        claim(is_same)
        claim(is_copy)
        shortened = claim(is_shortened_copy)
        claim(may_be_same)
        chain = [
            (replace(track, state="read") if index in shortened else track, held.get(index) or found.get(index))
            for index, track in enumerate(tracks)
        ]
        # A file of which nothing was read yet tells nothing about those beside it.
        known = {
            file.identity for index, file in found.items() if not tracks[index].blank or tracks[index].state == "read"
        }
        return chain, known, set(strangers)

    def _nameless(self, track: Track) -> File | None:
        file = self._files.get(track.identity)
        return file if track.state == "open" and file is not None and file.name is None and fits(track, file) else None

    def _may_be_copy(self, file: File, live: File, now: float) -> bool:
        """Whether a rotated file may be a copy of the live one that is about to be truncated."""
        if not file.readable or file.quiet(now, self._grace):
            return False
        offset = 0
        while piece := file.read_at(offset, PIECE_BYTES):
            if live.read_at(offset, len(piece)) != piece:
                return False
            offset += len(piece)
        return offset > 0

    # Reading ----------------------------------------------------------------------------------------------------

    def _advance(self, track: Track, file: File | None, reading: Reading, now: float) -> Track:
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
        reading.take(content, begin, end, self._line_limit)
        if len(content) - end > self._line_limit:
            reading.oversized += 1
            skipping, end = True, len(content)
        state: State = "open"
        if at_end and not file.live and file.finished(base + len(content), now, self._grace):
            reading.take(content, end, len(content), self._line_limit)
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
            head=Mark.of(content[: min(end, MARK_BYTES)]) if base == 0 else track.head,
            anchor=Mark.of(content[max(0, end - MARK_BYTES) : end]),
            skipping=skipping,
            state=state,
        )
