"""One log as a whole: finds its files, follows them through rotations, and hands out the next lines."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from exporter.errors import SourceUnavailable
from exporter.sources import Reachability
from exporter.sources.jsonl.files import File
from exporter.sources.jsonl.position import MARK_BYTES, Mark, Position, State, Track
from exporter.sources.jsonl.search import Search
from exporter.sources.jsonl.slice import Reading, Slice

SLICE_BYTES = 4 * 1024 * 1024
LINE_BYTES = 1024 * 1024
GRACE_SECONDS = 60.0

_LOOKS = 5
_NAMED = 10
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

    `archives` are folders for rotated files (logrotate's `olddir`); a relative one is beside the log. `line_limit` is
    the length in bytes over which a line is too long; `grace` how long (seconds) a rotated file must have been left
    alone before it is given up, since writers go on in it until they open the new one.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        archives: Sequence[Path] = (),
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
        self._search = Search(path, archives, grace)

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
        """Close every file; the next read opens them again."""
        self._search.close()

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
        chain = self._search.chain(position, now)
        reading = Reading(budget=limit, waiting=chain.waiting)
        after = Position(tuple(self._advance(track, file, reading, now) for track, file in chain.links))
        newest = chain.links[-1][1] if chain.links else None
        if after == position and not self._search.finds_live and (newest is None or newest.name is None):
            raise FileNotFoundError(errno.ENOENT, "neither the log nor the file it was rotated to")
        links = zip(chain.links, after.tracks, strict=True)
        self._search.keep(file for (_, file), track in links if track.state == "open")
        for lost in reading.lost:
            _log.warning("log.lines_lost", log=self.name, **lost)
        for reason, names in chain.left_out.items():
            shown = sorted(names)[:_NAMED]
            _log.warning("log.files_left_out", log=self.name, reason=reason, files=shown, count=len(names))
        return Slice(reading.pieces, reading.oversized, after, reading.unread, reading.more)

    def _advance(self, track: Track, file: File | None, reading: Reading, now: float) -> Track:
        """Read on in one file, as far as the budget goes; the track after that."""
        if file is None:
            if track.state != "open" or reading.waiting:
                return track
            reading.lost.append(self._not_found(track))
            return replace(track, state="gone")
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
        if len(content) < lead and not file.whole:
            return self._unfinished(track, file, reading, now)
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
            # NUL bytes are no part of a line: a truncation leaves as many before it as the file was long.
            line = _after_nul(content, end)
            if len(content) - line > self._line_limit:
                reading.oversized += 1
                skipping, line = True, len(content)
            end = line
        state: State = "open"
        if at_end and not file.live and file.finished(base + len(content), now, self._grace):
            reading.take(content, end, len(content), self._line_limit)
            if not file.whole:
                reading.lost.append({"reason": "archive_damaged", "file": track.name})
            state, end = "read", len(content)

        reading.budget -= end - lead
        reading.more |= not at_end
        if state == "open":
            reading.unread += file.unread(base + end)
        track = _headed(track, base, content[:end])  # what is not read yet is left out: many files may begin so
        return replace(
            track,
            offset=base + end,
            anchor=Mark.of(content[max(0, end - MARK_BYTES) : end]),
            skipping=skipping,
            state=state,
        )

    def _unfinished(self, track: Track, file: File, reading: Reading, now: float) -> Track:
        """A compressed file that does not reach as far yet as its file was read before."""
        if not file.quiet(now, self._grace):
            reading.unread += file.unread(track.offset)
            return track
        reading.lost.append({"reason": "archive_damaged", "file": track.name})
        return replace(track, state="read")

    def _not_found(self, track: Track) -> dict[str, Any]:
        """What is said of a file that was read in part: which it was, how far it was read, and where it was sought."""
        return {
            "reason": "not_found",
            "file": track.name or self.path.name,
            "inode": track.inode,
            "read_bytes": track.offset,
            "looked_in": self._search.folders,
        }


def _after_nul(content: bytes, begin: int) -> int:
    """Where the NUL bytes end that begin there."""
    return len(content) - len(content[begin:].lstrip(b"\0"))


def _headed(track: Track, base: int, content: bytes) -> Track:
    """The track with the head that its file has, as far as that is in `content`, which was read from `base` on."""
    if track.head.length == 0:
        line = _after_nul(content, max(track.start - base, 0))
        track = replace(track, start=base + line)
    if not base <= track.start:
        return track
    first = track.start - base
    return replace(track, head=Mark.of(content[first : first + MARK_BYTES]))
