"""Run a command that does not outlive its parent: `leash.py PARENT_PID SIGNAL USER COMMAND...`.

The wrapper of every process that `child.py` starts, as a program of its own: Linux sends a signal on a parent's death
only to a process that asked for it itself, after its last change of user; and a process with threads should not run
Python between fork and exec. macOS has no such signal: there, a parent ended by SIGKILL leaves its children behind.
USER may be empty.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1


def run(parent: int, orphan_signal: int, user: str, command: list[str]) -> None:
    """Become `command` as `user`, and get `orphan_signal` when `parent` dies. Only returns by raising."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if user:
        account = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    if libc is not None and libc.prctl(PR_SET_PDEATHSIG, orphan_signal) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        raise SystemExit("the parent died before the leash was on")
    os.execv(command[0], command)  # noqa: S606  # no shell is the point


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
