"""The start of reading: the border between old and new lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exporter.sources.jsonl.reading import (
    Reader,
    Rotate,
    append,
    compress,
    lines,
    rotate_by_copy,
    rotate_by_rename,
    rotations,
    text,
)


def test_only_the_live_file_is_read_at_the_very_first_read(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    compress(rotate_by_rename(path, ".2"))
    append(path, text(3, 4))
    rotate_by_rename(path)
    append(path, text(5, 6))
    assert reader.read() == lines(5, 6)
    rotate_by_rename(path, "-20250101")
    append(path, text(7, 7))
    reader.restart()
    assert reader.read() == lines(7, 7)


def test_a_log_that_starts_out_empty_is_read_over_its_first_rotations(path: Path, reader: Reader) -> None:
    path.touch()
    assert reader.read() == []
    reader.restart()
    append(path, text(1, 2))
    rotate_by_rename(path, ".2")
    append(path, text(3, 4))
    rotate_by_rename(path, ".1")
    append(path, text(5, 6))
    assert reader.read() == lines(1, 6)


@rotations
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_of_which_no_line_was_read_before_its_rotation_is_read(
    path: Path, reader: Reader, rotate: Rotate, restart: bool, compressed: bool
) -> None:
    append(path, b'{"n":')
    assert reader.read() == []
    append(path, b"0}\n" + text(1, 2))
    if restart:
        reader.restart()
    old = rotate(path, ".1")
    if compressed:
        compress(old)
    append(path, text(3, 3))
    assert reader.read() == [b'{"n":0}', *lines(1, 3)]
    assert reader.read_after_grace() == []


@pytest.mark.parametrize("compressed", [False, True])
def test_an_empty_log_is_read_over_both_kinds_of_rotation_in_a_row(
    path: Path, reader: Reader, compressed: bool
) -> None:
    path.touch()
    assert reader.read() == []
    append(path, text(1, 5))
    rotate_by_copy(path, "-20250101")
    append(path, text(6, 6))
    old = rotate_by_rename(path, "-20250102")
    if compressed:
        compress(old)
    append(path, text(7, 7))
    assert sorted(reader.read()) == lines(1, 7)
    assert reader.read_after_grace() == []


def test_an_empty_log_that_is_moved_to_another_folder_is_read_while_we_hold_it(path: Path, reader: Reader) -> None:
    path.touch()
    assert reader.read() == []
    append(path, text(1, 2))
    path.rename(path.parent.parent / "moved")
    append(path, text(3, 3))
    assert reader.read() == lines(1, 3)


def test_many_empty_files_do_not_make_one_forget_the_others(path: Path, reader: Reader) -> None:
    append(path.with_name(path.name + ".12"), text(1, 5))
    for number in range(1, 12):
        path.with_name(f"{path.name}.{number}").touch()
    path.touch()
    assert reader.read() == reader.read() == []
    append(path, text(6, 6))
    assert reader.read() == lines(6, 6)


def test_the_beginning_of_a_line_does_not_identify_a_file(path: Path, reader: Reader) -> None:
    for day in range(1, 15):
        append(path.with_name(f"{path.name}-202501{day:02}"), text(100 * day, 100 * day + 2))
    append(path, b'{"n":')
    assert reader.read() == []
    append(path, b"0}\n")
    reader.restart()
    rotate_by_copy(path, "-20250115")
    append(path, text(1, 1))
    assert reader.read() == [b'{"n":0}', *lines(1, 1)]


def test_a_file_that_turns_up_behind_a_live_file_we_know_is_not_new(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    rotate_by_rename(path, "-20250101")
    append(path, text(3, 4))
    assert reader.read() == lines(3, 4)
    append(path.with_name(path.name + "-20250102"), text(50, 60))
    append(path, text(5, 5))
    assert reader.read() == lines(5, 5)
    assert reader.read_after_grace() == []


def test_a_live_file_that_begins_like_one_that_is_gone_is_read(path: Path, reader: Reader) -> None:
    append(path, b"same\n")
    assert reader.read() == [b"same"]
    old = rotate_by_rename(path)
    assert reader.read_after_grace() == []
    old.unlink()
    append(path, b"same\n")
    assert reader.read() == [b"same"]
