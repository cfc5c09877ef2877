"""State that outlives the process: one small JSON file per subject, in a directory that belongs to one exporter alone.

A collector with counters loads its file once, when it is built, and saves it before it shows a new count. State is a
cache: a file that is missing or invalid costs the counts in it and nothing else.

Only the exporter's user has access, at any umask: another user could hold the lock, or write counts.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson
import structlog

from exporter import disk
from exporter.errors import SettingsError, StateError
from exporter.state_lock import LOCK, PRIVATE_DIRECTORY, PRIVATE_FILE, LockedError, StateLock

_log = structlog.get_logger()

_OTHER_USERS = stat.S_IRWXG | stat.S_IRWXO


class StateFile:
    """One JSON object on disk, replaced as a whole or not at all."""

    def __init__(self, directory: Path, name: str, check: Callable[[], None] = lambda: None) -> None:
        """`check` raises StateError where nothing may be written any more."""
        self.path = directory / name
        self._check = check

    def load(self) -> dict[str, Any] | None:
        """Return the object saved last; None where there is none, or the file holds anything else.

        Raises StateError where a file exists and cannot be read.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(self.path, "read", error) from error
        try:
            value = orjson.loads(content)
        except orjson.JSONDecodeError:
            value = None
        if isinstance(value, dict):
            return value
        self.set_aside("not a JSON object")
        return None

    def set_aside(self, reason: str) -> None:
        """Keep an invalid file as `NAME.corrupt`, for inspection."""
        aside = self.path.with_name(f"{self.path.name}.corrupt")
        _log.warning("state.corrupt", file=str(self.path), kept_as=str(aside), reason=reason)
        try:
            self.path.replace(aside)
        except OSError as error:
            raise _failed(self.path, "set aside", error) from error

    def save(self, value: Any) -> None:
        """Replace the object; after the return, not even a power cut restores the old one.

        Raises StateError where that cannot be guaranteed. The file on disk is complete either way.
        """
        self._check()
        temporary = self.path.with_name(f".{self.path.name}.new")  # a fixed name: leftovers are overwritten
        try:
            try:
                with _private_file(temporary) as file:
                    file.write(orjson.dumps(value))
                    file.flush()
                    os.fsync(file.fileno())
                self._check()  # the disk may have hung until now
                temporary.replace(self.path)
            except OSError:
                with suppress(OSError):
                    temporary.unlink()
                raise
            _sync_directory(self.path.parent)
        except OSError as error:
            raise _failed(self.path, "written", error) from error


class StateDirectory:
    """The directory of all state files, created where it is missing, closed to other users, and locked while this is
    open."""

    def __init__(self, path: Path, *, commands: bool = False) -> None:
        """Lock the directory; `commands`: whether this process answers commands (`control.py`).

        Raises SettingsError where it cannot be created, written or closed to other users, or is in use by another
        exporter.
        """
        self.path = path
        try:
            _make(path)
            with tempfile.TemporaryFile(dir=path):
                pass  # an existing lock file can be opened even where no other file can be created
            _close_to_others(path)
            self._lock = StateLock(path, commands=commands)
        except LockedError as error:
            raise _unusable(path, str(error)) from None
        except OSError as error:
            raise _unusable(path, f"cannot be written: {error.strerror}") from None

    def file(self, name: str) -> StateFile:
        """Return the state file of that name."""
        return StateFile(self.path, name, self.check)

    def check(self) -> None:
        """Raise StateError where the directory is no longer this exporter's."""
        self._lock.check()

    def is_held(self) -> bool:
        """Return whether the directory is still this exporter's."""
        try:
            self.check()
        except StateError:
            return False
        return True

    def close(self) -> None:
        """Release the directory for another exporter, once no save is in progress, unless the disk hangs."""
        disk.settle()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make(path: Path) -> None:
    """Create the directory for this user alone, and missing parents that other users cannot write, at any umask."""
    missing = [parent for parent in path.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(mode=0o755, exist_ok=True)
    path.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)


def _close_to_others(path: Path) -> None:
    """Close an existing state directory of this user to other users.

    Raises SettingsError for the directory of another user, who could open it again; for a directory with files of other
    programs, which may need it open; and for a file system without permissions.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if not mode & _OTHER_USERS:
            return
        content = [file.name for file in path.iterdir()]
        own = status.st_uid == os.geteuid()
        if own and (LOCK in content or not content):
            with suppress(PermissionError):
                os.fchmod(descriptor, PRIVATE_DIRECTORY)
        if not own or os.fstat(descriptor).st_mode & _OTHER_USERS:
            user = _user(os.geteuid())
            reason = f"is open to other users (mode {mode:04o}, owner {_user(status.st_uid)})"
            remedy = (
                f"make it a directory of {user} alone (chown {user}, chmod 700), or set one in it that does not exist"
            )
            raise _unusable(path, f"{reason}: {remedy}")
    finally:
        os.close(descriptor)
    _log.warning("state.directory_closed", path=str(path), mode=f"{mode:04o}")


def _user(number: int) -> str:
    """Return the name of a user, or the number of a user without a name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _private_file(path: Path) -> BinaryIO:
    """Open a file for writing, readable by this user alone, also a leftover with another mode."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
    with suppress(PermissionError):  # a file system without permissions, in a directory that is closed all the same
        os.fchmod(descriptor, PRIVATE_FILE)
    return os.fdopen(descriptor, "wb")


def _sync_directory(path: Path) -> None:
    """Make a rename in the directory durable; file systems that cannot sync a directory (some network ones) are
    accepted."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def _failed(path: Path, what: str, error: OSError) -> StateError:
    return StateError(f"{path}: cannot be {what}: {error.strerror}")


def _unusable(path: Path, reason: str) -> SettingsError:
    return SettingsError(f"HIVESYNC_STATE_DIR: {path} {reason}")
