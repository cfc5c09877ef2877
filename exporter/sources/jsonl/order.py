"""The order of a log's files, and detection of files newer than the known ones: by the times of their last writing and
by their names.

The time of the last writing is kept by renaming and compressing, and a file created after the last look was written at
or after that time. Names give an order too, within one template. Both must agree: where they do not, times were lost in
copying, or a clock was set, and the file is neither read nor skipped silently.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Literal

from exporter.sources.jsonl.files import File, Name
from exporter.sources.jsonl.names import Key
from exporter.sources.jsonl.position import Identity

Verdict = Literal["new", "old", "doubtful"]

_EVIDENCE = 3  # number of different times required to accept an unusual order of names


class Order:
    """The order of the rotated files present at one moment."""

    def __init__(self, files: Iterable[File]) -> None:
        by_template = defaultdict[str, list[Name]](list)
        for file in files:
            if file.name is not None and file.name.kind == "rotated":
                by_template[file.name.place.template].append(file.name)
        self._reading = {template: _reading(names) for template, names in by_template.items()}

    def key(self, name: Name) -> Key:
        """Return the position of the name among those of its template."""
        readings = name.place.readings
        return readings[min(self._reading.get(name.place.template, 0), len(readings) - 1)]

    def oldest_first(self, files: Sequence[File]) -> list[File]:
        """Return the files in order: by time, those of one template by name; the live file last."""
        named = [(file, file.name) for file in files if file.name is not None]
        by_time = sorted(named, key=lambda pair: (pair[1].kind == "live", pair[1].modified, pair[1].place.template))
        slots = defaultdict[str, list[int]](list)
        for index, (_, name) in enumerate(by_time):
            slots[name.place.template if name.kind == "rotated" else f"/{index}"].append(index)
        ordered = [file for file, _ in by_time]
        for indices in slots.values():
            kin = sorted((by_time[index] for index in indices), key=lambda pair: self.key(pair[1]))
            for index, (file, _) in zip(indices, kin, strict=True):
                ordered[index] = file
        return ordered

    def judge(self, name: Name, known: Sequence[Name], since: int) -> Verdict:
        """Return whether the file is newer than the known ones; `since` is the last writing of the newest known
        file."""
        kin = [self.key(other) for other in known if other.place.template == name.place.template]
        before = any(self.key(name) < key for key in kin)
        if name.latest < since:
            return "doubtful" if any(self.key(name) > key for key in kin) and not before else "old"
        if before:
            return "old" if name.modified <= since else "doubtful"
        return "new"


def newest_of_each(files: Sequence[File], most: int, wanted: Callable[[File], bool]) -> list[File]:
    """Return, from files in order, the newest wanted ones of each template."""
    counts = defaultdict[str, int](int)
    kept = []
    for file in reversed(files):
        kind = "" if file.name is None else file.name.place.template
        if counts[kind] < most and wanted(file):
            counts[kind] += 1
            kept.append(file)
    return kept[::-1]


def names_of(files: Iterable[File], known: Set[Identity]) -> list[Name]:
    """Return the names of the known files."""
    return [file.name for file in files if file.name is not None and file.identity in known]


def _reading(names: Sequence[Name]) -> int:
    """Return the reading of the names that agrees with their times; the likeliest where none does."""
    readings = min(len(name.place.readings) for name in names)
    different = len({name.modified for name in names})
    for reading in range(readings):
        if reading and different < _EVIDENCE:
            break
        if _agrees(sorted(names, key=lambda name: name.place.readings[reading])):
            return reading
    return 0


def _agrees(names: Sequence[Name]) -> bool:
    newest = 0
    for name in names:
        if name.latest < newest:
            return False
        newest = max(newest, name.modified)
    return True
