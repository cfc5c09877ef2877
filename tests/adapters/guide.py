"""A page of instructions whose commands a test runs: as they are written, with the addresses of the test's servers.

guide = Guide(README, {"/etc/prometheus": str(folder)}, folder)
guide.run("2. Settings", "sudo install")         the block that begins so, in bash
guide.write("2. Settings", "/etc/.../secret")    the block that is the content of this file
Service(guide, "4. ...", "python -m exporter")   a block that is the command of a service
guide.left()                                     the blocks that no test has used
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.exporting import PROJECT
from servers.bound import Bound
from servers.child import Child
from tests.waiting import patience

_SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"(?:`(/[^`\n]+)`(?:(?!\n\n).)*\n\n)?^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SHIMS = {
    "sudo": 'exec "$@"',
    "systemctl": 'echo "$@" >>"$(dirname "$0")/systemctl.log"',
}
"""Programs that a test cannot run, as shell scripts."""

PROMPT_SECONDS = 30.0


@dataclass(frozen=True)
class Block:
    """A block of code, and the path in the paragraph above it, if there is one."""

    section: str
    file: str | None
    text: str


class Guide:
    """The blocks of a page by section."""

    def __init__(self, page: Path, words: Mapping[str, str], folder: Path) -> None:
        """`words` are replaced in every block; `folder` is for substitutes of programs."""
        self._words = words
        self._blocks = [
            Block(section, file or None, text)
            for section, content in _SECTION.findall(page.read_text())
            for file, text in _BLOCK.findall(content)
        ]
        self._left = list(self._blocks)
        self._shims = folder / "shims"
        self._shims.mkdir()
        for name, script in SHIMS.items():
            shim = self._shims / name
            shim.write_text(f"#!/bin/sh\n{script}\n")
            shim.chmod(0o755)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
        path = os.pathsep.join((str(self._shims), str(Path(sys.executable).parent), os.environ["PATH"]))
        self.environment: Mapping[str, str] = {**inherited, "PATH": path}

    def take(self, section: str, begin: str = "", *, file: str | None = None) -> str:
        """The text of the only block of a section that begins so, or is of this file, with the words replaced."""
        (block,) = [
            each
            for each in self._blocks
            if each.section == section and each.text.startswith(begin) and (file is None or each.file == file)
        ]
        if block in self._left:
            self._left.remove(block)
        return self._replaced(block.text)

    def run(self, section: str, begin: str, *answers: tuple[str, str]) -> str:
        """Run a block in bash, and return its output. Fails unless the status is 0."""
        return self.script(self.take(section, begin), *answers)

    def script(self, text: str, *answers: tuple[str, str]) -> str:
        """Run commands in bash at a terminal. `answers` are prompts, in their order, and the lines to type."""
        return at_a_terminal(["bash", "-euc", text], answers, self.environment)

    def write(self, section: str, file: str) -> None:
        """Write the block that is the content of this file (its name on the page)."""
        Path(self._replaced(file)).write_text(self.take(section, file=file))

    def left(self) -> Sequence[str]:
        """The first lines of the blocks that were not taken."""
        return [block.text.partition("\n")[0] for block in self._left]

    def asked_of_systemd(self) -> list[str]:
        """The arguments of each `systemctl`."""
        return (self._shims / "systemctl.log").read_text().splitlines()

    def _replaced(self, text: str) -> str:
        for word, replacement in self._words.items():
            text = text.replace(word, replacement)
        return text


def at_a_terminal(command: Sequence[str], answers: Sequence[tuple[str, str]], environment: Mapping[str, str]) -> str:
    """The output of a command at a terminal of its own. Fails unless every prompt comes, and the status is 0."""
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=PROJECT,
            env=dict(environment),
        )
    finally:
        os.close(theirs)
    output, begin, bound = "", 0, Bound(PROMPT_SECONDS * 2)
    waiting = list(answers)
    with process, os.fdopen(ours, "r+b", buffering=0) as terminal:
        while not bound.is_reached():
            if select.select([terminal], [], [], 1)[0]:
                try:
                    output += terminal.read(65_536).decode(errors="replace")
                except OSError:  # the last program at the terminal ends; without a terminal, it would be killed
                    process.wait(patience())
                    break
            if waiting and (prompt := output.find(waiting[0][0], begin)) >= 0:
                begin = prompt + len(waiting[0][0])
                terminal.write(f"{waiting.pop(0)[1]}\n".encode())
        else:
            process.kill()
    assert (process.returncode, waiting) == (0, []), output
    return output.replace("\r\n", "\n")


class Service(Child):
    """A command of the page as a process that goes on."""

    def __init__(
        self,
        name: str,
        folder: Path,
        command: str,
        environment: Mapping[str, str],
        ready: Callable[[], object],
        working_directory: Path = PROJECT,
    ) -> None:
        """`name` is that of its log; `ready` tells whether it works."""
        self.name = name  # type: ignore[misc]  # a name for each object
        super().__init__(folder)
        self.environment = environment
        self.working_directory = working_directory
        self._text, self._ready = command, ready

    @property
    def url(self) -> str:
        """It has none."""
        return ""

    def command(self) -> Sequence[str]:
        return ["/bin/bash", "-euc", f"exec {self._text}"]

    def is_ready(self) -> bool:
        return bool(self._ready())
