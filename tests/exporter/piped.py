"""A process whose standard error is a named pipe that the test fills, reads, or leaves alone.

with LogPipe(tmp_path / "log") as pipe:
    pipe.fill()
    process = subprocess.Popen(pipe.command("rollup"))
    assert process.wait(patience()) == 1
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from tests.running import RunningExporter
from tests.waiting import until

CHATTER = """
import asyncio, pathlib, structlog
from exporter import control

serve = control.serve

async def chatter():
    trigger = pathlib.Path({trigger!r})
    while True:
        while not trigger.exists():
            await asyncio.sleep(0.02)
        for number in range({events}):
            structlog.get_logger().info("chatter", number=number)
        trigger.unlink()

async def serve_and_chatter(*arguments):
    task = asyncio.ensure_future(chatter())
    try:
        await serve(*arguments)
    finally:
        task.cancel()

control.serve = serve_and_chatter
"""
"""A `sitecustomize` for the exporter: a burst of events, in its event loop, each time that a file is there."""


class LogPipe:
    """A named pipe, open for reading."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._reading, fcntl.F_SETPIPE_SZ, 4096)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the reading end: writers then receive EPIPE."""
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1

    def command(self, *arguments: str) -> list[str]:
        """`python -m ...` with the pipe as standard error."""
        return [
            "/bin/sh",
            "-c",
            'pipe=$1; shift; exec "$@" 2>"$pipe"',
            "sh",
            str(self.path),
            sys.executable,
            "-m",
            *arguments,
        ]

    def fill(self) -> None:
        """Write empty objects until the pipe takes no more, not even one byte."""
        writing = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            with suppress(BlockingIOError):
                while True:
                    os.write(writing, b"{}\n")
            with suppress(BlockingIOError):
                while True:
                    os.write(writing, b" ")
        finally:
            os.close(writing)

    def read(self) -> list[dict[str, Any]]:
        """Read what is there. Return all events so far, without empty objects."""
        with suppress(BlockingIOError):
            while data := os.read(self._reading, 65_536):
                self._received += data
        lines = self._received.split(b"\n")[:-1]
        return [event for event in map(orjson.loads, lines) if event]


class PipedExporter(RunningExporter):
    """The exporter with its log in a pipe, which says `events` events when `chatter` is called."""

    def __init__(self, directory: Path, pipe: LogPipe, *, events: int = 0, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self._pipe = pipe
        self._trigger = directory / "trigger"
        (directory / "sitecustomize.py").write_text(CHATTER.format(trigger=str(self._trigger), events=events))
        path = f"{directory}{os.pathsep}{self.environment['PYTHONPATH']}"
        self.environment = {**self.environment, "PYTHONPATH": path}

    def command(self) -> list[str]:
        return self._pipe.command("exporter")

    def chatter(self) -> None:
        """Have it log the events; wait until it has."""
        self._trigger.touch()
        until(lambda: not self._trigger.exists(), "all events logged")
