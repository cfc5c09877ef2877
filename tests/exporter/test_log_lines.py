"""What the fast way makes of log lines is what a plain reading of each of them comes to."""

from __future__ import annotations

import json
import math
import string
from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter import log_lines
from exporter.log_lines import FAILURES, Counted, count

FAILURE = "ai.error"


# A plain reading -------------------------------------------------------------------------------------------------


class Pairs(list[tuple[str, Any]]):
    """An object with all its keys, doubled ones too."""


def refuse(constant: str) -> None:
    raise ValueError(constant)


def plain(lines: list[bytes]) -> Counted:
    """One line after the other with Python's own parser, made as strict as JSON is."""
    events: Counter[str] = Counter()
    kinds: Counter[str | None] = Counter()
    malformed = 0
    failures: list[bytes] = []
    for line in lines:
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
    return Counted(events, kinds, malformed, tuple(failures[:FAILURES]))


def infinite(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(infinite(part) for part in value)
    return isinstance(value, float) and math.isinf(value)


# Lines as they should be and should not be -----------------------------------------------------------------------

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
    """An object, keys doubled or not, escaped or not, with or without room between its parts."""
    ascii_only, space = draw(st.booleans()), draw(st.sampled_from(["", " ", "\t", "\r"]))
    parts = [
        f"{json.dumps(name, ensure_ascii=ascii_only)}{space}:{json.dumps(value, ensure_ascii=ascii_only)}"
        for name, value in draw(members)
    ]
    text = f"{space}{{{f',{space}'.join(parts)}}}{space}"
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """One that was cut, or in which bytes were changed, put in or left out."""
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
hostile = st.one_of(objects(), damaged(), st.sampled_from(ODD), garbage).filter(
    lambda line: line.strip() and b"\n" not in line
)


@settings(max_examples=600, deadline=None)
@given(st.lists(hostile, max_size=6))
@example([b'{"event":"ai.requested","x":"\xc3', b'\xa9"}'])
@example([b'{"event":"ai.requested","x":[1', b"2]}", b'{"event":"a"} {"event":"b"}'])
def test_hostile_lines_are_counted_as_a_plain_reading_counts_them(lines: list[bytes]) -> None:
    assert count(lines, FAILURE) == plain(lines)


@settings(max_examples=200, deadline=None)
@given(objects().filter(lambda line: b"\n" not in line))
def test_a_good_line_is_read_the_same_beside_a_bad_one(line: bytes) -> None:
    alone, beside = count([line], FAILURE), count([line, b"x"], FAILURE)
    assert beside == Counted(alone.events, alone.kinds, alone.malformed + 1, alone.failures)


def test_each_odd_line_is_read_the_same_alone_and_beside_a_bad_one() -> None:
    assert len(ODD) > 30
    for line in ODD:
        assert count([line], FAILURE) == plain([line]), line
        assert count([line, b"x"], FAILURE) == plain([line, b"x"]), line


# The two ways -----------------------------------------------------------------------------------------------------


def deep(levels: int) -> bytes:
    return b'{"event":"ai.requested","x":' + b"[" * levels + b"]" * levels + b"}"


def from_deeper(levels: int, lines: list[bytes]) -> Counted:
    return from_deeper(levels - 1, lines) if levels else count(lines, FAILURE)


@pytest.mark.parametrize("calls", [0, 300])
def test_how_deep_a_line_may_be_nested_does_not_hang_on_who_asks(calls: int) -> None:
    assert from_deeper(calls, [deep(1000)]).events == {"ai.requested": 1}
    assert from_deeper(calls, [deep(400_000), deep(1000)]) == Counted(Counter({"ai.requested": 1}), Counter(), 1)


def test_a_deep_line_that_is_no_json_is_malformed() -> None:
    assert count([deep(1000)[:-1], b"[" * 1000 + b"]" * 1000], FAILURE) == Counted(Counter(), Counter(), 2)
    assert count([b'{"event":' + b"[" * 1000 + b"]" * 1000 + b"}"], FAILURE) == Counted(Counter(), Counter(), 1)


def test_lines_as_they_should_be_are_never_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(line: bytes) -> None:
        raise AssertionError(line)

    monkeypatch.setattr(log_lines, "_read_one", never)
    line = {"event": FAILURE, "error_kind": ["x"], "ts": "2025-01-01", "nothing": None, "t\u00e9xt": string.printable}
    lines = [orjson.dumps(line), b'{"event": "unheard of"} ', b'{"ts": 1}\r', b"{}"]
    assert count(lines * 100, FAILURE) == Counted(
        Counter({FAILURE: 100, "unheard of": 100}), Counter({None: 100}), malformed=200, failures=(lines[0],) * FAILURES
    )


def test_of_many_failures_the_last_few_are_handed_on_newest_first() -> None:
    lines = [b'{"event":"%s","ts":%d}' % (event, at) for at in range(80) for event in (b"ai.error", b"ai.completed")]
    assert count(lines, FAILURE).failures == tuple(reversed(lines[::2]))[:FAILURES]


def test_no_lines_are_no_counts() -> None:
    assert count([], FAILURE) == Counted(Counter(), Counter(), 0)
