"""Temporary directories that are removed at the end of their process, or, after a kill, by the next process to create
such a directory.

Each contains a file that its process keeps locked. Only a directory whose file exists and is not locked is a leftover;
a directory without the file belongs to another program.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

HELD = ".held"
NEW_SECONDS = 60  # a file this young may be about to be locked


def temporary_directory(prefix: str, base: Path | None = None) -> Path:
    """Create a directory whose name begins with `prefix`; in the system's place for temporary files, or in `base`."""
    base = base or Path(tempfile.gettempdir())
    for directory in base.glob(f"{prefix}*"):
        if _is_leftover(directory):
            shutil.rmtree(directory, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    (directory / HELD).touch()
    _lock(directory / HELD)
    atexit.register(_remove, directory, os.getpid())
    return directory


def _is_leftover(directory: Path) -> bool:
    try:
        owners = {path.lstat().st_uid for path in (directory, directory / HELD)}
        age = time.time() - (directory / HELD).lstat().st_mtime
        return owners == {os.geteuid()} and age > NEW_SECONDS and _lock(directory / HELD)
    except OSError:  # a directory of another program, or removed in the meantime
        return False


def _lock(file: Path) -> bool:
    """Lock the file until this process ends; return False when another process holds the lock."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


def _remove(directory: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork of it
        shutil.rmtree(directory, ignore_errors=True)
