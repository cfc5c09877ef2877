"""The files of a log in all places of its rotation: found, recognised, and put in order with the position in each.

`log.py` asks for the chain at every read. Nearly always the live file is unchanged, and no search is made.
"""

from __future__ import annotations

import errno
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from exporter.sources.jsonl.archives import PIECE_BYTES
from exporter.sources.jsonl.files import SECOND, File, Kind, Name, name_at
from exporter.sources.jsonl.folders import Entry, Folders
from exporter.sources.jsonl.names import Names, Place, template, without_packing
from exporter.sources.jsonl.order import Order, names_of, newest_of_each
from exporter.sources.jsonl.position import Identity, Position, Track
from exporter.sources.jsonl.recognise import TELLING_BYTES, Links, Recognition, fits
from exporter.sources.jsonl.rotation import Rotation

LIVE = Place("", ((),))
KINDS: tuple[Kind, ...] = ("other", "rotated", "live")
_REMEMBERED = 8


@dataclass(frozen=True, slots=True)
class Chain:
    """Every relevant file, the oldest first, with the position in it; None for a file not found.

    `waiting`: a file may be in the process of being moved or compressed, so no file is given up yet. `left_out` are the
    names of files that may be the log's and are not read, by reason.
    """

    links: Links
    waiting: bool = False
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """The state at one moment: all entries of the folders, and the log's files among them, the oldest first."""

    entries: Sequence[Entry]
    names: Names
    files: Sequence[File]
    order: Order

    @property
    def live(self) -> File | None:
        """The file that is written to."""
        return self.files[-1] if self.files and self.files[-1].live else None

    @cached_property
    def beside(self) -> frozenset[str]:
        """The names of all entries."""
        return frozenset(entry.name for entry in self.entries)


