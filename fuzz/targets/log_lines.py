"""Log lines in batches: the counts equal those of a plain reading, line by line with Python's own parser.

The plain reading shares no code with the product (`exporter/log_lines.py`).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from exporter.log_lines import count
from fuzz.target import ByteTarget, Check

FAILURE = "ai.error"
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Told:
    """The result of some lines."""

    events: Counter[str]
    kinds: Counter[str | None] = field(default_factory=Counter)
    malformed: int = 0
    failures: Sequence[bytes] = ()
    """Lines of failures, newest first."""


def told(lines: Sequence[bytes]) -> Told:
    """The result by batches, for these lines of a log."""
    told = Told(Counter())
    for counted in count(b"".join(line + b"\n" for line in lines), FAILURE):
        told = Told(
            told.events + counted.events,
            told.kinds + counted.kinds,
            told.malformed + counted.malformed,
            (*counted.failures(), *told.failures),
        )
    return told


# Line by line ----------------------------------------------------------------------------------------------------


class Pairs(list[tuple[str, Any]]):
    """The members of an object, duplicate keys included."""


def refuse(constant: str) -> None:
    raise ValueError(constant)


def plain(lines: Sequence[bytes]) -> Told:
    """The result line by line, by Python's own parser made as strict as JSON."""
    events: Counter[str] = Counter()
    kinds: Counter[str | None] = Counter()
    malformed = 0
    failures: list[bytes] = []
    for line in (part for whole in lines for part in meant(whole)):
        try:
            found = json.loads(line.decode(), parse_constant=refuse, object_pairs_hook=Pairs)
            json.dumps(found, ensure_ascii=False).encode()  # fails on half a surrogate pair
        except ValueError:
            malformed += 1
            continue
        record = dict(found) if isinstance(found, Pairs) else {}
        event, kind = record.get("event"), record.get("error_kind")
        too_large = any(infinite(value) for key, value in found if key in ("event", "error_kind")) if record else False
        if not isinstance(event, str) or too_large:
            malformed += 1
            continue
        events[event] += 1
        if event == FAILURE:
            kinds[kind if isinstance(kind, str) else None] += 1
            failures.insert(0, line)
    return Told(events, kinds, malformed, tuple(failures))


def meant(line: bytes) -> list[bytes]:
    """The records in a line: NUL bytes before a record separate it from the one before; NUL bytes and a BOM around a
    record are no part of it."""
    cuts = [0]
    for index, byte in enumerate(line):
        rest = line[index:].lstrip(b"\0").removeprefix(BOM)
        if byte == 0 and line[index - 1 : index] != b"\0" and rest.lstrip().startswith(b"{"):
            cuts.append(index)
    parts = [line[begin:end] for begin, end in pairwise([*cuts, len(line)])]
    cleaned = [part.strip(b"\0").removeprefix(BOM) for part in parts]
    return [part for part in cleaned if part.strip()]


