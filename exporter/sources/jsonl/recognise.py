"""Which file is which: whether a file is the one that was read before, or a copy of it, compressed or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from exporter.sources.jsonl.files import File
from exporter.sources.jsonl.position import MARK_BYTES, Identity, Mark, Track

TELLING_BYTES = 32
"""Shorter stretches say nothing of a file that has another name: a time stamp with its key is as long as that."""

Links = list[tuple[Track, File | None]]
"""Tracks with their files, the oldest first; None for a file that was not found."""


class Recognition:
    """Finds the file that each track is about.

    `held` are files without a name by the index of their track: each is read on in itself, and in a copy of it there is
    nothing new.
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
        """Look among files that nothing but their content can make the log's; one that is none is closed again."""
        for file in files:
            missing = self.missing
            try:
                index = next((index for index in missing if is_found_by_content(self._tracks[index], file)), None)
            except OSError:
                index = None  # gone meanwhile, or it cannot be read
            if index is None:
                file.close()
            else:
                self._found[index] = file
            if not self.missing:
                return

    def close_found_elsewhere(self) -> None:
        """Let go of the files that were found by their content alone: there will be another search."""
        for file in self._found.values():
            if _is_other(file):
                file.rest()

    @property
    def missing(self) -> list[int]:
        """The tracks that are read still, and have no file."""
        return [
            index
            for index, track in enumerate(self._tracks)
            if track.state == "open" and not (index in self._found or index in self._held)
        ]

    def links(self) -> Links:
        """Every track with its file."""
        return [
            (
                replace(track, state="read") if index in self._shortened else track,
                self._held.get(index) or self._found.get(index),
            )
            for index, track in enumerate(self._tracks)
        ]

    @property
    def known(self) -> set[Identity]:
        """The files that are recognised. One of which nothing was read yet tells nothing about those beside it."""
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
        """Whether it begins as a file does that has a track already: it is a copy of that, earlier or later."""
        return any(track.head.length >= TELLING_BYTES and begins_alike(track, file) for track in self._tracks)

    def _claim(self, fits: Callable[[Track, File], bool]) -> set[int]:
        claimed = set()
        for index in range(len(self._sought)):
            # The oldest file goes to the oldest track, for the case that files look alike.
            for file in () if index in self._found else tuple(self.strangers.values()):
                if fits(self._sought[index], file):
                    self._found[index] = self.strangers.pop(file.identity)
                    claimed.add(index)
                    break
                file.rest()
        return claimed


def is_same(track: Track, file: File) -> bool:
    """Whether this is the track's file, perhaps under a new name."""
    if track.identity != file.identity:
        return False
    if not file.readable:
        return file.name is not None and file.name.kind != "other"
    return not track.blank and fits(track, file)


def is_copy(track: Track, file: File) -> bool:
    """Whether this is a copy of the track's file, compressed or not.

    The live file is one only where the whole directory was copied, and never one of a file that was read to its end.
    """
    if track.blank or (file.live and track.state == "read") or _is_other(file) or _is_older(file, track):
        return False
    return file.readable and fits(track, file)


def is_copy_of_any_age(track: Track, file: File) -> bool:
    """Whether this is a copy of a file that is read still, whatever its times say."""
    if track.blank or track.state != "open" or _is_other(file):
        return False
    return file.readable and fits(track, file)


def is_shortened_copy(track: Track, file: File) -> bool:
    """Whether this is a copy from before the last lines that were read were written: nothing in it is unread."""
    return _is_part(track, file) and file.whole


def is_unfinished_copy(track: Track, file: File) -> bool:
    """Whether the track's file is being compressed into this one, which does not reach as far yet as was read."""
    return _is_part(track, file) and not file.whole


def may_be_same(track: Track, file: File) -> bool:
    """Whether nothing speaks against it: of the track's file nothing is known but its inode."""
    if _is_other(file) or track.identity != file.identity or not track.blank or track.state != "open":
        return False
    return not track.anchor.length or fits(track, file)


def is_found_by_content(track: Track, file: File) -> bool:
    """Whether a file of any name is the track's, or a copy of it."""
    if track.head.length < TELLING_BYTES or _is_older(file, track):
        return False
    return file.readable and file.understood and fits(track, file)


def fits(track: Track, file: File) -> bool:
    """Whether the file begins as the track's did, and goes on where reading stopped."""
    if not begins_alike(track, file):
        return False
    anchor = track.anchor.length
    return track.state == "read" or Mark.of(file.read_at(track.offset - anchor, anchor)) == track.anchor


def begins_alike(track: Track, file: File) -> bool:
    """Whether the first bytes are those of the track's file."""
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
    """Whether it was written last before the track's file was, as that was looked at: then it is no copy of it."""
    return file.name is not None and not file.live and file.name.latest < track.modified
