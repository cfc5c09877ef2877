"""The real logrotate at a made-up time, by Debian's `faketime`."""

from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TZ": "UTC", "NO_FAKE_STAT": "1", "FAKE_UTIME": "0"}
MOST = 100


def rotate_at(moment: datetime, state: Path, configuration: Path) -> None:
    """Rotate all logs of the configuration; fails with what logrotate says.

    Where a process of `faketime`'s is killed, a semaphore and shared memory with its number are left behind, and a
    later process of the same number fails: it is tried again in another process.
    """
    at = f"{moment:%Y-%m-%d %H:%M:%S}"
    command: list[str | Path] = ["faketime", at, "logrotate", "-f", "-s", state, configuration]
    for _ in range(MOST):
        ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
        if ended.returncode == 0 or "File exists" not in ended.stderr:
            break
    assert ended.returncode == 0, ended.stderr
