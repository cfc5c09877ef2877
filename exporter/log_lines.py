"""What a few log lines say, counted: events, the kinds of failures, and lines that are not what they should be.

`sources/jsonl/` hands over the lines as they stand in the log, `collectors/logs.py` adds up what is counted here. That
is most of the cost of reading a log, so well-formed lines, nearly all, never meet a loop in Python: the parser is given
them all at once, and makes two fields of each. It takes any room between two values, though, and so would not notice a
value that goes on in the next line, nor two in one. Both are made impossible first: each line begins with `{` and ends
with `}`, after which no value can go on with `{`; and there are as many values as lines. Lines among which one is
different are read one by one, for about a third more CPU time.

Both ways come to the same for every line, whatever its neighbours are. A line is malformed unless it is UTF-8 and a
JSON object whose `event` is a string; of a doubled key the last counts; half a surrogate pair and what is nested
too deep to be parsed (a thousand levels) are malformed. A number in a field that is passed over may be as large as
it likes. A byte order mark, as a file's first line may begin with, is no part of a line, and neither are the NUL bytes
around it that a truncated file or a power cut leaves; a record after the NUL bytes that half a line ends in is a line.
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


class _Record(msgspec.Struct, gc=False):  # of any type: a field of the wrong one is looked at here, not by the parser
    event: Any = None
    error_kind: Any = None


class _Stamped(msgspec.Struct, gc=False):
    ts: Any = None


BATCH_LINES = 500
"""How many lines are read one by one at a time: bad lines may be short ones, and many."""


STAMPED_LINES = 8
"""How many lines are asked for their time, should the first ones not tell it."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How often each event occurred, known or not; and each kind among the failures, None where it was no string."""

    events: Counter[str]
    kinds: Counter[str | None]
    malformed: int
    failures: Callable[[], list[bytes]]
    """The lines that tell of a failure, newest first; found when asked for only, as nearly all are for nobody."""


_decoder = msgspec.json.Decoder(_Record)
_stamp = msgspec.json.Decoder(_Stamped).decode
_event = attrgetter("event")
_MALFORMED = _Record()
_NEWLINE, _OPEN, _CLOSE = b"\n{}"
_BEFORE_RECORD = re.compile(rb"\0+(?=(?:%s)?\s*\{)" % codecs.BOM_UTF8)


def count(content: bytes, failure_event: str) -> Iterator[Counted]:
    """Count whole lines, each with its newline; blank ones are none. All at once, or some at a time where they are many
    and not as they should be: none, now and then."""
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
    """How often each of them occurs that is a string."""
    try:
        counts = Counter(values)
    except TypeError:  # a list or an object
        counts = Counter(value for value in values if type(value) is str)
    for value in [value for value in counts if type(value) is not str]:
        del counts[value]
    return counts


def read_together(content: bytes) -> list[_Record] | None:
    """A record for each line, if all of them are JSON objects, and nothing is beside these."""
    if not (content.startswith(b"{") and content.endswith(b"}\n")):
        return None
    text = np.frombuffer(content, dtype=np.uint8)
    between = text[1:-2] == _NEWLINE
    as_should_be = between & (text[:-3] == _CLOSE) & (text[2:-1] == _OPEN)
    lines = np.count_nonzero(between) + 1
    if np.count_nonzero(as_should_be) + 1 != lines:
        return None
    try:
        content.decode()  # the parser does not look at the bytes of strings that it passes over
        records = _decoder.decode_lines(content)
    except (ValueError, RecursionError):
        return None
    return records if len(records) == lines else None


def _plain_lines(content: bytes) -> list[bytes]:
    """The lines as they were meant."""
    if b"\0" in content:
        content = _BEFORE_RECORD.sub(b"\n", content)  # none can be part of a record
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
    """What our parser takes for too deep depends on who calls it; orjson draws a line of its own, at 1024 levels."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _MALFORMED
    return _Record(found.get("event"), found.get("error_kind"))  # our parser goes into nothing but objects


def begins_after(time: float, content: bytes) -> bool:
    """Whether the first of the lines that bears a time (`ts`) was written after that time, in unix seconds.

    Only a few are asked: where these bear none, nothing is known, and it is not so.
    """
    start = 0
    for _ in range(STAMPED_LINES):
        end = content.find(b"\n", start) + 1 or len(content)  # one by one: nearly always the first one tells
        try:
            return unix_time(_stamp(content[start:end]).ts) > time
        except (ValueError, TypeError, OverflowError, RecursionError):
            start = end
    return False
