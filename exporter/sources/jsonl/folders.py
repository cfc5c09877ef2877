"""The content of the folders that may hold a log's files: listed again only after a change.

These are the folder of the log, the folder of its target where it is a link, and the configured archives. A folder
below becomes an archive when a file of the log was found in it by its identity or content: names alone are not enough,
as logs of other programs may have the same names.
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
"""A folder changed less than 2 s ago may change again without a new time stamp: the slowest clocks of file systems have
that resolution."""

Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder, and its inode according to the folder: a hint."""

    folder: Path
    name: str
    inode: int

    @property
    def path(self) -> Path:
        """The whole path."""
        return self.folder / self.name


class Folders:
    """The folder of a log, the folder of its target where it is a link, and the archives."""

    def __init__(self, path: Path, archives: Sequence[Path]) -> None:
        self._path = path
        self._archives = list(archives)
        self._listed: dict[Path, tuple[Signature, bool, list[Entry]]] = {}

    def paths(self) -> list[Path]:
        """Return the folders, each once. A relative archive is beside the log, or beside the target of its link."""
        real = self._real.parent
        named = [self._path.parent, real]
        named += [folder / archive for archive in self._archives for folder in (self._path.parent, real)]
        return list({identity: folder for folder in reversed(named) if (identity := _identity(folder))}.values())[::-1]

    @property
    def _real(self) -> Path:
        return Path(os.path.realpath(self._path))

    def entries(self) -> list[Entry]:
        """Return all entries. Raises OSError where a folder cannot be read, or where the log's own folder is
        missing."""
        if not stat.S_ISDIR(self._path.parent.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "no directory")
        return [entry for folder in self.paths() for entry in self._entries(folder)]

    def below(self) -> list[Path]:
        """Return the folders inside those of the log that are not folders of the log themselves."""
        own = {_identity(folder) for folder in self.paths()}
        parents = {_identity(parent): parent for parent in (self._path.parent, self._real.parent)}
        found = [folder for parent in parents.values() for folder in _folders_in(parent)]
        return [folder for folder in found if _identity(folder) not in own]

    def list_below(self, folder: Path) -> list[Entry]:
        """Return the entries of one of these; none where access is denied."""
        try:
            return list(_list(folder))
        except OSError:
            return []

    def adopt(self, folder: Path) -> None:
        """Treat a folder as one of the log's from now on."""
        self._archives.append(folder)

    def forget(self) -> None:
        """Make the next look list everything again."""
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
