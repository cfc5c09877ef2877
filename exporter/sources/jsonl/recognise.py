"""Recognition of files: whether a file is the same as a known file, or a copy of it, compressed or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from exporter.sources.jsonl.files import File
from exporter.sources.jsonl.position import MARK_BYTES, Identity, Mark, Track

TELLING_BYTES = 32
"""Minimum length of a stretch that identifies a file under another name: a time stamp with its key is as long as
that."""

Links = list[tuple[Track, File | None]]
"""Tracks with their files, the oldest first; None for a file that was not found."""


class Recognition:
    """The assignment of files to tracks.

    `held` are files without a name by the index of their track: each is read further through its open descriptor, and a
    copy of it contains nothing new.
    """

    def __init__(self, tracks: Sequence[Track], held: dict[int, File]) -> None:
        self._tracks = tracks
        self._held = held
        self._sought = [held[index].marked_read() if index in held else track for index, track in enumerate(tracks)]
        self._found: dict[int, File] = {}
        self._shortened: set[int] = set()
        self.strangers: dict[Identity, File] = {}

    def search(self, files: Iterable[File]) -> None:
        """Look for the tracks' files among these; the others are strangers."""
        self.strangers |= {file.identity: file for file in files}
        self._claim(is_same)
        self._claim(is_copy)
        self._shortened |= self._claim(is_shortened_copy)
        self._claim(is_unfinished_copy)
        self._claim(may_be_same)
        if self.missing:
            self._claim(is_copy_of_any_age)  # its time was lost in copying

    def search_elsewhere(self, files: Iterable[File]) -> None:
        """Look among files that only their content can identify; files that do not match are closed again."""
        for file in files:
            missing = self.missing
            try:
                index = next((index for index in missing if is_found_by_content(self._tracks[index], file)), None)
            except OSError:
                index = None  # deleted meanwhile, or unreadable
            if index is None:
                file.close()
            else:
                self._found[index] = file
            if not self.missing:
                return

    def close_found_elsewhere(self) -> None:
        """Close the files that were found by their content alone: another search follows."""
        for file in self._found.values():
            if _is_other(file):
                file.rest()

    @property
    def missing(self) -> list[int]:
        """The tracks that are still read, and have no file."""
        return [
            index
            for index, track in enumerate(self._tracks)
            if track.state == "open" and not (index in self._found or index in self._held)
        ]

    def links(self) -> Links:
        """Return every track with its file."""
        return [
            (
                replace(track, state="read") if index in self._shortened else track,
                self._held.get(index) or self._found.get(index),
            )
            for index, track in enumerate(self._tracks)
        ]

    @property
    def known(self) -> set[Identity]:
        """The recognised files. A file of which nothing was read yet is no evidence about the files beside it."""
        tracks = self._tracks
        return {
            file.identity
            for index, file in self._found.items()
            if not tracks[index].blank or tracks[index].state == "read"
        }

    @property
    def claimed(self) -> set[Identity]:
        """All files that were found."""
        return {file.identity for file in self._found.values()}

    def is_known_content(self, file: File) -> bool:
        """Return whether the file begins like that of a known track: it is a copy of it, earlier or later."""
        return any(track.head.length >= TELLING_BYTES and begins_alike(track, file) for track in self._tracks)

    def _claim(self, fits: Callable[[Track, File], bool]) -> set[int]:
        claimed = set()
        for index in range(len(self._sought)):
            # Among files that look alike, the oldest file is assigned to the oldest track.
            for file in () if index in self._found else tuple(self.strangers.values()):
                if fits(self._sought[index], file):
                    self._found[index] = self.strangers.pop(file.identity)
                    claimed.add(index)
                    break
                file.rest()
        return claimed


def is_same(track: Track, file: File) -> bool:
    """Return whether this is the track's file, perhaps under a new name."""
    if track.identity != file.identity:
        return False
    if not file.readable:
        return file.name is not None and file.name.kind != "other"
    return not track.blank and fits(track, file)


def is_copy(track: Track, file: File) -> bool:
    """Return whether this is a copy of the track's file, compressed or not.

    The live file is a copy only where the whole directory was copied, and never that of a file that was read to its
    end.
    """
    if track.blank or (file.live and track.state == "read") or _is_other(file) or _is_older(file, track):
        return False
    return file.readable and fits(track, file)


def is_copy_of_any_age(track: Track, file: File) -> bool:
    """Return whether this is a copy of a file that is still read, regardless of its times."""
    if track.blank or track.state != "open" or _is_other(file):
        return False
    return file.readable and fits(track, file)


def is_shortened_copy(track: Track, file: File) -> bool:
    """Return whether this is a copy made before the last lines that were read: it contains nothing unread."""
    return _is_part(track, file) and file.whole


def is_unfinished_copy(track: Track, file: File) -> bool:
    """Return whether the track's file is being compressed into this one, which is still shorter than the part that was
    read."""
    return _is_part(track, file) and not file.whole


def may_be_same(track: Track, file: File) -> bool:
    """Return whether this file may be the track's: nothing but the inode of the track's file is known."""
    if _is_other(file) or track.identity != file.identity or not track.blank or track.state != "open":
        return False
    return not track.anchor.length or fits(track, file)


def is_found_by_content(track: Track, file: File) -> bool:
    """Return whether a file of any name is the track's, or a copy of it."""
    if track.head.length < TELLING_BYTES or _is_older(file, track):
        return False
    return file.readable and file.understood and fits(track, file)


def fits(track: Track, file: File) -> bool:
    """Return whether the file begins like the track's, and continues where reading stopped."""
    if not begins_alike(track, file):
        return False
    anchor = track.anchor.length
    return track.state == "read" or Mark.of(file.read_at(track.offset - anchor, anchor)) == track.anchor


def begins_alike(track: Track, file: File) -> bool:
    """Return whether the first bytes are those of the track's file."""
    if track.start + track.head.length <= MARK_BYTES:
        begin = file.beginning()[track.start : track.start + track.head.length]
    else:
        begin = file.read_at(track.start, track.head.length)
    return Mark.of(begin) == track.head


def _is_part(track: Track, file: File) -> bool:
    if track.blank or file.live or track.state == "read" or _is_other(file) or _is_older(file, track):
        return False
    anchor = track.anchor.length
    return file.readable and begins_alike(track, file) and len(file.read_at(track.offset - anchor, anchor)) < anchor


def _is_other(file: File) -> bool:
    return file.name is not None and file.name.kind == "other"


def _is_older(file: File, track: Track) -> bool:
    """Return whether its last writing is earlier than the known last writing of the track's file: then it is no
    copy."""
    return file.name is not None and not file.live and file.name.latest < track.modified
