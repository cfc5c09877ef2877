"""A log that is missing, is not a file, or is lost."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.errors import SourceUnavailable
from tests.exporter.sources.jsonl.reading import Reader, append, compress, lines, refused, rotate_by_rename, text


def test_a_log_that_is_missing_is_read_once_it_appears(path: Path, reader: Reader) -> None:
    with pytest.raises(SourceUnavailable, match="ai_events_log: missing"):
        reader.read()
    assert (reader.log.reachability.up, reader.log.reachability.error) == (False, "missing")
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    assert reader.log.reachability.up
    assert reader.log.reachability.error is None


@pytest.mark.parametrize("gone", ["folder", "folder is a file", "link to nothing"])
def test_a_log_is_missing_when_its_folder_is(path: Path, reader: Reader, gone: str) -> None:
    path.parent.rmdir()
    if gone == "folder is a file":
        path.parent.write_text("")
    if gone == "link to nothing":
        path.parent.mkdir()
        path.symlink_to("nowhere")
    with pytest.raises(SourceUnavailable, match="ai_events_log: missing"):
        reader.read()


def test_a_directory_or_a_pipe_in_the_place_of_the_log_is_no_log(path: Path, reader: Reader) -> None:
    path.mkdir()
    with pytest.raises(SourceUnavailable, match="not_a_file"):
        reader.read()
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(SourceUnavailable, match="not_a_file"):
        reader.read()


def test_no_permission_is_said_and_nothing_is_lost(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    with refused(path), pytest.raises(SourceUnavailable, match="permission"):
        reader.read()
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    reader.restart()
    old = rotate_by_rename(path)
    append(path, text(5, 5))
    with refused(old), pytest.raises(SourceUnavailable, match="permission"):
        reader.read()
    assert reader.read() == lines(3, 5)


def test_old_files_that_may_not_be_read_are_nobodys_business(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    old = rotate_by_rename(path)
    append(path, text(3, 4))
    with refused(old):
        assert reader.read() == lines(3, 4)
        rotate_by_rename(path, "-20250101")
        append(path, text(5, 6))
        assert reader.read() == lines(5, 6)


def test_a_failing_disk_is_said(path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, text(1, 2))

    def broken(descriptor: int, length: int, offset: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", broken)
        with pytest.raises(SourceUnavailable, match="io"):
            reader.read()
    assert reader.read() == lines(1, 2)


def test_a_descriptor_that_went_stale_is_opened_anew(
    path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    opened, real_open, real_read = 0, os.open, os.pread

    def counted_open(name: Path, flags: int, mode: int = 0o777) -> int:
        nonlocal opened
        opened += 1
        return real_open(name, flags, mode)

    def stale(descriptor: int, length: int, offset: int) -> bytes:
        if not opened:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real_read(descriptor, length, offset)

    append(path, text(3, 3))
    monkeypatch.setattr(os, "open", counted_open)
    monkeypatch.setattr(os, "pread", stale)
    with pytest.raises(SourceUnavailable, match="rotating"):
        reader.read()
    assert reader.read() == lines(3, 3)


def test_a_file_that_disappears_before_it_is_opened_is_looked_for_again(
    path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    reader.restart()
    real, opened = os.open, 0

    def racing(name: Path, flags: int, mode: int = 0o777) -> int:
        nonlocal opened
        opened += 1
        if opened == 1:
            rotate_by_rename(path)
            append(path, text(5, 6))
        if opened == 2:
            path.with_name(path.name + ".1").rename(path.with_name(path.name + ".2"))
            rotate_by_rename(path)
        return real(name, flags, mode)

    monkeypatch.setattr(os, "open", racing)
    assert reader.read() == lines(3, 6)
    assert opened > 2


def test_a_directory_that_never_stands_still_is_said(
    path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, text(1, 2))
    real = os.open

    def racing(name: Path, flags: int, mode: int = 0o777) -> int:
        path.with_name("new").write_bytes(b"")  # before the old file is removed, as it might get its inode
        path.with_name("new").rename(path)
        return real(name, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", racing)
        with pytest.raises(SourceUnavailable, match="rotating"):
            reader.read()


def test_lines_of_a_file_deleted_before_it_was_read_are_lost_and_this_is_said_once(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    reader.restart()
    inode = path.stat().st_ino
    path.unlink()
    append(path, text(8, 9))
    with capture_logs() as logged:
        assert reader.read() == lines(8, 9)
        append(path, text(10, 10))
        assert reader.read() == lines(10, 10)
        reader.restart()
        assert reader.read() == []
    assert logged == [
        {
            "event": "log.lines_lost",
            "log": "ai_events_log",
            "reason": "not_found",
            "file": "ai-events.log",
            "inode": inode,
            "read_bytes": len(text(1, 2)),
            "looked_in": [str(path.parent)],
            "log_level": "warning",
        }
    ]


def test_the_file_we_hold_is_read_to_its_end_even_when_it_was_deleted(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    path.unlink()
    with capture_logs() as logged:
        assert reader.read() == lines(3, 4)
        with pytest.raises(SourceUnavailable, match="missing"):
            reader.read()
        append(path, text(5, 6))
        assert reader.read() == lines(5, 6)
        assert reader.read_after_grace() == []
    assert logged == []


def test_a_file_that_was_away_for_a_while_is_read_on_where_it_was_left(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    reader.restart()
    away = path.parent.parent / "away"
    path.rename(away)
    append(path, text(5, 6))
    assert reader.read() == lines(5, 6)
    away.rename(path.with_name(path.name + ".2"))
    append(path, text(7, 7))
    rotate_by_rename(path)
    assert sorted(reader.read()) == [*lines(3, 4), *lines(7, 7)]


def test_an_inode_used_again_is_another_file(path: Path, reader: Reader) -> None:
    for number in range(10):
        append(path, text(10 * number, 10 * number + 5))
        assert reader.read() == lines(10 * number, 10 * number + 5)
        append(path, text(10 * number + 6, 10 * number + 7))
        reader.restart()
        inode = path.stat().st_ino
        compress(rotate_without_new(path))
        path.touch()
        if path.stat().st_ino == inode:
            break
        assert reader.read() == lines(10 * number + 6, 10 * number + 7)
        for old in path.parent.glob("*.gz"):
            old.unlink()
    else:
        pytest.skip("this file system does not use inodes again so soon")
    append(path, text(1000, 1020))
    assert reader.read() == [*lines(10 * number + 6, 10 * number + 7), *lines(1000, 1020)]


def rotate_without_new(path: Path) -> Path:
    return path.rename(path.with_name(path.name + ".1"))


def test_a_log_between_its_rotation_and_its_first_new_line_is_not_missing(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    rotate_without_new(path)
    assert reader.read() == lines(3, 4)
    assert reader.read_after_grace() == reader.read() == []
    append(path, text(5, 5))
    assert reader.read() == lines(5, 5)


def test_a_directory_moved_to_another_disk_is_read_on_where_it_was_left(path: Path, reader: Reader) -> None:
    append(path, text(1, 2))
    rotate_by_rename(path)
    append(path, text(3, 4))
    assert reader.read() == lines(3, 4)
    reader.restart()
    moved = path.parent.with_name("moved")
    shutil.copytree(path.parent, moved)
    shutil.rmtree(path.parent)
    reader.path = moved / path.name
    reader.restart()
    append(reader.path, text(5, 6))
    assert reader.read() == lines(5, 6)
