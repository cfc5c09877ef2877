"""Log lines in batches: the result equals that of parsing each line by itself."""

from __future__ import annotations

import json
import math
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter import log_lines
from exporter.log_lines import BATCH_LINES, count

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
garbage = st.binary(max_size=20)
hostile = st.one_of(objects(), damaged(), st.sampled_from(ODD), garbage).filter(lambda line: b"\n" not in line)


@settings(max_examples=600, deadline=None)
@given(st.lists(hostile, max_size=6))
@example([b'{"event":"ai.requested","x":"\xc3', b'\xa9"}'])
@example([b'{"event":"ai.requested","x":[1', b"2]}", b'{"event":"a"} {"event":"b"}'])
@example([b'{"event":"ai.requested","x":{}', b"}", b'{"event":"a"}{"event":"b"}'])
@example([b'{"event":"ai.requested","x":"}', b'{"}', b'{"event":"a"}{"event":"b"}'])
@example([b'{"event":"ai.requested","x":[{}', b"{}]}", b'{"event":"a"}{"event":"b"}'])
@example([b'{"event":', b'"ai.requested"}', b'{"event":"a"}{"event":"b"}'])
@example([b'{"event":"ai.requested","x":', b"{}}", b'{"event":"a"}{"event":"b"}'])
def test_hostile_lines_are_counted_as_a_plain_reading_counts_them(lines: list[bytes]) -> None:
    assert told(lines) == plain(lines)


@settings(max_examples=200, deadline=None)
@given(objects().filter(lambda line: b"\n" not in line))
def test_a_good_line_is_read_the_same_beside_a_bad_one(line: bytes) -> None:
    alone, beside = told([line]), told([line, b"x"])
    assert beside == Told(alone.events, alone.kinds, alone.malformed + 1, alone.failures)


def test_each_odd_line_is_read_the_same_alone_and_beside_a_bad_one() -> None:
    assert len(ODD) > 30
    for line in ODD:
        assert told([line]) == plain([line]), line
        assert told([line, b"x"]) == plain([line, b"x"]), line


# Both ways --------------------------------------------------------------------------------------------------------


def deep(levels: int) -> bytes:
    return b'{"event":"ai.requested","x":' + b"[" * levels + b"]" * levels + b"}"


def from_deeper(levels: int, lines: list[bytes]) -> Told:
    return from_deeper(levels - 1, lines) if levels else told(lines)


@pytest.mark.parametrize("calls", [0, 300])
def test_how_deep_a_line_may_be_nested_does_not_hang_on_who_asks(calls: int) -> None:
    assert from_deeper(calls, [deep(1000)]).events == {"ai.requested": 1}
    assert from_deeper(calls, [deep(400_000), deep(1000)]) == Told(Counter({"ai.requested": 1}), malformed=1)


def test_a_deep_line_that_is_no_json_is_malformed() -> None:
    assert told([deep(1000)[:-1], b"[" * 1000 + b"]" * 1000]) == Told(Counter(), malformed=2)
    assert told([b'{"event":' + b"[" * 1000 + b"]" * 1000 + b"}"]) == Told(Counter(), malformed=1)


def test_lines_as_they_should_be_are_never_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(line: bytes) -> None:
        raise AssertionError(line)

    monkeypatch.setattr(log_lines, "_read_one", never)
    line = {"event": FAILURE, "error_kind": ["x"], "ts": "2025-01-01", "nothing": None, "t\u00e9xt": string.printable}
    lines = [orjson.dumps(line), b'{"event": "unheard of"}', b'{"ts": 1}', b"{}"]
    assert told(lines * 100) == Told(
        Counter({FAILURE: 100, "unheard of": 100}), Counter({None: 100}), malformed=200, failures=(lines[0],) * 100
    )


def test_failures_are_handed_on_newest_first_whoever_is_beside_them() -> None:
    lines = [b'{"event":"%s","ts":%d}' % (event, at) for at in range(80) for event in (b"ai.error", b"ai.completed")]
    assert told(lines).failures == tuple(reversed(lines[::2]))
    assert told([*lines, b"x"]).failures == tuple(reversed(lines[::2]))


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n \n"])
def test_no_lines_are_no_counts(content: bytes) -> None:
    assert [(c.events, c.kinds, c.malformed, c.failures()) for c in count(content, FAILURE)] == [({}, {}, 0, [])]


def test_blank_lines_are_none() -> None:
    line = b'{"event":"ai.requested"}'
    assert told([b"", line, b" ", line, b"\r", b""]) == Told(Counter({"ai.requested": 2}))


def test_a_last_line_needs_no_newline() -> None:
    (counted,) = count(b'{"event":"ai.requested"}\n{"event":"ai.error"}', FAILURE)
    assert counted.events == {"ai.requested": 1, "ai.error": 1}


def test_many_bad_lines_are_counted_some_at_a_time() -> None:
    parts = list(count(b"x\n" * (3 * BATCH_LINES + 1), FAILURE))
    assert [part.malformed for part in parts] == [BATCH_LINES] * 3 + [1]


def test_a_byte_order_mark_before_the_first_line_costs_no_event() -> None:
    lines = [BOM + b'{"event":"ai.requested"}', b'{"event":"ai.completed"}']
    assert told(lines) == Told(Counter({"ai.requested": 1, "ai.completed": 1}))


def test_nul_bytes_before_a_line_cost_no_event_and_half_a_line_before_them_is_one() -> None:
    nul = b"\0" * 1000
    assert told([nul + b'{"event":"ai.requested"}']) == Told(Counter({"ai.requested": 1}))
    assert told([b'{"event":"ai.c' + nul + b'{"event":"ai.requested"}']) == Told(
        Counter({"ai.requested": 1}), malformed=1
    )
    failure = b'{"event":"ai.error","error_kind":"timeout"}'
    assert told([nul + BOM + failure]).failures == (failure,)
