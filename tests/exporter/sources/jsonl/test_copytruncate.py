"""A log that is copied and then truncated is read once, at any moment of the rotation."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.exporter.sources.jsonl.reading import (
    LINE_LIMIT,
    Reader,
    append,
    compress,
    lines,
    rotate_by_copy,
    rotate_by_rename,
    text,
)


def test_a_truncated_file_that_has_outgrown_the_old_offset_is_read_from_its_start(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    rotate_by_copy(path)
    append(path, text(3, 40))
    reader.restart()
    assert reader.read() == lines(3, 40)
    assert reader.read_after_grace() == []


def test_a_copy_that_is_being_made_is_not_read(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    append(path, text(23, 24))
    copy = path.with_name(path.name + ".1")
    copy.write_bytes(path.read_bytes()[:50])
    assert reader.read() == lines(23, 24)
    shutil.copyfile(path, copy)
    append(path, text(25, 25))  # logrotate loses these lines; the reader does not
    assert reader.read() == lines(25, 25)
    os.truncate(path, 0)
    append(path, text(26, 26))
    assert reader.read() == lines(26, 26)
    assert reader.read_after_grace() == []


@pytest.mark.parametrize("known", ["nothing", "empty", "rotated"])
def test_nor_is_it_when_the_live_file_is_as_new_as_the_copy(path: Path, reader: Reader, known: str) -> None:
    path.touch()
    if known != "nothing":
        assert reader.read() == []
    if known == "rotated":
        append(path, text(1, 1))
        rotate_by_rename(path, ".2")
        assert reader.read() == lines(1, 1)
    append(path, text(3, 4))
    copy = path.with_name(path.name + ".1")
    shutil.copyfile(path, copy)
    found = reader.read()
    os.truncate(path, 0)
    append(path, text(5, 5))
    assert found + reader.read() == lines(3, 5)
    assert reader.read_after_grace() == []


def test_a_copy_that_was_being_made_at_the_very_first_read_is_read_on_in(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    copy = path.with_name(path.name + ".1")
    copy.write_bytes(text(1, 1))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 3))
    copy.write_bytes(path.read_bytes())
    os.truncate(path, 0)
    append(path, text(4, 4))
    assert reader.read() == lines(3, 4)


def test_a_copy_beside_a_file_we_hold_and_a_live_file_that_is_new_is_not_read(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    compress(rotate_by_rename(path, ".2"))
    append(path, text(3, 4))
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    assert reader.read() == []
    os.truncate(path, 0)
    assert reader.read() == lines(3, 4)


def test_a_copy_that_was_left_for_later_is_new_then(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    reader.restart()
    rotate_by_rename(path, ".2")
    append(path, text(21, 40))
    copy = path.with_name(path.name + ".1")
    shutil.copyfile(path, copy)
    info = path.stat()
    os.utime(path, ns=(info.st_atime_ns, copy.stat().st_mtime_ns + 50_000_000))  # the log is written to after the copy
    reader.ahead = 1
    assert reader.read() == []
    reader.restart()
    os.truncate(path, 0)
    append(path, text(41, 42))
    assert reader.read() == lines(21, 42)
    assert reader.read_after_grace() == []


@pytest.mark.parametrize("moment", ["before the live file is truncated", "after"])
def test_a_copy_that_got_the_inode_of_a_file_without_lines_is_known_as_one(
    path: Path, reader: Reader, moment: str
) -> None:
    path.touch()
    assert reader.read() == []
    empty = rotate_by_rename(path, "-20250101")
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    reader.restart()
    append(path, text(3, 3))
    copy = empty.rename(path.with_name(path.name + "-20250102"))
    copy.write_bytes(path.read_bytes())
    if moment != "after":
        assert reader.read() == lines(3, 3)
    os.truncate(path, 0)
    append(path, text(4, 4))
    assert reader.read() == (lines(3, 4) if moment == "after" else lines(4, 4))
    assert reader.read_after_grace() == []


def test_two_new_files_that_begin_alike_are_both_read_once_no_copy_is_being_made(path: Path, reader: Reader) -> None:
    path.touch()
    assert reader.read() == []
    append(path, b"same\n" * 2)
    rotate_by_rename(path, ".1")
    append(path, b"same\n" * 3)
    reader.restart()
    assert reader.read() == []
    assert reader.read_after_grace() == [b"same"] * 5


def test_a_file_truncated_while_it_is_read_is_looked_at_again(
    path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, text(1, 100))
    reader.slice(limit=LINE_LIMIT)
    real, reads = os.pread, 0

    def rotating(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads == 3:  # head and anchor still matched
            rotate_by_copy(path)
            append(path, text(101, 300))
        return real(descriptor, length, offset)

    (position, first) = (reader.position, reader.slice(limit=LINE_LIMIT)[0])
    reader.position = position
    monkeypatch.setattr(os, "pread", rotating)
    found = reader.read()
    assert reads > 3
    assert found[: len(first)] == first
    assert found[-200:] == lines(101, 300)
    assert len(found) == len(set(found))
    assert lines(100, 100)[0] in found


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("length", [20, 3000])
def test_a_writer_that_goes_on_where_it_was_leaves_nul_bytes_that_are_no_line(
    path: Path, reader: Reader, restart: bool, compressed: bool, length: int
) -> None:
    """Without O_APPEND the writer continues at its old offset in the truncated file: a hole of the old file's
    length."""
    found, written = list[bytes](), 0
    with path.open("wb", buffering=0) as writer:
        for number in range(4):
            for _ in range(3):
                writer.write(text(written + 1, written + length))
                written += length
                if restart:
                    reader.restart()
                found += cleaned(reader.read(limit=5000))
            writer.write(text(written + 1, written + length))
            written += length
            copy = path.with_name(f"ai-events.log-2025010{number}")
            shutil.copyfile(path, copy)
            os.truncate(path, 0)
            if compressed:
                compress(copy)
    found += cleaned(reader.read())
    found += cleaned(reader.read_after_grace())
    assert sorted(found) == sorted(lines(1, written))
    assert reader.oversized == 0


def test_nul_bytes_are_passed_over_a_slice_at_a_time_and_only_before_a_line(path: Path, reader: Reader) -> None:
    append(path, text(1, 2) + b"\0" * 50_000 + text(3, 4) + b"\0" * 50_000)
    assert cleaned(reader.read(limit=1)) == lines(1, 4)
    reader.restart()
    append(path, b"\0" * 50_000 + text(5, 5) + b"x" + b"\0" * 50_000 + b"\n" + text(6, 6))
    assert cleaned(reader.read(limit=1)) == lines(5, 6)
    assert reader.oversized == 1


def test_files_that_begin_with_nul_bytes_are_told_apart_by_their_first_lines(path: Path, reader: Reader) -> None:
    nul = b"\0" * 20_000
    append(path, nul + text(1, 20))
    assert cleaned(reader.read(limit=1)) == lines(1, 20)
    for number in range(1, 5):
        if number % 2:
            reader.restart()
        append(path, text(100 * number, 100 * number + 20))
        rotate_by_rename(path, f"-2025010{number}")
        append(path, nul + text(100 * number + 50, 100 * number + 60))
        expected = [*lines(100 * number, 100 * number + 20), *lines(100 * number + 50, 100 * number + 60)]
        assert cleaned(reader.read(limit=1)) == expected
    assert reader.read_after_grace() == []


def cleaned(found: list[bytes]) -> list[bytes]:
    """The lines without the NUL bytes before them, which the parser removes."""
    return [line for line in (line.lstrip(b"\0") for line in found) if line]
