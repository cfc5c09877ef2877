"""Which file is which: whether a file is the one that was read before, a copy of it, or one that came after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from itertools import groupby, takewhile

from exporter.sources.jsonl.files import File
from exporter.sources.jsonl.position import Identity, Mark, Track

_REMEMBERED = 8


def is_same(track: Track, file: File) -> bool:
    """Whether this is the track's file, perhaps under a new name."""
    return track.identity == file.identity and (not file.readable or (not track.blank and fits(track, file)))


def is_copy(track: Track, file: File) -> bool:
    """Whether this is a copy of the track's file, compressed or not.

    The live file is one only where the whole directory was copied, and never one of a file that was read to its end.
    """
    if track.blank or (file.live and track.state == "read"):
        return False
    return file.readable and fits(track, file)


def is_shortened_copy(track: Track, file: File) -> bool:
    """Whether this is a copy from before the last lines that were read were written: nothing in it is unread."""
    if track.blank or file.live or track.state == "read":
        return False
    anchor = track.anchor.length
    return file.readable and _begins_alike(track, file) and len(file.read_at(track.offset - anchor, anchor)) < anchor


def may_be_same(track: Track, file: File) -> bool:
    """Whether nothing speaks against it: of the track's file nothing is known but its inode."""
    return track.identity == file.identity and track.blank and track.state == "open"


def fits(track: Track, file: File) -> bool:
    """Whether the file begins as the track's did, and goes on where reading stopped."""
    if not _begins_alike(track, file):
        return False
    anchor = track.anchor.length
    return track.state == "read" or Mark.of(file.read_at(track.offset - anchor, anchor)) == track.anchor


def _begins_alike(track: Track, file: File) -> bool:
    return Mark.of(file.read_at(0, track.head.length)) == track.head


def newer_than(known: Set[Identity], files: Sequence[File]) -> list[File]:
    """The files that came to be after the newest that is known, the oldest first.

    While the live file is known nothing can be newer. Names of different kinds cannot be compared, so each kind has a
    newest of its own.
    """
    if files and files[-1].live and files[-1].identity in known:
        return []
    newer: list[File] = []
    for _, kin in groupby(reversed(files), key=_scheme):
        newer += takewhile(lambda file: file.identity not in known, kin)
    return newer[::-1]


def without_oldest(chain: list[tuple[Track, File | None]]) -> list[tuple[Track, File | None]]:
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


def _scheme(file: File) -> str:
    return "" if file.name is None else file.name.order.scheme
