"""strace: the calls of an ordinary run, and a command that runs another one with one fault."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from crash.calls import KILL, NAMELESS, Call, below, kind_of

STRACE = "strace"
_CALL = re.compile(r"(\d+) +(\w+)\((.*)")
_INJECTED = "(INJECTED)"
_KILLED = "+++ killed by SIGKILL +++"


@dataclass(slots=True)
class Seen:
    """The occurrences of a call in one process: the largest number in one thread, and the files by their paths below
    the folder."""

    occurrences: int = 0
    paths: set[str] = field(default_factory=set)


@cache
def no_strace() -> str:
    """Return why no system call can fail here; empty where it can."""
    program = shutil.which(STRACE)
    if program is None:
        return "strace is not installed (on Debian: apt-get install strace)"
    ended = subprocess.run(
        [program, "-f", "-o", "/dev/null", sys.executable, "-c", ""], capture_output=True, text=True, check=False
    )
    return "" if ended.returncode == 0 else f"strace may not trace here: {ended.stderr.strip()}"


def strace_version() -> str:
    """Return strace's version; "none" without it."""
    program = shutil.which(STRACE)
    if program is None:
        return "none"
    ended = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return ended.stdout.partition("\n")[0].rpartition(" ")[2]


def observing(output: Path) -> list[str]:
    """Return a command that runs another one, and writes all of its calls."""
    return [_program(), "-D", "-f", "-y", "-o", str(output)]


def failing(output: Path, name: str, fault: str, occurrence: int, paths: Iterable[Path]) -> list[str]:
    """Return a command that runs another one with a fault: in each thread, the call of that number, from 1, among those
    of this name on these files."""
    how = f"signal={KILL}" if fault == KILL else f"error={fault}"
    filtered = [] if fault == KILL else ["--seccomp-bpf"]  # faster; strace sends no signal with it
    files = [option for path in sorted(paths) for option in ("-P", str(path))]
    injection = ["-e", f"trace={name}", "-e", f"inject={name}:{how}:when={occurrence}"]
    return [_program(), "-D", "-f", *filtered, "-y", *files, *injection, "-o", str(output)]


def read_calls(output: Path, folder: Path) -> dict[Call, Seen]:
    """Return the calls of a run on files in the state and log folders below `folder`."""
    in_threads: Counter[tuple[Call, str]] = Counter()
    seen: dict[Call, Seen] = {}
    for thread, name, path in _calls(output, folder):
        call = Call(kind_of(path), name)
        in_threads[call, thread] += 1
        found = seen.setdefault(call, Seen())
        found.occurrences = max(found.occurrences, in_threads[call, thread])
        found.paths.add(path)
    return seen


def read_faults(output: Path) -> int:
    """Return the number of calls that failed, or were the last, by a fault."""
    text = output.read_text(errors="replace") if output.exists() else ""
    return text.count(_INJECTED) or int(_KILLED in text)


def merged(runs: Sequence[Mapping[Call, Seen]]) -> dict[Call, Seen]:
    """Return the calls of several processes together: the largest number of occurrences in a thread, and all files."""
    together: dict[Call, Seen] = {}
    for run in runs:
        for call, seen in run.items():
            all_seen = together.setdefault(call, Seen())
            all_seen.occurrences = max(all_seen.occurrences, seen.occurrences)
            all_seen.paths |= seen.paths
    return together


def can_be_named(call: Call) -> bool:
    """Return whether strace can choose the call's files by their paths."""
    return call.kind != NAMELESS


def _calls(output: Path, folder: Path) -> Iterator[tuple[str, str, str]]:
    pattern = below(folder)
    with output.open(errors="replace") as lines:
        for line in lines:
            match = _CALL.match(line)
            path = match and pattern.search(match[3])
            if match and path:
                yield match[1], match[2], path[1]


def _program() -> str:
    program = shutil.which(STRACE)
    if program is None:
        raise FileNotFoundError(no_strace())
    return str(Path(program).absolute())