def infinite(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(infinite(part) for part in value)
    return isinstance(value, float) and math.isinf(value)


# Valid and invalid lines -----------------------------------------------------------------------------------------

names = st.sampled_from(["event", "error_kind", "Event", "", "e", "ts", "\u00e9", "\ud800", "a\nb"])
texts = st.one_of(
    st.sampled_from(["ai.requested", FAILURE, "timeout", "unheard of", "", "\ud83d\ude00", "\ud800", "\n", "\x00"]),
    st.text(max_size=5),
)
values = st.recursive(
    st.one_of(texts, st.none(), st.booleans(), st.integers(), st.floats()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)
members = st.lists(st.tuples(names, st.one_of(texts, values)), max_size=5)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """An object with or without duplicate keys, escapes, and blanks between its parts."""
    ascii_only, space = draw(st.booleans()), draw(st.sampled_from(["", " ", "\t", "\r"]))
    parts = [
        f"{json.dumps(name, ensure_ascii=ascii_only)}{space}:{json.dumps(value, ensure_ascii=ascii_only)}"
        for name, value in draw(members)
    ]
    text = f"{space}{{{f',{space}'.join(parts)}}}{space}"
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An object, cut off, or with bytes changed, inserted or removed."""
    line = bytearray(draw(objects()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(line)))
        with_ = draw(st.sampled_from([*b'{}[]",:\\/ue019-+. \t\r\x00\x0b\x1f\x7f\x80\xbf\xc3\xed\xff', None]))
        line[at : at + draw(st.integers(0, 2))] = b"" if with_ is None else bytes([with_])
    return bytes(line)


ODD = [
    b"x",
    b"null",
    b"[]",
    b'["ai.requested"]',
    b'"ai.requested"',
    b"{}{}",
    b'{"event":"ai.requested"} {"event":"ai.requested"}',
    b'\xef\xbb\xbf{"event":"ai.requested"}',
    b'\xef\xbb\xbf\xef\xbb\xbf{"event":"ai.requested"}',
    b'\0\0\xef\xbb\xbf {"event":"ai.error","error_kind":"timeout"}',
    b'\0\0\0{"event":"ai.error"}\0\0',
    b'{"event":"ai.requ\0\0{"event":"ai.error","error_kind":"timeout"}',
    b'{"event":"ai.requested"}\0\0\0{"event":"ai.error"}',
    b'{"event":"ai.requested","x":"\0"}',
    b"\0\0",
    b"\xef\xbb\xbf",
    b"\xff\0x",
    b'{"event":["ai.requested"]}',
    b'{"event":{"event":"ai.requested"}}',
    b'{"event":1,"event":"ai.requested"}',
    b'{"event":"ai.requested","event":1}',
    b'{"\\u0065vent":"ai.\\u0065rror","error_kind":"time\\u006fut"}',
    b'{"event":"ai.error","error_kind":["timeout"]}',
    b'{"event":"ai.error","error_kind":{}}',
    b'{"event":"ai.error","error_kind":1e400}',
    b'{"event":"ai.requested","x":1e400}',
    b'{"event":"ai.requested","x":[1,-0.0e-9,' + b"9" * 400 + b"]}",
    b'{"event":"ai.requested","x":01}',
    b'{"event":"ai.requested","x":-}',
    b'{"event":"ai.requested","x":1.}',
    b'{"event":"ai.requested","x":.1}',
    b'{"event":"ai.requested","x":+1}',
    b'{"event":"ai.requested","x":[1,]}',
    b'{"event":"ai.requested",}',
    b'{"event":"ai.requested","x":NaN}',
    b'{"event":"ai.requested","x":-Infinity}',
    b'{"event":"ai.requested","x":nul}',
    b'{"event":"ai.requested","x":"\\x"}',
    b'{"event":"ai.requested","x":"\\u12g4"}',
    b'{"event":"ai.requested","x":"\\udc00\\ud800"}',
    b'{"event":"ai.requested","x":"\t"}',
    b'{"event":"ai.requested","x":"\xc0\x80"}',
    b'{"event":"ai.requested","x":"\xed\xa0\x80"}',
    b'{"event":"ai.requested","\xff":1}',
    b'{"event":"ai.requested","x":"\xc3',
    b'\xa9"}',
    b'{"event":"ai.requested","x":[1',
    b"2]}",
]

hostile = st.one_of(objects(), damaged(), st.sampled_from(ODD), st.binary(max_size=20))

NESTED = 400
"""Brackets in a line beyond which the limits of the two parsers differ; tests of the product's own limit are apart."""

DIGITS = 3_000
"""Length of a number that Python's parser refuses, and the product does not."""


def check(content: bytes) -> None:
    """The result of the lines of this content, read together and in two halves, is that of the plain reading."""
    lines = content.split(b"\n")
    if any(line.count(b"[") + line.count(b"{") > NESTED or len(line) > DIGITS for line in lines):
        return
    expected = plain(lines)
    assert told(lines) == expected
    middle = len(lines) // 2
    first, second = told(lines[:middle]), told(lines[middle:])
    assert first.events + second.events == expected.events
    assert first.kinds + second.kinds == expected.kinds
    assert first.malformed + second.malformed == expected.malformed
    assert (*second.failures, *first.failures) == tuple(expected.failures)


@contextmanager
def opened(_: Path) -> Iterator[Check]:
    """The check, which needs nothing."""
    yield check


TARGET = ByteTarget(
    name="log-lines",
    promise="Each line of a log is counted as a plain reading counts it: as its event, or as malformed, whatever stands"
    " beside it.",
    opened=opened,
    inputs=st.lists(hostile, max_size=6).map(b"\n".join),
    seeds=(
        *ODD,
        b'{"ts":"2026-03-17T12:00:00Z","event":"ai.error","error_kind":"timeout"}\n{"event":"ai.requested"}\n',
    ),
    words=(
        b'"event":',
        b'"error_kind":',
        b'"ai.error"',
        b'"ai.requested"',
        b"\xef\xbb\xbf",
        b"\0",
        b'{"',
        b"}\n{",
        b"\\ud800",
    ),
    examples=400,
)
