"""A child process with a log and a readiness check, which never outlives this process.

The common part of the servers of this package and the demo's exporter: start and wait until ready, stop, kill, and
restart with the same port and data.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from servers.bound import Bound, slowness

LEASH = Path(__file__).with_name("leash.py")
POLL_SECONDS = 0.02


class ChildError(Exception):
    """A child process did not start or did not end; the message names it and shows the end of its log."""


class Child(ABC):
    """One process, started and stopped any number of times from one directory.

    Start it from a thread that lives at least as long: to Linux, that thread is its parent.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    orphan_signal: ClassVar[signal.Signals] = signal.SIGKILL
    start_seconds: ClassVar[float] = 60

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log = self.directory / f"{self.name.lower()}.log"
        self.user = ""  # the user to run as; empty: the current one
        self.working_directory = Path("/")  # a directory open to every user
        self.environment: Mapping[str, str] = os.environ
        self.prefix: Sequence[str] = ()  # a command that runs the process, as its user; its first word an absolute path
        self._process: subprocess.Popen[bytes] | None = None
        self._family: int | None = None
        self._log_start = 0

    @property
    @abstractmethod
    def url(self) -> str:
        """The address for clients."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the command; its first word is an absolute path."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether the process answers; called repeatedly while it starts."""

    def prepare(self) -> None:
        """Create the files that the process needs at its start."""
        return

    @property
    def is_alive(self) -> bool:
        """True while the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id. Raises ChildError when it was never started or has been stopped."""
        if self._process is None:
            raise ChildError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it is ready. Raises ChildError, with the end of its log."""
        if self.is_alive:
            raise ChildError(f"{self.name} is already running")
        self._abandon()  # descendants of a process that died by itself may be left
        with self.log.open("ab") as log:
            self._log_start = log.tell()
        self.prepare()
        atexit.register(self._abandon)
        try:
            self._launch()
            self._wait_until_ready()
        except BaseException:
            self._abandon()
            raise

    def stop(self) -> None:
        """Ask the process to end and wait until it has; do nothing when it does not run."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would, and wait until its own children are gone too."""
        self._end(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal, if it runs; does not wait, and so may be called from a signal handler."""
        if self._process is not None:
            self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, command: Sequence[str]) -> None:
        """Run another command to its end, in the same way as the process. Raises ChildError when it fails."""
        with self.log.open("ab") as log:
            ended = subprocess.run(
                self._leashed(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.working_directory,
                env=self.environment,
                start_new_session=True,
                check=False,
            )
        if ended.returncode != 0:
            raise self.failure(f"{Path(command[0]).name} failed with exit status {ended.returncode}")

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of the log since the last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _leashed(self, command: Sequence[str]) -> list[str]:
        leash = [str(LEASH), str(os.getpid()), str(int(self.orphan_signal)), self.user]
        return [sys.executable, "-I", "-S", *leash, *command]

    def _launch(self) -> None:
        # All descendants inherit the writing end of this pipe: end of file means that they are gone.
        self._family, writing_end = os.pipe()
        try:
            with self.log.open("ab") as log:
                # A session of its own: Ctrl-C reaches this process alone, which ends the children in order.
                self._process = subprocess.Popen(
                    self._leashed([*self.prefix, *self.command()]),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.working_directory,
                    env=self.environment,
                    start_new_session=True,
                    pass_fds=(writing_end,),
                )
        finally:
            os.close(writing_end)

    def _wait_until_ready(self) -> None:
        bound = Bound(self.start_seconds)
        while not self.is_ready():
            if not self.is_alive:
                status = self._process.returncode if self._process else None
                raise self.failure(f"{self.name} ended while starting, exit status {status}")
            if bound.is_reached():
                raise self.failure(f"{self.name} was not ready after {bound.seconds:.0f} s")
            time.sleep(POLL_SECONDS)

    def _abandon(self) -> None:
        self._end(self.orphan_signal)

    def _end(self, how: signal.Signals, patience: float = 20) -> None:
        self.send(how)
        patience *= slowness()
        if self._process is not None:
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._family is not None and not select.select([self._family], [], [], patience)[0]:
            raise self.failure(f"{self.name} ended, but processes it had started are still there")
        self._forget()

    def _forget(self) -> None:
        if self._family is not None:
            os.close(self._family)
        self._family = self._process = None
        atexit.unregister(self._abandon)

    def failure(self, what: str) -> ChildError:
        """Return the error to raise: its message, and the end of the log."""
        indented = "\n".join(f"    {line}" for line in self.log_tail().splitlines())
        return ChildError(f"{what}; the end of {self.log}:\n{indented}")
