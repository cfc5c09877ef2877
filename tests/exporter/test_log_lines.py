"""Log lines in batches: the result equals that of parsing each line by itself."""

from __future__ import annotations

import string
from collections import Counter

import orjson
import pytest
from hypothesis import given, settings

from exporter import log_lines
from exporter.log_lines import BATCH_LINES, count
from fuzz.targets.log_lines import BOM, FAILURE, ODD, Told, objects, plain, told


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
