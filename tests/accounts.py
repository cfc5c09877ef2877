"""Another user of the machine, for tests: `nobody`. Only root can run programs as another user: for other users such
tests do not exist, and those of the files' modes remain."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

NOBODY = 65534
IS_ROOT = os.geteuid() == 0


@contextmanager
def masked(mask: int) -> Iterator[int]:
    """Set the process' umask for the duration of the context."""
    before = os.umask(mask)
    try:
        yield mask
    finally:
        os.umask(before)


@contextmanager
def entered(directory: Path) -> Iterator[None]:
    """Let other users pass through the parents of a directory, which pytest closes, for the duration of the context."""
    with ExitStack() as stack:
        for parent in directory.parents:
            mode = parent.stat().st_mode
            if not mode & 0o001:
                stack.callback(parent.chmod, mode & 0o7777)
                parent.chmod(mode & 0o7777 | 0o001)
        yield


def as_nobody(directory: Path, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run a command of the system as `nobody`, with access to a directory's parents."""
    prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with entered(directory):
        return subprocess.run([*prefix, *command], cwd="/", capture_output=True, text=True, check=False)
