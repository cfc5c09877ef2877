"""Temporary directories: removed at the end of their process, or else by the next one; those of other processes
stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from servers.temporary import HELD, NEW_SECONDS, temporary_directory

PROJECT = Path(__file__).parents[2]
PROGRAM = """
import os, signal, sys
from pathlib import Path
from servers.temporary import temporary_directory
print(temporary_directory("trial-", Path(sys.argv[1])), flush=True)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""


def run(base: Path, how: str) -> subprocess.Popen[str]:
    """A process that creates a temporary directory, and is killed, or ends with its standard input."""
    command = [sys.executable, "-c", PROGRAM, str(base), how]
    return subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def made_by(process: subprocess.Popen[str]) -> Path:
    """The directory of the process, made a minute old."""
    assert process.stdout is not None
    directory = Path(process.stdout.readline().strip())
    long_ago = time.time() - 2 * NEW_SECONDS
    os.utime(directory / HELD, (long_ago, long_ago))
    return directory


def test_it_goes_with_its_process(tmp_path: Path) -> None:
    with run(tmp_path, "ended") as process:
        directory = made_by(process)
        assert directory.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_leftover_goes_with_the_next_one_and_one_in_use_stays(tmp_path: Path) -> None:
    with run(tmp_path, "killed") as killed, run(tmp_path, "ended") as ended:
        leftover, in_use = made_by(killed), made_by(ended)
        killed.wait()
        new = temporary_directory("trial-", tmp_path)
        assert not leftover.exists()
        assert in_use.is_dir()
        assert new.is_dir()


def test_a_directory_that_never_was_held_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "trial-and-error").mkdir()
    long_ago = time.time() - 2 * NEW_SECONDS
    os.utime(tmp_path / "trial-and-error", (long_ago, long_ago))
    temporary_directory("trial-", tmp_path)
    assert (tmp_path / "trial-and-error").is_dir()