class Search:
    """The search for the files of the log at `path`: in its folder, that of its link's target, and in `archives`.

    Files stay open between two reads: no other file can get the inode of an open file, and text written to it can be
    read even after its last name is gone.
    """

    def __init__(self, path: Path, archives: Sequence[Path], grace: float) -> None:
        self._path = path
        self._grace = grace
        self._folders = Folders(path, archives)
        self._rotation = Rotation(path)
        self._files: dict[Identity, File] = {}
        self._looked = False

    @property
    def folders(self) -> list[str]:
        """The folders that are searched; those below are searched by identity and content alone."""
        return [str(folder) for folder in (*self._folders.paths(), *self._folders.below())]

    @property
    def finds_live(self) -> bool:
        """Whether the last look found the file that is written to."""
        return any(file.live for file in self._files.values())

    def keep(self, files: Iterable[File | None]) -> None:
        """Close all other files."""
        kept = {file.identity for file in files if file is not None}
        for identity in self._files.keys() - kept:
            self._files.pop(identity).close()

    def close(self) -> None:
        """Close every file; the next look opens them again."""
        self.keep(())
        self._folders.forget()

    def chain(self, position: Position | None, now: float) -> Chain:
        """Return the current chain. Raises OSError where there is none, or where a file was moved meanwhile."""
        if position is None:
            chain = self._first(now)
        elif links := self._unrotated(position, now):
            chain = Chain(links)
        else:
            chain = self._rotated(position, now)
        self._looked = True
        return chain

    def _first(self, now: float) -> Chain:
        """Return the chain of a log that has not been read: the live file, and the earlier files as read."""
        look = self._look((), frozenset())
        live = look.live
        if live is None:
            raise FileNotFoundError(errno.ENOENT, "no such log")
        before = newest_of_each(
            look.files[:-1], _REMEMBERED, lambda file: _holds_something(file) and not self._may_be_copy(file, live, now)
        )
        links: Links = []
        for file in before:
            links.append((file.marked_read(), file))
            file.rest()
        return Chain(_stamped(_without_oldest([*links, (live.start(), live)]), look, 0, now))

    def _unrotated(self, position: Position, now: float) -> Links:
        """Return the chain when the live file is unchanged and no other file is being read; else nothing.

        That is the case at nearly every read, and needs no look at the folders: no file is newer than the live one.
        """
        if not position.tracks:
            return []
        *older, newest = position.tracks
        live = name_at(self._path, "live", LIVE)
        if live is None or newest.identity != live.identity or newest.state != "open" or newest.blank:
            return []
        if any(track.state == "open" for track in older):
            return []
        file = self._file(live)
        if not fits(newest, file):
            return []
        modified = min(live.modified, int(now * SECOND))
        newest = replace(newest, modified=modified, seen=max(newest.seen, modified))
        return [*((track, None) for track in older), (newest, file)]

    def _rotated(self, position: Position, now: float) -> Chain:
        """Return the chain after a file was moved."""
        learned = {template(track.name) for track in position.tracks if track.name}
        listed_again = False
        while True:
            look = self._look(position.tracks, learned)
            tracks = self._recognisable(position.tracks, look.live)
            nameless = ((index, self._nameless(track)) for index, track in enumerate(tracks))
            found = Recognition(tracks, {index: file for index, file in nameless if file is not None})
            found.search(look.files)
            if found.missing and not listed_again:
                listed_again = True
                self._folders.forget()
                continue
            if found.missing:
                since = min(tracks[index].modified for index in found.missing)
                found.search_elsewhere(self._elsewhere(look, look.entries, since))
            if found.missing and self._adopts(look, found, since):
                continue
            links = found.links()
            for _, file in links:
                if file is not None:
                    file.kept, self._files[file.identity] = True, file
            taught = {
                template(file.name.shown)
                for track, file in links
                if file is not None and file.name is not None and not (file.live or track.blank)
                if look.names.begins_alike(file.name.path.name)
            }
            if taught <= learned:
                return self._extended(links, found, look, position.seen, now)
            learned |= taught  # there may be more files of such a name, which came later

    def _extended(self, links: Links, found: Recognition, look: Look, seen: int, now: float) -> Chain:
        """Return the chain with the new files; there are new files only after the live file."""
        live, left_out, new = look.live, defaultdict[str, list[str]](list), list[File]()
        if live is None or live.identity not in found.known:
            known = names_of(look.files, found.known)
            for file in look.files:
                name = file.name
                if name is None or file.identity not in found.strangers or name.kind == "other":
                    continue
                verdict = "new" if file is live else look.order.judge(name, known, seen)
                if verdict != "old" and (file is live or not (file.readable and found.is_known_content(file))):
                    understood = not file.readable or file.understood
                    if verdict == "new" and understood:
                        new.append(file)
                    else:
                        left_out["order" if understood else "compression"].append(name.shown)
                file.rest()
            if found.missing or not self._looked:
                left_out["name"] += self._nearly(look, found, seen)

        unread = [file for track, file in links if file is not None and track.blank and track.state == "open"]
        begun = [file for file in (*unread, *new) if file is not live]
        waiting = bool(found.missing) and any(self._is_being_made(file, now) for file in begun)
        if live is not None:
            copies = [file for file in begun if self._may_be_copy(file, live, now)]
            if copies:  # text of the live file that is read now would be read again in its copy, or the other way round
                links = [(track, None if file in copies else file) for track, file in links]
                new = [file for file in new if file is not live and file not in copies]
                waiting = True
        links = _without_oldest([*links, *((file.start(), file) for file in _each_once(new))])
        stamped = _stamped(links, look, seen, now, to_come=waiting)
        return Chain(stamped, waiting, {reason: names for reason, names in left_out.items() if names})

    def _recognisable(self, tracks: Sequence[Track], live: File | None) -> Sequence[Track]:
        """Return the tracks without the newest unread ones: their files count as new files.

        Exception: an open file that is no longer live was rotated before it had a line, and may still get lines.
        """
        if not tracks or not tracks[-1].blank or tracks[-1].state != "open":
            return tracks
        file = self._files.get(tracks[-1].identity)
        held = file is not None and file.held and file is not live
        return tracks if held else self._recognisable(tracks[:-1], live)

    def _nameless(self, track: Track) -> File | None:
        """Return the open file that lost its name."""
        file = self._files.get(track.identity)
        return file if track.state == "open" and file is not None and file.name is None and fits(track, file) else None

    def _look(self, tracks: Sequence[Track], learned: Set[str]) -> Look:
        """Find all files of the log, as they were at one moment, and files that seem to have a track's inode."""
        linked = self._path.is_symlink()
        real = Path(os.path.realpath(self._path))
        names = Names((self._path.name, real.name), real.name if linked else None)
        inodes = {track.inode for track in tracks if track.state != "read"}
        entries = self._folders.entries()
        chosen = self._choose(entries, names, learned, inodes)
        found = [name for entry, kind in chosen.items() if (name := name_at(entry.path, kind, names.place(entry.name)))]
        if (live := name_at(self._path, "live", LIVE)) is not None:
            found.append(live)
        again = self._folders.entries()
        if again != entries and self._choose(again, names, learned, inodes) != chosen:
            raise OSError(errno.ESTALE, "the folder is changing")
        self._files = {identity: file for identity, file in self._files.items() if file.held}
        for file in self._files.values():
            file.name = None
            file.forget_beginning()
        # Of two names of one file (for example a link to the newest file) the newer counts.
        by_identity = {name.identity: name for name in sorted(found, key=lambda name: KINDS.index(name.kind))}
        files = [self._file(name) for name in by_identity.values()]
        order = Order(files)
        return Look(entries, names, order.oldest_first(files), order)

    def _choose(self, entries: Sequence[Entry], names: Names, learned: Set[str], inodes: Set[int]) -> dict[Entry, Kind]:
        """Return the entries that may be the log's: by name, or by the inode that they seem to have."""
        beside = {entry.name for entry in entries}
        last = self._rotation.last()
        rotated = {
            entry
            for entry in entries
            if names.is_rotated(entry.name, beside)
            or (names.begins_alike(entry.name) and template(entry.name) in learned)
            or (entry.name == last and entry.folder == self._path.parent)
        }
        plain = {entry.path for entry in rotated}
        chosen: dict[Entry, Kind] = {}
        for entry in entries:
            unpacked = without_packing(entry.name)
            if entry in rotated:
                # A file beside its compressed form is being compressed or uncompressed: the plain file is complete.
                if unpacked == entry.name or entry.folder / unpacked not in plain:
                    chosen[entry] = "rotated"
            elif entry.inode in inodes and entry.path != self._path:
                chosen[entry] = "other"
        return chosen

    def _adopts(self, look: Look, found: Recognition, since: int) -> bool:
        """Return whether a missing file was found in a folder below, which then becomes one of the log's."""
        missing = len(found.missing)
        for folder in self._folders.below():
            found.search_elsewhere(self._elsewhere(look, self._folders.list_below(folder), since))
            if len(found.missing) < missing:
                found.close_found_elsewhere()
                self._folders.adopt(folder)
                return True
        return False

    def _elsewhere(self, look: Look, entries: Sequence[Entry], since: int) -> Iterator[File]:
        """Yield every other file among these that was written since."""
        seen = {file.identity for file in look.files}
        for entry in entries:
            name = name_at(entry.path, "other", look.names.place(entry.name))
            if name is not None and name.identity not in seen and name.size and name.latest >= since:
                seen.add(name.identity)
                file = self._files.get(name.identity) or File(name.identity)
                file.name = name
                yield file

    def _nearly(self, look: Look, found: Recognition, seen: int) -> list[str]:
        """Return the names of files that were written since, begin like the log's, and may belong to it."""
        chosen = {file.name.path for file in look.files if file.name is not None and file.name.kind != "other"}
        nearly = []
        for entry in look.entries:
            if entry.path in chosen or not look.names.may_be_rotated(entry.name, look.beside):
                continue
            name = name_at(entry.path, "other", LIVE)
            if name is None or name.identity in found.claimed or not name.size or name.latest < seen:
                continue
            file = File(name.identity)
            file.name = name
            try:
                copied = file.readable and found.is_known_content(file)
            except OSError:
                continue  # deleted meanwhile
            finally:
                file.close()
            if not copied:
                nearly.append(name.shown)
        return nearly

    def _file(self, name: Name) -> File:
        file = self._files.setdefault(name.identity, File(name.identity))
        file.name = name
        return file

    def _is_being_made(self, file: File, now: float) -> bool:
        """Return whether a rotated file is new and still empty."""
        if file.name is None or file.name.quiet(now, self._grace) or not file.readable:
            return False
        nothing = not file.beginning()
        file.rest()
        return nothing

    def _may_be_copy(self, file: File, live: File, now: float) -> bool:
        """Return whether a rotated file may be a copy of the live file, which is about to be truncated."""
        if file.name is None or file.name.quiet(now, self._grace) or not file.readable:
            return False
        offset = 0
        while piece := file.read_at(offset, PIECE_BYTES):
            if live.read_at(offset, len(piece)) != piece:
                return False
            offset += len(piece)
        return offset > 0


