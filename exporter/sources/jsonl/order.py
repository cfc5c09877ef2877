"""Which of two files is the newer, and which came after those that are known: by their last writing and their names.

The time of the last writing says it: renaming and compressing keep it, and a file that came into being after the last
look was written then or later. Names say it too, within one template. Both must agree: where they do not, times were
lost in copying, or a clock was set, and the file is neither read nor passed over in silence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Literal

from exporter.sources.jsonl.files import File, Name
from exporter.sources.jsonl.names import Key
from exporter.sources.jsonl.position import Identity

Verdict = Literal["new", "old", "doubtful"]

_EVIDENCE = 3  # times that differ, before an order of names is believed that is not the usual one


class Order:
    """The order of the rotated files that there are at one moment."""

    def __init__(self, files: Iterable[File]) -> None:
        by_template = defaultdict[str, list[Name]](list)
        for file in files:
            if file.name is not None and file.name.kind == "rotated":
                by_template[file.name.place.template].append(file.name)
        self._reading = {template: _reading(names) for template, names in by_template.items()}

    def key(self, name: Name) -> Key:
        """Where the name stands among those of its template."""
        readings = name.place.readings
        return readings[min(self._reading.get(name.place.template, 0), len(readings) - 1)]

    def oldest_first(self, files: Sequence[File]) -> list[File]:
        """The files in order: by time, those of one template by name; the live one last."""
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
        """Whether the file came after those that are known; `since` is when the newest had been written last."""
        kin = [self.key(other) for other in known if other.place.template == name.place.template]
        before = any(self.key(name) < key for key in kin)
        if name.latest < since:
            return "doubtful" if any(self.key(name) > key for key in kin) and not before else "old"
        if before:
            return "old" if name.modified <= since else "doubtful"
        return "new"


def newest_of_each(files: Sequence[File], most: int, wanted: Callable[[File], bool]) -> list[File]:
    """Of each template the newest that are wanted, out of files in order."""
    counts = defaultdict[str, int](int)
    kept = []
    for file in reversed(files):
        kind = "" if file.name is None else file.name.place.template
        if counts[kind] < most and wanted(file):
            counts[kind] += 1
            kept.append(file)
    return kept[::-1]


def names_of(files: Iterable[File], known: Set[Identity]) -> list[Name]:
    """The names of the files that are known."""
    return [file.name for file in files if file.name is not None and file.identity in known]


def _reading(names: Sequence[Name]) -> int:
    """Which reading of the names their times agree with; the likeliest where they agree with none."""
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
