"""The position in a log: bounded, validated, and without content of the log."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from exporter.sources.jsonl import Position
from tests.exporter.sources.jsonl.reading import Reader, append, lines, rotate_by_rename, text


def test_the_number_of_files_remembered_is_bounded(path: Path, reader: Reader) -> None:
    open_before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for number in range(60):
        append(path, text(10 * number, 10 * number + 5))
        assert reader.read() == lines(10 * number, 10 * number + 5)
        rotate_by_rename(path, f"-2025{number // 28 + 1:02}{number % 28 + 1:02}")
        assert reader.read_after_grace() == []
    assert len(orjson.loads(reader.position or b"")["tracks"]) < 12
    assert len(os.listdir("/proc/self/fd")) < open_before + 30  # noqa: PTH208


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        {"tracks": None},
        {"tracks": [{}]},
        {"tracks": [{"device": 1, "inode": "2", "offset": 3, "head": {}, "anchor": {}, "skipping": 1, "state": "x"}]},
    ],
)
def test_a_position_that_is_none_is_refused(state: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Position.from_state(state)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("offset", -1),
        ("offset", 2**63),
        ("offset", True),
        ("offset", 1.5),
        ("inode", "2"),
        ("device", None),
        ("skipping", 0),
        ("state", "closed"),
        ("head", {"length": 10**9, "digest": ""}),
        ("anchor", {"length": 200, "digest": ""}),
        ("anchor", 5),
    ],
)
def test_a_position_that_would_lead_astray_is_refused(path: Path, reader: Reader, name: str, value: object) -> None:
    append(path, text(1, 2))
    reader.read()
    state = orjson.loads(reader.position or b"")
    assert Position.from_state(state).to_state() == {"tracks": (state["tracks"][0],)}
    state["tracks"][0][name] = value
    with pytest.raises((KeyError, TypeError, ValueError)):
        Position.from_state(state)


def test_a_position_holds_nothing_of_the_lines(path: Path, reader: Reader) -> None:
    append(path, b'{"prompt":"secret"}\n')
    assert reader.read()
    assert b"secret" not in (reader.position or b"")