def _holds_something(file: File) -> bool:
    return file.name is not None and file.name.size > 0


def _each_once(files: Sequence[File]) -> list[File]:
    """Return the new files without copies of others: preferably the live file, then plain files, then long ones."""
    kept: list[tuple[File, bytes]] = []
    for file in sorted(files, key=lambda file: (not file.live, file.readable and file.packed, -file.unread(0))):
        begin = file.beginning()
        if not any(_begin_alike(begin, other) for _, other in kept):
            kept.append((file, begin))
        file.rest()
    chosen = [file for file, _ in kept]
    return [file for file in files if file in chosen]


def _begin_alike(one: bytes, other: bytes) -> bool:
    shared = min(len(one), len(other))
    return shared >= TELLING_BYTES and one[:shared] == other[:shared]


def _without_oldest(links: Links) -> Links:
    """Return the links that need to be saved: of completely read files, a few of each kind are enough."""
    kept = []
    of_kind: Counter[str] = Counter()
    for track, file in reversed(links):
        if track.blank and (file is None or (track.state == "read" and file.readable)):
            continue  # nothing could be recognised by it
        kind = "gone" if file is None else "" if file.name is None else file.name.place.template
        of_kind[kind] += track.state != "open"
        if track.state == "open" or of_kind[kind] <= _REMEMBERED:
            kept.append((track, file))
    return kept[::-1]


def _stamped(links: Links, look: Look, seen: int, now: float, *, to_come: bool = False) -> Links:
    """Return the links with current names and times. A time in the future is ignored.

    `to_come`: there are files that will be new at the next look.
    """
    latest = int(now * SECOND)
    times = [file.name.modified for file in look.files if file.name is not None and file.name.kind != "other"]
    newest = max((time for time in times if time <= latest), default=0)
    # A file without a line must count as new again until it has one.
    begun = [file for track, file in links if file is not None and track.blank and track.state == "open"]
    if not to_come:
        seen = max(seen, min([newest, *(file.name.modified for file in begun if file.name is not None)]))
    stamped: Links = []
    for track, file in links:
        if file is not None and file.name is not None:
            name = "" if file.live else file.name.shown
            track = replace(track, name=name, modified=min(file.name.modified, latest))
        stamped.append((track, file))
    if stamped:
        track, file = stamped[-1]
        stamped[-1] = (replace(track, seen=seen), file)
    return stamped
