"""A disk that hangs, in a real process: chosen functions block in a system call until the test lets go.

It stands for a network file system whose server does not answer: the call does not return, the interpreter is released
meanwhile, and no signal ends it.

    disk = HangingDisk(tmp_path, "exporter.state", "StateFile.save")
    exporter.environment = disk.environment(exporter.environment)
    with exporter, disk.hanging():
        ...
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PATCH = """
import importlib, os

def hang(where, name):
    target = importlib.import_module(where)
    *owners, last = name.split(".")
    for owner in owners:
        target = getattr(target, owner)
    function = getattr(target, last)

    def hanging(*arguments, **named):
        try:
            os.close(os.open({trigger!r}, os.O_RDONLY))  # waits for a writer
        except FileNotFoundError:
            pass
        return function(*arguments, **named)

    setattr(target, last, hanging)

for where, name in {functions!r}:
    hang(where, name)
"""
"""A `sitecustomize`: each function opens a named pipe first, where there is one."""


class HangingDisk:
    """The functions of a process that block while `hanging`."""

    def __init__(self, directory: Path, *functions: tuple[str, str]) -> None:
        """`functions`: the module and the name of each."""
        self._place = directory / "site"
        self._place.mkdir()
        self._trigger = directory / "hanging"
        (self._place / "sitecustomize.py").write_text(PATCH.format(trigger=str(self._trigger), functions=functions))

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment of the process."""
        return {**environment, "PYTHONPATH": f"{self._place}{os.pathsep}{environment['PYTHONPATH']}"}

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Calls that begin in this context block until its end."""
        os.mkfifo(self._trigger)
        try:
            yield
        finally:
            released = self._trigger.with_suffix(".released")
            self._trigger.rename(released)
            with suppress(OSError):  # no call is blocked
                os.close(os.open(released, os.O_WRONLY | os.O_NONBLOCK))
            released.unlink()
