"""Counts of log lines: events, kinds of failures, and malformed lines.

`sources/jsonl/` passes the lines as they stand in the log, `collectors/logs.py` adds up the counts. Counting is most of
the cost of reading a log, so well-formed lines, nearly all, are not handled in a loop in Python: the parser receives
them all at once, and reads two fields of each. It accepts any whitespace between two values, and would not detect a
value that continues in the next line, nor two values in one line. Both are excluded first: each line begins with `{`
and ends with `}`, after which no value can continue with `{`; and the number of values equals that of the lines. Lines
among which a single line is different are read one by one, for about a third more CPU time.

Both ways give the same result for a line, independent of its neighbours. A line is malformed unless it is UTF-8 and a
JSON object whose `event` is a string; of a doubled key the last counts; half a surrogate pair and values nested too
deep for the parser (a thousand levels) are malformed. A number in an unused field may be of any size. A byte order mark
at the start of a file's first line is not part of the line, nor are the NUL bytes around it that a truncated file or a
power cut leaves; a record after the NUL bytes at the end of a half line is a line.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import orjson

from exporter.incident import unix_time


class _Record(msgspec.Struct, gc=False):  # fields of any type: a wrong type is detected here, not by the parser
    event: Any = None
    error_kind: Any = None


class _Stamped(msgspec.Struct, gc=False):
    ts: Any = None


BATCH_LINES = 500
"""Number of lines that are read one by one in a batch: malformed lines may be short and many."""


STAMPED_LINES = 8
"""Number of lines searched for a time."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The number of occurrences of each event, known or not, and of each kind among the failures, None for a kind that
    is no string."""

    events: Counter[str]
    kinds: Counter[str | None]
    malformed: int
    failures: Callable[[], list[bytes]]
    """The lines of failures, newest first; extracted on demand only, since most are never needed."""


_decoder = msgspec.json.Decoder(_Record)
_stamp = msgspec.json.Decoder(_Stamped).decode
_event = attrgetter("event")
_MALFORMED = _Record()
_NEWLINE, _OPEN, _CLOSE = b"\n{}"
_BEFORE_RECORD = re.compile(rb"\0+(?=(?:%s)?[^\S\n]*\{)" % codecs.BOM_UTF8)


def count(content: bytes, failure_event: str) -> Iterator[Counted]:
    """Count whole lines, each with its newline; blank lines are ignored. Yield one result for all lines, or several
    where many lines are malformed: some of them may be empty."""
    records = read_together(content)
    if records is not None:
        yield _count(records, partial(content.split, b"\n"), failure_event)
        return
    lines = [*filter(bytes.strip, _plain_lines(content))]
    for first in range(0, max(1, len(lines)), BATCH_LINES):
        some = lines[first : first + BATCH_LINES]
        yield _count([*map(_read_one, some)], some.copy, failure_event)


def _count(records: Sequence[_Record], lines: Callable[[], list[bytes]], failure_event: str) -> Counted:
    found = [*map(_event, records)]
    events, kinds = _strings(found), Counter[str | None]()
    if failure_event in events:
        of_failures = [record.error_kind for record in records if record.event == failure_event]
        kinds.update(_strings(of_failures))
        if none := len(of_failures) - kinds.total():
            kinds[None] = none

    def failures() -> list[bytes]:
        return [line for line, event in zip(lines(), found, strict=False) if event == failure_event][::-1]

    return Counted(events, kinds, len(records) - events.total(), failures)


def _strings(values: Sequence[Any]) -> Counter[str]:
    """Return the number of occurrences of each value that is a string."""
    try:
        counts = Counter(values)
    except TypeError:  # a list or an object
        counts = Counter(value for value in values if type(value) is str)
    for value in [value for value in counts if type(value) is not str]:
        del counts[value]
    return counts


def read_together(content: bytes) -> list[_Record] | None:
    """Return a record per line if the content consists of JSON objects only, one per line; None otherwise."""
    if not (content.startswith(b"{") and content.endswith(b"}\n")):
        return None
    text = np.frombuffer(content, dtype=np.uint8)
    between = text[1:-2] == _NEWLINE
    as_should_be = between & (text[:-3] == _CLOSE) & (text[2:-1] == _OPEN)
    lines = np.count_nonzero(between) + 1
    if np.count_nonzero(as_should_be) + 1 != lines:
        return None
    try:
        content.decode()  # the parser does not check the bytes of strings in unused fields
        records = _decoder.decode_lines(content)
    except (ValueError, RecursionError):
        return None
    return records if len(records) == lines else None


def _plain_lines(content: bytes) -> list[bytes]:
    """Return the lines without NUL bytes and byte order marks."""
    if b"\0" in content:
        content = _BEFORE_RECORD.sub(b"\n", content)  # NUL is never part of a record
    return [line.strip(b"\0").removeprefix(codecs.BOM_UTF8) for line in content.split(b"\n")]


def _read_one(line: bytes) -> _Record:
    try:
        line.decode()
        return _decoder.decode(line)
    except ValueError:
        return _MALFORMED
    except RecursionError:
        return _read_deep(line)


def _read_deep(line: bytes) -> _Record:
    """Parse a line with orjson, whose limit is fixed at 1024 levels; msgspec's limit depends on the depth of the
    caller."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _MALFORMED
    return _Record(found.get("event"), found.get("error_kind"))  # msgspec reads objects only


def begins_after(time: float, content: bytes) -> bool:
    """Return whether the first line with a time (`ts`) was written after that time, in unix seconds.

    Only the first STAMPED_LINES lines are read: without a time in them, the result is false.
    """
    start = 0
    for _ in range(STAMPED_LINES):
        end = content.find(b"\n", start) + 1 or len(content)  # one by one: nearly always the first line has a time
        try:
            return unix_time(_stamp(content[start:end]).ts) > time
        except (ValueError, TypeError, OverflowError, RecursionError):
            start = end
    return False
