"""What a few log lines say, counted: events, the kinds of failures, and lines that are not what they should be.

`sources/jsonl/` hands over the lines, `collectors/logs.py` adds up what is counted here. This is what reading a log
costs, so the lines that are as they should be, nearly all, never meet a loop in Python: the parser, the counting and
the steps between them are C functions mapped over the whole batch. Of each line the parser makes two fields and passes
over the others. A batch with a bad line in it is read again line by line, at half the speed or less.

Both ways come to the same for every line, whatever its neighbours are. A line is malformed unless it is UTF-8 and a
JSON object whose `event` is a string; of a doubled key the last counts; half a surrogate pair and what is nested
too deep to be parsed (a thousand levels) are malformed. A number in a field that is passed over may be as large as
it likes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import orjson


class _Record(msgspec.Struct, gc=False):  # of any type: a field of the wrong one is looked at here, not by the parser
    event: Any = None
    error_kind: Any = None


FAILURES = 50
"""How many lines that tell of failures are handed on, of a batch."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How often each event occurred, known or not; and each kind among the failures, None where it was no string."""

    events: Counter[str]
    kinds: Counter[str | None]
    malformed: int
    failures: tuple[bytes, ...] = ()
    """The last few lines that tell of a failure, newest first."""


_parse = msgspec.json.Decoder(_Record).decode
_event = attrgetter("event")
_MALFORMED = _Record()


def count(lines: Sequence[bytes], failure_event: str) -> Counted:
    """Count lines that are not blank."""
    records = _read(lines)
    try:
        events = Counter(map(_event, records))
    except TypeError:  # an event that is a list or an object
        events = Counter(event for event in map(_event, records) if type(event) is str)
    for event in [event for event in events if type(event) is not str]:
        del events[event]
    kinds: Counter[str | None] = Counter()
    failed: list[int] = []
    if failure_event in events:
        failed = [index for index, record in enumerate(records) if record.event == failure_event]
        found = [records[index].error_kind for index in failed]
        kinds.update(kind if type(kind) is str else None for kind in found)
    failures = tuple(lines[index] for index in reversed(failed[-FAILURES:]))
    return Counted(events, kinds, malformed=len(records) - events.total(), failures=failures)


def _read(lines: Sequence[bytes]) -> list[_Record]:
    """A record for each line; one without an event where the line is no JSON object, or no UTF-8."""
    try:
        b"\n".join(lines).decode()  # the parser does not look at the bytes of strings that it passes over
        return [*map(_parse, lines)]
    except (ValueError, RecursionError):
        return [*map(_read_one, lines)]


def _read_one(line: bytes) -> _Record:
    try:
        line.decode()
        return _parse(line)
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
