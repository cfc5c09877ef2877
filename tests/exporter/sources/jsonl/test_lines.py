"""Each line of a log is read once, of any length and with any end of a slice: one situation per test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporter.sources.jsonl import JsonlLog
from exporter.sources.jsonl.slice import BATCH_BYTES
from tests.exporter.sources.jsonl.reading import (
    LINE_LIMIT,
    Reader,
    append,
    lines,
    lines_of,
    most_memory,
    rotate_by_rename,
    text,
)


def test_every_line_is_read_once(path: Path, reader: Reader) -> None:
    append(path, text(1, 3))
    assert reader.read() == lines(1, 3)
    assert reader.read() == []
    append(path, text(4, 5))
    assert reader.read() == lines(4, 5)
    assert reader.unread_bytes == 0


def test_a_half_line_waits_for_its_end(path: Path, reader: Reader) -> None:
    (line,) = lines(1, 1)
    append(path, line[:10])
    assert reader.read() == []
    assert reader.unread_bytes == 10
    append(path, line[10:])
    assert reader.read() == []
    append(path, b"\n")
    assert reader.read() == [line]


def test_a_slice_ends_near_its_limit_and_says_that_there_is_more(path: Path, reader: Reader) -> None:
    append(path, text(1, 500))
    found, more = reader.slice(limit=4000)
    assert found == lines(1, len(found))
    assert more
    assert 50 < len(found) < 200
    assert reader.unread_bytes == len(text(len(found) + 1, 500))
    assert found + reader.read(limit=1) == lines(1, 500)


def test_a_slice_ends_between_two_files_too(path: Path, reader: Reader) -> None:
    path.touch()
    assert reader.read() == []
    for number in range(5):
        append(path, text(100 * number, 100 * number + 30))
        rotate_by_rename(path, f"-2025010{number}")
    found, more = reader.slice(limit=1)
    assert (found, more) == (lines(0, 30), True)
    assert reader.unread_bytes == sum(len(text(100 * number, 100 * number + 30)) for number in range(1, 5))
    assert reader.read(limit=1) == [line for number in range(1, 5) for line in lines(100 * number, 100 * number + 30)]


def test_reads_that_come_back_short_are_not_the_end(
    path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 50))
    rotate_by_rename(path)
    append(path, text(51, 60))
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda file, length, offset: real(file, min(length, 500), offset))
    found = [line for _ in range(20) for line in reader.read_after_grace()]
    assert sorted(found) == sorted(lines(3, 60))


def test_blank_lines_are_no_lines(path: Path, reader: Reader) -> None:
    append(path, b"\n\n{}\n  \t\n\r\n[]\n\n")
    assert reader.read() == [b"{}", b"[]"]


def test_carriage_returns_nul_and_bad_utf8_are_left_in_their_line(path: Path, reader: Reader) -> None:
    append(path, b'{"a":1}\r\n\x00\x00{}\n\xff\xfe\n\xc3\n')
    assert reader.read() == [b'{"a":1}\r', b"\x00\x00{}", b"\xff\xfe", b"\xc3"]


def test_a_line_of_exactly_the_limit_is_read(path: Path, reader: Reader) -> None:
    append(path, b"x" * LINE_LIMIT)
    assert reader.read() == []
    append(path, b"\n" + b"y" * (LINE_LIMIT + 1) + b"\nz\n")
    assert reader.read() == [b"x" * LINE_LIMIT, b"z"]
    assert reader.oversized == 1


@pytest.mark.parametrize("limit", [1, 3000, 1 << 20])
def test_a_line_that_is_too_long_is_counted_once_and_passed_over(path: Path, reader: Reader, limit: int) -> None:
    append(path, text(1, 2) + b"x" * 50_000 + b"\n" + text(3, 4))
    assert reader.read(limit) == lines(1, 4)
    assert reader.oversized == 1


def test_a_line_that_is_too_long_is_counted_once_while_it_still_grows(path: Path, reader: Reader) -> None:
    for _ in range(5):
        append(path, b"x" * (LINE_LIMIT // 2))
        assert reader.read() == []
        reader.restart()
    assert reader.oversized == 1
    append(path, b"\n" + text(1, 1))
    assert reader.read() == lines(1, 1)
    assert reader.oversized == 1


def test_a_slice_is_handed_over_in_small_batches(path: Path) -> None:
    content = (b"x" * 199 + b"\n") * 5000 + b"{}\n" * 50_000 + b"\n" * 100_000 + b"y" * 500_000 + b"\n" + b"z" * 200_000
    append(path, content)
    log = JsonlLog("log", path)
    found = log.read(None)
    batches = list(found.batches())
    log.close()
    assert lines_of(found) == [b"x" * 199] * 5000 + [b"{}"] * 50_000 + [b"y" * 500_000]
    assert sum(len(batch) > BATCH_BYTES for batch in batches) == 1
    assert all(batch.endswith(b"\n") for batch in batches)
    assert len(batches) < 50
    assert found.unread_bytes == 200_000


@pytest.mark.parametrize("length", [BATCH_BYTES - 1, BATCH_BYTES, BATCH_BYTES + 1])
@pytest.mark.parametrize("limit", [BATCH_BYTES - 1, BATCH_BYTES, 10 * BATCH_BYTES])
def test_lines_about_as_long_as_a_batch_are_lines_like_others(path: Path, length: int, limit: int) -> None:
    written = [b"a", b"b" * length, b"c", b"d" * length, b"e" * length]
    append(path, b"\n".join(written) + b"\n")
    log = JsonlLog("log", path, line_limit=limit)
    found = log.read(None)
    log.close()
    assert lines_of(found) == [line for line in written if len(line) <= limit]
    assert found.oversized == sum(len(line) > limit for line in written)


def test_a_huge_line_is_never_held_as_a_whole(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"x")
        file.truncate(300 * 1024 * 1024)  # a hole of NUL bytes
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + text(1, 1))
    log, position, found, oversized = JsonlLog("log", path), None, list[bytes](), 0
    more = True
    with most_memory(64 * 1024 * 1024):
        while more:
            part = log.read(position)
            position, more = part.position, part.more
            found += lines_of(part)
            oversized += part.oversized
    log.close()
    assert (found, oversized) == (lines(1, 1), 1)
