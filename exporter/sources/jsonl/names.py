"""Names of rotated files: which belong to a log by their name alone, which may, and which of two is the newer.

A rotated name is the log's with a number or a time put in, before or after its extension, and perhaps the ending of a
compression: `ai-events.log.1`, `ai-events.log-20250101.gz`, `ai-events-1700000000.log`, `ai-events.2025-01-01T10.log`.
Any other word in it could as well be part of another log's name (`ai-events-debug-20250101.log`): such a name counts
once a file of the log was recognised, by its content or identity, under one of the same template.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_SHORT_MONTHS = "|".join(month[:3] for month in _MONTHS.split("|"))
_DAYS = "|".join(f"{day}day|{day[:3]}" for day in ("mon", "tues", "wednes", "thurs", "fri", "satur", "sun"))
_OTHERS = "utc|gmt|am|pm|t|z|w|h|m|s"
_SEPARATORS = "-._~@+:, "

_PACKED = frozenset(["gz", "z", "xz", "lzma", "bz2", "zst", "zstd", "lz4", "lz", "lzo", "br"])
_MONTH = re.compile(rf"(?:{_MONTHS}|{_SHORT_MONTHS})(?![a-z])", re.IGNORECASE)
_TIME = re.compile(
    rf"(?:[{re.escape(_SEPARATORS)}]|\d|(?:{_MONTHS}|{_SHORT_MONTHS}|{_DAYS}|{_OTHERS})(?![a-z]))+", re.IGNORECASE
)
_INDEX = re.compile(r"\.(\d{1,5})")
_YEAR = re.compile(r"(?:19|20)\d\d")
_VARIABLE = re.compile(rf"\d+|(?<![a-z])(?:{_MONTHS}|{_SHORT_MONTHS})(?![a-z])", re.IGNORECASE)

Key = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name stands among those of its template: the greater the key, the newer.

    There are two readings of a number (logrotate's greatest is the oldest, others' is the newest), the likelier first.
    An empty key says nothing: months by name, years at the end, and weeks are not in any order.
    """

    template: str
    readings: tuple[Key, ...]


class Names:
    """The names of one log: its own, and the one it stands for where it is a link."""

    def __init__(self, bases: Sequence[str], linked_to: str | None = None) -> None:
        self._bases = tuple(dict.fromkeys(bases))
        self._stems = tuple(before for base in self._bases for before, _ in _halves(base))
        # Where a link goes from one dated file to the next, the files before have its target's template.
        self._linked = template(linked_to) if linked_to is not None and re.search(r"\d", linked_to) else None

    def is_rotated(self, name: str, beside: Collection[str]) -> bool:
        """Whether a file of that name is a rotated one of this log; `beside` are the names of all files there are."""
        if name in self._bases:
            return False
        if self._linked is not None and template(name) == self._linked:
            return True
        return any(is_time(rest) for *_, rest in self._rests(name)) and not self._is_anothers(name, beside)

    def may_be_rotated(self, name: str, beside: Collection[str]) -> bool:
        """Whether it begins as the log's, holds a digit after that, and does not seem to be of another log: neither
        begins it as a longer name that is there, nor does a longer one begin as it."""
        if not any(re.search(r"\d", rest) for *_, rest in self._rests(name)):
            return False
        itself = Names((name,))
        has_rotated = any(after or before == name for other in beside for before, after, _ in itself._rests(other))
        return not (has_rotated or self._is_anothers(name, beside, any_rest=True))

    def begins_alike(self, name: str) -> bool:
        """Whether it is the log's name, or its stem, with something after it."""
        return name not in self._bases and any(True for _ in self._rests(name))

    def place(self, name: str) -> Place:
        """Where it stands among its kind."""
        rest = min((rest for *_, rest in self._rests(name)), key=len, default=without_packing(name))
        numbers = re.findall(r"\d+", rest)
        if index := _INDEX.match(rest):
            after = rest[index.end() :]
            if not after or not re.search(r"\d", after):
                number = int(index[1])
                return Place(template(name), ((-number,), (number,)))
        if _MONTH.search(rest) or _year_last(numbers) or (len(numbers) == 1 and len(numbers[0]) < 6):
            return Place(template(name), ((),))
        return Place(template(name), (tuple(map(int, numbers)),))

    def _rests(self, name: str) -> Iterator[tuple[str, str, str]]:
        """What stands between two halves of the log's name, in every way to cut that at a dot: (before, after, it)."""
        if not name.startswith(self._stems):  # so nearly all of thousands are done with
            return
        plain = without_packing(name)
        for base in self._bases:
            for before, after in _halves(base):
                longer = len(plain) > len(before) + len(after) and plain != base
                if not (longer and plain.startswith(before) and plain.endswith(after)):
                    continue
                rest = plain[len(before) : len(plain) - len(after)]
                if not rest[0].isalpha() and (rest[0] in _SEPARATORS or is_time(rest)):
                    yield before, after, rest

    def _is_anothers(self, name: str, beside: Collection[str], *, any_rest: bool = False) -> bool:
        """Whether a log is there whose name is longer than ours, and explains this one."""
        for before, after, rest in self._rests(name):
            for cut in range(len(rest)):
                other = before + rest[:cut] + after
                if other not in beside or self._is_ours(other):
                    continue
                within = rest[cut].isdigit() and other[-1].isdigit()
                if is_time(rest[cut:]) or (any_rest and cut and not within):
                    return True
        return False

    def _is_ours(self, name: str) -> bool:
        return name in self._bases or any(is_time(rest) for *_, rest in self._rests(name))


@lru_cache
def _halves(base: str) -> tuple[tuple[str, str], ...]:
    dots = [index for index, letter in enumerate(base) if letter == "." and index > 0]
    whole, *stems = ((base, ""), *((base[:dot], base[dot:]) for dot in dots))
    return (whole, *stems, *((base[:dot], "") for dot in dots[-1:]))


def without_packing(name: str) -> str:
    """The name without the ending of a compression."""
    plain, dot, ending = name.rpartition(".")
    return plain if dot and ending.lower() in _PACKED else name


def is_time(rest: str) -> bool:
    """Whether what was put into a name is a number (`.1`) or a time, and not part of a name."""
    if _INDEX.fullmatch(rest):
        return True
    if not _TIME.fullmatch(rest):
        return False
    numbers = re.findall(r"\d+", rest)
    if not numbers or rest[0].isalpha():
        return False
    first, others, month = numbers[0], numbers[1:], _MONTH.search(rest) is not None
    if rest[0].isdigit() and len(first) < 8:
        return False
    if _YEAR.match(first) and len(first) in (6, 8, 10, 12, 14, 17):
        return True
    if len(first) in (10, 13):  # seconds or milliseconds since 1970
        return True
    year_first = len(first) == 4 and _YEAR.match(first) is not None
    if month:
        return year_first or _year_last(numbers)
    return (year_first and len(others) > 0) or (_year_last(numbers) and len(first) == 2)


def _year_last(numbers: Sequence[str]) -> bool:
    return (
        bool(numbers)
        and len(numbers[0]) <= 2
        and any(len(number) == 4 and _YEAR.match(number) for number in numbers[1:])
    )


def template(name: str) -> str:
    """The name with its numbers and months taken out, and without the ending of a compression."""
    return _VARIABLE.sub(_hole, without_packing(name))


def _hole(match: re.Match[str]) -> str:
    found = match[0]
    return "0" * (len(found) if len(found) >= 4 else 1) if found[0].isdigit() else "month"
