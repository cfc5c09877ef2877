"""State that outlives the process: one small JSON file per subject, in a directory that belongs to one exporter alone.

A collector with counters loads its file once, when it is built, and saves it before it shows a new count. State is a
cache: a file that is missing or invalid costs the counts in it and nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import structlog

from exporter import disk
from exporter.errors import SettingsError, StateError

_log = structlog.get_logger()

LOCK = "lock"
"""The file whose lock marks the directory as in use; it contains the process id of the holder."""


class StateFile:
    """One JSON object on disk, replaced as a whole or not at all."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / name

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
        temporary = self.path.with_name(f".{self.path.name}.new")  # a fixed name: leftovers are overwritten
        try:
            try:
                with temporary.open("wb") as file:
                    file.write(orjson.dumps(value))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self.path)
            except OSError:
                with suppress(OSError):
                    temporary.unlink()
                raise
            _sync_directory(self.path.parent)
        except OSError as error:
            raise _failed(self.path, "written", error) from error


class StateDirectory:
    """The directory of all state files, created where it is missing and locked while this is open."""

    def __init__(self, path: Path) -> None:
        """Lock the directory. Raises SettingsError where it cannot be created or written, or is in use by another
        exporter."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass  # an existing lock file can be opened even where no other file can be created
            self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unusable(path, f"cannot be written: {error.strerror}") from None
        try:
            self._take_lock()
        except BaseException:
            self.close()
            raise

    def file(self, name: str) -> StateFile:
        """Return the state file of that name."""
        return StateFile(self.path, name)

    def close(self) -> None:
        """Release the directory for another exporter, once no save is in progress, unless the disk hangs."""
        disk.settle()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_lock(self) -> None:
        # The kernel releases the lock when the process ends, in any way: no lock is ever left behind.
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise _unusable(self.path, f"is in use by another exporter (process {holder})") from None
        except OSError as error:
            raise _unusable(self.path, f"cannot be locked: {error.strerror}") from None
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise _unusable(self.path, f"cannot be written: {error.strerror}") from None


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
