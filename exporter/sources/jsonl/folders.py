"""What is in the folders where a log's files may lie: listed again only when something has changed there.

These are the folder of the log, that of the file it is a link to, and the archives that were named. A folder below
becomes one when a file of the log was found in it by its identity or content: names alone would not do, as logs of
other programs may have the same.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_TRUSTED_AFTER = 2_000_000_000
"""A folder changed less than 2 s ago may change again without a new time stamp: clocks of file systems tick that
slowly at worst."""

Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder, and the inode it stands for, as the folder has it: a hint."""

    folder: Path
    name: str
    inode: int

    @property
    def path(self) -> Path:
        """The whole path."""
        return self.folder / self.name


class Folders:
    """The folder a log is in, that of the file it is a link to, and the archives."""

    def __init__(self, path: Path, archives: Sequence[Path]) -> None:
        self._path = path
        self._archives = list(archives)
        self._listed: dict[Path, tuple[Signature, bool, list[Entry]]] = {}

    def paths(self) -> list[Path]:
        """The folders, each once. A relative archive is beside the log, or beside the file it is a link to."""
        real = self._real.parent
        named = [self._path.parent, real]
        named += [folder / archive for archive in self._archives for folder in (self._path.parent, real)]
        return list({identity: folder for folder in reversed(named) if (identity := _identity(folder))}.values())[::-1]

    @property
    def _real(self) -> Path:
        return Path(os.path.realpath(self._path))

    def entries(self) -> list[Entry]:
        """Everything there. Raises OSError where a folder cannot be read, or where the log's own is missing."""
        if not stat.S_ISDIR(self._path.parent.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "no directory")
        return [entry for folder in self.paths() for entry in self._entries(folder)]

    def below(self) -> list[Path]:
        """The folders in those of the log that are none of its own."""
        own = {_identity(folder) for folder in self.paths()}
        parents = {_identity(parent): parent for parent in (self._path.parent, self._real.parent)}
        found = [folder for parent in parents.values() for folder in _folders_in(parent)]
        return [folder for folder in found if _identity(folder) not in own]

    def list_below(self, folder: Path) -> list[Entry]:
        """What is in one of these; nothing where we may not look."""
        try:
            return list(_list(folder))
        except OSError:
            return []

    def adopt(self, folder: Path) -> None:
        """Take a folder for one of the log's from now on."""
        self._archives.append(folder)

    def forget(self) -> None:
        """Have the next look list everything again."""
        self._listed.clear()

    def _entries(self, folder: Path) -> list[Entry]:
        info = folder.stat()
        signature = (info.st_dev, info.st_ino, info.st_mtime_ns, info.st_ctime_ns)
        known = self._listed.get(folder)
        if known is not None and known[0] == signature and known[1]:
            return known[2]
        trusted = time.time_ns() - max(info.st_mtime_ns, info.st_ctime_ns) > _TRUSTED_AFTER
        entries = list(_list(folder))
        self._listed[folder] = (signature, trusted, entries)
        return entries


def _list(folder: Path) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        for entry in found:
            if not entry.is_dir(follow_symlinks=False):
                yield Entry(folder, entry.name, entry.inode())


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return [Path(entry.path) for entry in found if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        info = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (info.st_dev, info.st_ino) if stat.S_ISDIR(info.st_mode) else None
