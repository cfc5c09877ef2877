"""Other programs as child processes, which run to their end and do not outlive this process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.measure import NotMeasured
from demo.exporting import PROJECT
from servers.child import LEASH


class Conversation:
    """A module of this project as a child process. It writes a line when it is ready and one for each line on its
    standard input, and ends when its standard input is closed: on request, or with this process."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*_leash(), sys.executable, "-m", module, *arguments],
            env=dict(os.environ) | {"PYTHONPATH": str(PROJECT)},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hear()

    def hear(self) -> str:
        """Read its next line. Raises NotMeasured when the process has ended."""
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise NotMeasured(f"it ended with exit status {self._process.wait()}")
        return line.strip()

    def say(self, line: str = "") -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def installed(program: str, package: str) -> str:
    """Return the absolute path of a program. Raises NotMeasured with the command that installs it."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise NotMeasured(f"{program} is not installed (on Debian: apt-get install {package})")
    return str(Path(found).absolute())


def run(
    command: Sequence[str], *, within: float, environment: Mapping[str, str] | None = None, ok: Sequence[int] = (0,)
) -> subprocess.CompletedProcess[str]:
    """Run a program (an absolute path) to its end. Raises NotMeasured when it fails or exceeds the time (seconds)."""
    try:
        ended = subprocess.run(
            [*_leash(), *command],
            env=dict(environment) if environment is not None else None,
            cwd="/",  # outside any directory with a .env
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotMeasured(f"{Path(command[0]).name} took more than {within:g} s") from error
    if ended.returncode not in ok:
        said = (ended.stderr or ended.stdout).strip()[-300:]
        raise NotMeasured(f"{Path(command[0]).name} failed with exit status {ended.returncode}: {said}")
    return ended


def debian_version(package: str) -> str:
    """Return the version of an installed Debian package; empty when it is not installed."""
    dpkg = shutil.which("dpkg-query")
    if dpkg is None:
        return ""
    ended = run([dpkg, "-W", "-f", "${Version}", package], within=20, ok=range(256))
    return ended.stdout.strip() if ended.returncode == 0 else ""


def _leash() -> list[str]:
    """Return the prefix for a command that must not outlive this process."""
    return [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(signal.SIGKILL)), ""]
