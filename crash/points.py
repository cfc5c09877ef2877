"""The points of `make crash`: one fault at one occurrence of one call, in a run of three lives."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from crash.calls import ERRORS, KILL, Call
from crash.exporting import FIRST_LIFE, SECOND_LIFE, CrashingExporter, rotate_by_rename, write
from crash.trace import Seen, can_be_named, failing, merged, observing, read_calls, read_faults
from servers.child import ChildError

FAR = 20
"""The last occurrence that is struck: a run of another speed has fewer of those calls that each refresh makes."""

FAILURES = (ChildError, OSError)
Prefixes = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Point:
    """A fault at one occurrence of a call, by its number in its thread; `files` are relative to the folder of a run."""

    call: Call
    fault: str
    occurrence: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Struck:
    """A point, the number of calls that failed or were the last, and the findings."""

    point: Point
    faults: int
    wrong: tuple[str, ...]


def points(ordinary: Mapping[Call, Seen], *, errors: int, kills: int) -> list[Point]:
    """Return the points for the calls of an ordinary run: every fault that a call can have, at up to `errors` and
    `kills` of its occurrences."""
    return [
        Point(call, fault, occurrence, tuple(sorted(seen.paths)))
        for call, seen in sorted(ordinary.items())
        if can_be_named(call)
        for fault, most in (*((each, errors) for each in ERRORS[call.name]), (KILL, kills))
        for occurrence in spread(seen.occurrences, most)
    ]


def spread(occurrences: int, most: int) -> list[int]:
    """Return up to `most` numbers from 1 to `occurrences` (`FAR` at most), the first and the last among them."""
    last = min(occurrences, FAR)
    if last <= most or most < 2:
        return list(range(1, min(last, most) + 1))
    return sorted({1 + (last - 1) * index // (most - 1) for index in range(most)})


def observe(directory: Path) -> tuple[dict[Call, Seen], list[str]]:
    """Return the calls of an ordinary run, and its findings."""
    with _folder(directory) as folder:
        outputs = [folder / f"trace-{life}" for life in (1, 2)]
        wrong = _run(folder, [observing(output) for output in outputs])
        return merged([read_calls(output, folder) for output in outputs if output.exists()]), wrong


def strike(point: Point, directory: Path) -> Struck:
    """Run three lives with a fault in the first two."""
    with _folder(directory) as folder:
        outputs = [folder / f"trace-{life}" for life in (1, 2)]
        files = [folder / file for file in point.files]
        prefixes = [failing(output, point.call.name, point.fault, point.occurrence, files) for output in outputs]
        wrong = _run(folder, prefixes)
        return Struck(point, sum(map(read_faults, outputs)), tuple(wrong))


def _run(folder: Path, prefixes: Prefixes) -> list[str]:
    """Run the lives; lines are written and the log is rotated between them. Return the findings."""
    try:
        return list(dict.fromkeys(_lives(CrashingExporter(folder), prefixes)))
    except FAILURES as error:
        return [str(error).partition("\n")[0]]


def _lives(exporter: CrashingExporter, prefixes: Prefixes) -> Iterator[str]:
    lives: Sequence[Sequence[Callable[[CrashingExporter], None]]] = (FIRST_LIFE, SECOND_LIFE, (write,))
    try:
        for prefix, acts in zip((*prefixes, ()), lives, strict=True):
            write(exporter)
            exporter.prefix = prefix
            yield from exporter.live(acts)
            if exporter.has_state:  # without it, nothing of a rotated log is counted
                rotate_by_rename(exporter)
        yield from exporter.wrong_events()
    finally:
        exporter.kill()


@contextmanager
def _folder(directory: Path) -> Iterator[Path]:
    folder = Path(mkdtemp(prefix="run-", dir=directory))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
