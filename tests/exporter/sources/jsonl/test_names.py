"""Names of rotated files, and names of other logs' files."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from tests.exporter.sources.jsonl.reading import Reader, append, lines, rotate_by_rename, text


def test_a_directory_named_like_a_rotated_log_is_none(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    path.with_name(path.name + ".1").mkdir()
    assert reader.read() == lines(1, 2)
    rotate_by_rename(path, ".2")
    append(path, text(3, 3))
    assert reader.read() == lines(3, 3)


def test_names_that_are_no_rotated_logs_are_left_alone(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    for suffix in (".bak", ".offset", ".1.tmp", "-2025", ".1.xz", "2"):
        append(path.with_name(path.name + suffix), text(50, 60))
    rotate_by_rename(path)
    append(path, text(3, 3))
    assert reader.read() == lines(3, 3)


def test_a_link_to_the_newest_file_is_followed(path: Path, reader: Reader) -> None:
    days = [path.with_name(f"{path.name}-2025010{day}") for day in (1, 2)]
    append(days[0], text(1, 2))
    path.symlink_to(days[0])
    assert reader.read() == lines(1, 2)
    append(days[0], text(3, 3))
    append(days[1], text(4, 4))
    path.unlink()
    path.symlink_to(days[1])
    assert reader.read() == lines(3, 4)
    append(path, text(5, 5))
    assert reader.read() == lines(5, 5)


def test_savelogs_file_zero_is_known_through_pygtail(path: Path, reader: Reader) -> None:
    older = path.with_name(path.name + ".1.gz")
    older.write_bytes(gzip.compress(text(90, 99)))
    os.utime(older, (1, 1))
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    reader.restart()
    rotate_by_rename(path, ".0")
    append(path, text(5, 5))
    assert reader.read() == lines(3, 5)


def test_a_second_kind_of_rotated_names_does_not_hide_the_first(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    rotate_by_rename(path, ".1")
    append(path, text(3, 4))
    assert reader.read() == lines(3, 4)
    rotate_by_rename(path, "-20250101")
    append(path, text(5, 6))
    rotate_by_rename(path, "-20250102")
    append(path, text(7, 8))
    reader.restart()
    assert reader.read() == lines(5, 8)
    assert reader.read_after_grace() == []


@pytest.mark.parametrize("name", ["[ab]*.log", "[ab]/x.log", "a%sb.log", "ü .log"])
def test_names_with_wildcards_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "a").mkdir()
    reader = Reader(path)
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    rotate_by_rename(path, "-20250101")
    append(path, text(5, 5))
    append(tmp_path / "a.log-20250102", text(50, 60))
    append(tmp_path / "a" / "x.log-20250102", text(50, 60))
    append(path.with_name("x.log-20250102"), text(50, 60) if name != "[ab]/x.log" else b"")
    assert reader.read() == lines(3, 5)
    reader.log.close()
