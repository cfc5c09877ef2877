"""The lock that marks a state directory as in use by one exporter.

    StateLock (this) -> state.py: nothing is saved without it

The lock belongs to a file, not to its path: while a process holds it, the directory can be removed, or another one put
in its place with an exporter of its own. `check` finds this out before each save.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import structlog

from exporter.errors import StateError

PRIVATE_DIRECTORY, PRIVATE_FILE = 0o700, 0o600

LOCK = "lock"
"""The name of the file; it contains the process id of the holder."""

COMMANDS = "commands"
"""Its second line, where the holder answers commands (`control.py`)."""

RETRIES = 5
RETRY_SECONDS = 0.05
"""`holder` has the lock for a moment."""

_log = structlog.get_logger()


class LockedError(Exception):
    """The lock cannot be taken; the message is the reason, as the end of a sentence."""


class StateLock:
    """The lock of a directory, held until `close`. Usable from all threads."""

    def __init__(self, directory: Path, *, commands: bool) -> None:
        """Take the lock; `commands`: whether this process answers commands. Raises LockedError or OSError."""
        self._path, self._commands = directory / LOCK, commands
        self._mutex = Lock()
        self._is_lost = False
        self._descriptor = self._take(os.O_CREAT)

    def check(self) -> None:
        """Raise StateError unless the lock is that of the directory at the path. A directory that was removed is made
        and locked again."""
        with self._mutex:
            if self._descriptor < 0:
                raise StateError(f"{self._path.parent}: no longer locked by this process")
            try:
                if self._is_in_place():
                    self._is_lost = False
                    return
                is_removed = not self._path.exists()
            except OSError as error:  # a disk that fails has replaced nothing
                raise StateError(f"{self._path.parent}: cannot be examined: {error.strerror}") from error
            if is_removed and self._retake():
                _log.warning("state.lock_retaken", path=str(self._path.parent))
                self._is_lost = False
                return
            if not self._is_lost:
                _log.error("state.lock_lost", path=str(self._path.parent))
            self._is_lost = True
            raise StateError(
                f"{self._path.parent}: was replaced while this exporter runs, and may be another's: nothing is saved;"
                " restart this exporter"
            )

    def close(self) -> None:
        """Release the lock."""
        with self._mutex:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # the kernel has released it all the same
                os.close(descriptor)

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _retake(self) -> bool:
        try:
            self._path.parent.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            descriptor = self._take(os.O_CREAT | os.O_EXCL)
        except (OSError, LockedError):
            return False
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = descriptor
        return True

    def _take(self, flags: int) -> int:
        # The kernel releases the lock when the process ends, in any way: no lock is ever left behind.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | flags, PRIVATE_FILE)
        try:
            with suppress(PermissionError):  # the file of another user, in a directory without access for that user
                os.fchmod(descriptor, PRIVATE_FILE)
            _lock(descriptor)
            os.ftruncate(descriptor, 0)
            lines = [str(os.getpid()), *([COMMANDS] if self._commands else [])]
            os.pwrite(descriptor, "".join(f"{line}\n" for line in lines).encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that has a directory locked, and whether it answers commands."""

    process: str
    answers: bool


def holder(directory: Path) -> LockHolder | None:
    """Return the holder of a directory's lock; None for a directory that is not locked."""
    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        process, *more = _content(descriptor)
        return LockHolder(process, COMMANDS in more)
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return None


def _lock(descriptor: int) -> None:
    for left in reversed(range(RETRIES)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                holding = _content(descriptor)[0]
                raise LockedError(f"is in use by another exporter (process {holding})") from None
            time.sleep(RETRY_SECONDS)
        except OSError as error:
            raise LockedError(f"cannot be locked: {error.strerror}") from None
        else:
            return


def _content(descriptor: int) -> list[str]:
    return os.pread(descriptor, 40, 0).decode("ascii", "replace").split() or ["unknown"]
