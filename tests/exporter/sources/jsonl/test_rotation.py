"""Each line is read once across real rotations: one situation per test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exporter.sources.jsonl.reading import (
    Reader,
    Rotate,
    append,
    compress,
    lines,
    rotate_by_rename,
    rotations,
    suffixes,
    text,
)


@suffixes
@rotations
def test_the_unread_end_of_a_rotated_file_is_read(path: Path, reader: Reader, rotate: Rotate, suffix: str) -> None:
    append(path, text(1, 3))
    assert reader.read() == lines(1, 3)
    append(path, text(4, 5))
    rotate(path, suffix)
    append(path, text(6, 7))
    assert reader.read() == lines(4, 7)
    assert reader.read() == reader.read_after_grace() == reader.read() == []


@suffixes
@rotations
def test_it_is_found_by_another_process_even_compressed(
    path: Path, reader: Reader, rotate: Rotate, suffix: str
) -> None:
    append(path, text(1, 3))
    assert reader.read() == lines(1, 3)
    append(path, text(4, 5))
    reader.restart()
    compress(rotate(path, suffix))
    append(path, text(6, 7))
    assert reader.read() == lines(4, 7)
    assert reader.read_after_grace() == []


@rotations
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_several_rotations_between_two_reads_are_read_oldest_first(
    path: Path, reader: Reader, rotate: Rotate, compressed: bool, restart: bool
) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    if restart:
        reader.restart()
    for number in range(1, 5):
        for old in range(9, 0, -1):
            for ending in ("", ".gz"):
                name = path.with_name(f"{path.name}.{old}{ending}")
                if name.exists():
                    name.rename(path.with_name(f"{path.name}.{old + 1}{ending}"))
        moved = rotate(path, ".1")
        if compressed:
            compress(moved)
        append(path, text(10 * number, 10 * number + 5))
    assert reader.read(limit=100) == [*lines(3, 4), *lines(10, 15), *lines(20, 25), *lines(30, 35), *lines(40, 45)]
    assert reader.read_after_grace() == []


@rotations
def test_several_dated_rotations_are_read_oldest_first(path: Path, reader: Reader, rotate: Rotate) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    for day in range(1, 6):
        append(path, text(10 * day, 10 * day + 5))
        old = rotate(path, f".2025-01-0{day}")
        if day != 3:
            compress(old)
    append(path, text(90, 91))
    assert reader.read() == [line for day in range(1, 6) for line in lines(10 * day, 10 * day + 5)] + lines(90, 91)
    assert reader.read_after_grace() == []


def test_files_that_look_alike_are_told_apart_by_their_order(path: Path, reader: Reader) -> None:
    append(path, b"same\n" * 2)
    assert reader.read() == [b"same"] * 2
    append(path, b"same\n" * 3)
    rotate_by_rename(path, ".2")
    append(path, b"same\n" * 4)
    rotate_by_rename(path, ".1")
    append(path, b"same\n" * 3)
    assert reader.read() == [b"same"] * 10
    assert reader.read_after_grace() == []


def test_what_is_written_to_a_renamed_file_until_the_writers_let_it_go_is_read(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    with path.open("ab", buffering=0) as late:
        assert reader.read() == lines(1, 2)
        rotate_by_rename(path)
        append(path, text(10, 11))
        assert reader.read() == lines(10, 11)
        late.write(text(3, 4))
        append(path, text(12, 12))
        assert reader.read() == [*lines(3, 4), *lines(12, 12)]
        reader.restart()
        late.write(text(5, 5))
    append(path, text(13, 13))
    assert reader.read_after_grace() == [*lines(5, 5), *lines(13, 13)]


def test_a_file_that_was_rotated_while_it_was_empty_may_still_get_lines(path: Path, reader: Reader) -> None:
    path.touch()
    with path.open("ab", buffering=0) as late:
        assert reader.read() == []
        rotate_by_rename(path)
        append(path, text(10, 11))
        assert reader.read() == lines(10, 11)
        late.write(text(1, 2))
    reader.restart()
    assert reader.read() == lines(1, 2)
    assert reader.read_after_grace() == []


def test_half_a_line_at_the_end_of_a_rotated_file_is_a_line_after_the_grace_period(path: Path, reader: Reader) -> None:
    append(path, text(1, 1) + b'{"n":')
    assert reader.read() == lines(1, 1)
    old = rotate_by_rename(path)
    append(path, text(2, 2))
    assert reader.read(limit=1) == lines(2, 2)
    assert reader.unread_bytes == 5
    append(old, b"1")
    assert reader.read() == []
    assert reader.read_after_grace() == [b'{"n":1']
    assert reader.read_after_grace() == []
    assert reader.unread_bytes == 0
