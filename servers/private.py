"""Files with secrets of the servers, readable by their user alone, whatever the umask."""

from __future__ import annotations

import os
from pathlib import Path


def private_file(path: Path, text: str) -> None:
    """Write a file that no other user can read; it replaces an existing file, so that no open descriptor sees it."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
