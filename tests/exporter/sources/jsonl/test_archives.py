"""Compressed rotated files, whole, half written or damaged."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.sources.jsonl import JsonlLog, Position
from tests.exporter.sources.jsonl.reading import (
    LINE_LIMIT,
    Reader,
    append,
    compress,
    lines,
    lines_of,
    most_memory,
    rotate_by_rename,
    suffixes,
    text,
)


def test_an_archive_may_end_in_half_a_line_and_consist_of_several_members(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    path.with_name(path.name + ".1.gz").write_bytes(gzip.compress(text(1, 3)) + gzip.compress(text(4, 4) + b"half"))
    path.unlink()
    reader.restart()
    append(path, text(5, 5))
    assert reader.read() == [*lines(3, 4), b"half", *lines(5, 5)]
    assert reader.read_after_grace() == []


def test_a_long_archive_is_decompressed_once_however_many_slices_it_takes(
    path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, text(1, 20_000))
    reader.slice(limit=LINE_LIMIT)
    reader.restart()
    archive = compress(rotate_by_rename(path))
    starts = 0
    real = os.lseek

    def counted(descriptor: int, offset: int, how: int) -> int:
        nonlocal starts
        starts += 1
        return real(descriptor, offset, how)

    monkeypatch.setattr(os, "lseek", counted)
    found = 0
    more = True
    while more:
        part, more = reader.slice(limit=LINE_LIMIT)
        found += len(part)
        if more:
            assert reader.unread_bytes == archive.stat().st_size
    assert 19_900 < found < 20_000
    assert starts == 1


def test_a_long_archive_is_not_held_as_a_whole(path: Path) -> None:
    with gzip.open(path.with_name(path.name + ".1.gz"), "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b"x" * 1023 * 1024 + b"\n")
    log = JsonlLog("log", path)
    position, more, found = Position(), True, 0
    with most_memory(24 * 1024 * 1024):
        while more:
            part = log.read(position)
            position, more, found = part.position, part.more, found + len(lines_of(part))
            del part
    log.close()
    assert found == 64


@suffixes
def test_a_file_beside_its_archive_is_read_once(path: Path, reader: Reader, suffix: str) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    old = rotate_by_rename(path, suffix)
    archive = old.with_name(old.name + ".gz")
    whole = gzip.compress(old.read_bytes())
    for content in (b"", whole[:20], whole):
        archive.write_bytes(content)
        reader.restart()
        append(path, text(10, 10))
        assert reader.read() == ([*lines(3, 4), *lines(10, 10)] if not content else lines(10, 10))
    old.unlink()
    reader.restart()
    assert reader.read() == []
    assert reader.read_after_grace() == []


def test_a_partly_written_archive_waits_for_the_rest(path: Path, reader: Reader) -> None:
    noise = [os.urandom(200).hex().encode() for _ in range(2000)]
    append(path, noise[0] + b"\n")
    assert reader.read() == noise[:1]
    whole = gzip.compress(b"".join(line + b"\n" for line in noise))
    archive = path.with_name(path.name + ".1.gz")
    path.unlink()
    path.touch()
    reader.restart()
    archive.write_bytes(b"")
    assert reader.read() == []
    append(archive, whole[: len(whole) // 2])
    found = reader.read()
    assert reader.read() == []
    assert reader.unread_bytes > 0
    append(archive, whole[len(whole) // 2 :])
    assert 0 < len(found) < len(noise)
    assert found + reader.read() == noise[1:]


def test_an_archive_that_is_still_empty_is_waited_for(path: Path, reader: Reader) -> None:
    path.touch()
    assert reader.read() == []
    archive = path.with_name(path.name + ".1.gz")
    archive.touch()
    append(path, text(5, 6))
    assert reader.read() == lines(5, 6)
    append(archive, gzip.compress(text(1, 4)))
    assert reader.read() == lines(1, 4)
    assert reader.read_after_grace() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-40],
        lambda whole: whole[:-40] + b"\0" * 40,
        lambda whole: whole[:-40] + b"\xff" * 40,
        lambda whole: whole + b"no gzip",
    ],
)
def test_a_damaged_archive_is_given_up_and_what_is_left_of_it_counts(
    path: Path, reader: Reader, damage: Callable[[bytes], bytes]
) -> None:
    append(path, text(1, 10))
    assert reader.read() == lines(1, 10)
    append(path, text(11, 2000))
    reader.restart()
    archive = compress(rotate_by_rename(path))
    archive.write_bytes(damage(archive.read_bytes()))
    with capture_logs() as logged:
        found = reader.read()
        found += reader.read_after_grace()
        assert reader.read_after_grace() == []
    assert found[:1000] == lines(11, 1010)
    (event,) = logged
    assert (event["event"], event["reason"]) == ("log.lines_lost", "archive_damaged")
    assert event["file"] == archive.name
