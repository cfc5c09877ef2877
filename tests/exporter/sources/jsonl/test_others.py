"""Other files beside a log are never read as its own, and never hinder its reading."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.sources.jsonl.folders import Folders
from tests.exporter.sources.jsonl.reading import Reader, append, lines, refused, rotate_by_rename, text

FOREIGN = 3000


def test_thousands_of_other_files_are_neither_read_nor_in_the_way(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    append(path, text(21, 22))
    for number in range(FOREIGN):
        append(path.with_name(f"other-{number}.log"), text(5000, 5001))
    append(path.with_name("preview.log"), text(6000, 6010))
    for number in range(1, 5):
        append(path.with_name(f"preview.log.{number}"), text(7000, 7010))
        append(path.with_name(f"preview-2025010{number}.log"), text(8000, 8010))
    with path.with_name("huge").open("wb") as huge:
        huge.truncate(1 << 40)
    os.mkfifo(path.with_name("ai-events.log.2"))
    os.mkfifo(path.with_name("pipe"))
    path.with_name("ai-events.log-20250101").mkdir()
    path.with_name("ai-events.log.3").symlink_to("ai-events.log.3")
    path.with_name("ai-events.log.4").symlink_to("nowhere")
    reader.restart()
    path.rename(path.with_name("moved away"))
    append(path, text(23, 24))
    open_before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert reader.read() == lines(21, 24)
    assert len(os.listdir("/proc/self/fd")) < open_before + 10  # noqa: PTH208
    assert reader.read_after_grace() == []


def test_many_rotated_files_are_not_open_all_at_once(path: Path, reader: Reader) -> None:
    for day in range(300):
        append(path.with_name(f"{path.name}-2025{day // 28 + 1:02}{day % 28 + 1:02}"), text(1000 * day, 1000 * day + 5))
    opened, real = list[int](), os.open

    def counted(name: Path, flags: int, mode: int = 0o777) -> int:
        opened.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208
        return real(name, flags, mode)

    append(path, text(1, 20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", counted)
        assert reader.read() == lines(1, 20)
        reader.restart()
        path.unlink()
        append(path, text(30, 31))
        assert reader.read() == lines(30, 31)
    assert max(opened) < min(opened) + 20


def test_the_rotated_files_of_a_log_with_a_longer_name_are_not_read(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    append(path.with_name("ai-events-12.log"), text(900, 910))
    assert reader.read() == lines(1, 20)
    reader.restart()
    for name in ("ai-events-12-20250101.log", "ai-events-12.log.1", "ai-events-debug.log.1", "ai-events-debug.log"):
        append(path.with_name(name), text(901, 910))
    rotate_by_rename(path)
    append(path, text(21, 22))
    with capture_logs() as logged:
        assert reader.read() == lines(21, 22)
        assert reader.read_after_grace() == []
    assert logged == []


def test_a_copy_made_by_hand_is_not_read_again(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    append(path, text(21, 22))
    reader.restart()
    shutil.copyfile(path, path.with_name("ai-events.log.2025-01-01"))
    shutil.copyfile(path, path.with_name("ai-events-20250102.log"))
    shutil.copyfile(path, path.with_name("ai-events-2025.log"))
    rotate_by_rename(path)
    append(path, text(23, 50))
    path.with_name("ai-events.log-20250103.gz").write_bytes(gzip.compress(path.read_bytes()))
    reader.ahead = 61
    with capture_logs() as logged:
        assert reader.read() == lines(21, 50)
        assert reader.read() == []
    assert logged == []


def test_files_that_may_be_rotated_ones_are_named_and_not_read(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    reader.restart()
    path.unlink()
    append(path.with_name("ai-events.log-backup-2025"), text(30, 40))
    append(path.with_name("ai-events-7.log"), text(50, 60))
    append(path, text(70, 71))
    with capture_logs() as logged:
        assert reader.read() == lines(70, 71)
        assert reader.read_after_grace() == []
    lost, left_out = logged
    assert lost["event"] == "log.lines_lost"
    assert left_out == {
        "event": "log.files_left_out",
        "log": "ai_events_log",
        "reason": "name",
        "files": ["ai-events-7.log", "ai-events.log-backup-2025"],
        "count": 2,
        "log_level": "warning",
    }


def test_a_file_compressed_in_an_unknown_way_is_named_and_not_read(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    reader.restart()
    rotate_by_rename(path, ".3")
    path.with_name("ai-events.log.2.lz4").write_bytes(b"\x04\x22\x4d\x18" + b"\n" * 100)
    path.with_name("ai-events.log.1.br").write_bytes(b"\x8b\x0f\x80\n")
    append(path, text(21, 22))
    with capture_logs() as logged:
        assert reader.read() == lines(21, 22)
    (left_out,) = logged
    assert (left_out["reason"], left_out["files"]) == ("compression", ["ai-events.log.1.br", "ai-events.log.2.lz4"])


def test_old_files_that_are_put_beside_the_log_are_not_read(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    reader.restart()
    for name in ("ai-events-20240101.log", "ai-events.log.2024-01-01T10.gz", "ai-events.log.7"):
        old = path.with_name(name)
        append(old, text(5000, 5020))
        os.utime(old, (1e9, 1e9))
    rotate_by_rename(path)
    append(path, text(21, 22))
    with capture_logs() as logged:
        assert reader.read() == lines(21, 22)
        assert reader.read_after_grace() == []
    assert logged == []


def test_old_files_that_were_copied_without_their_times_are_named_and_not_read(path: Path, reader: Reader) -> None:
    for number in range(30, 0, -1):
        append(path.with_name(f"{path.name}.{number}"), text(1000 * number, 1000 * number + 9))
        os.utime(path.with_name(f"{path.name}.{number}"), (1e9 - number, 1e9 - number))
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    reader.restart()
    for number in range(30, 0, -1):
        path.with_name(f"{path.name}.{number}").rename(path.with_name(f"{path.name}.{number + 1}"))
    rotate_by_rename(path)
    moved = path.parent.with_name("moved")
    shutil.copytree(path.parent, moved, copy_function=shutil.copyfile)
    reader.path = moved / path.name
    later = time.time() + 5
    for file in sorted(moved.iterdir()):
        os.utime(file, (later, later))
        later += 0.01
    reader.restart()
    append(reader.path, text(21, 22))
    reader.ahead = 10
    with capture_logs() as logged:
        assert reader.read() == lines(21, 22)
    (left_out,) = logged
    assert (left_out["reason"], left_out["count"]) == ("order", 22)


def test_a_log_that_numbers_its_files_upwards_is_read(path: Path, reader: Reader) -> None:
    for number in range(1, 4):
        append(path.with_name(f"{path.name}.{number}"), text(1000 * number, 1000 * number + 9))
        os.utime(path.with_name(f"{path.name}.{number}"), (1e9 + number, 1e9 + number))
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    append(path, text(21, 22))
    reader.restart()
    seconds = time.time()
    for number in range(4, 8):
        os.utime(rotate_by_rename(path, f".{number}"), (seconds + number, seconds + number))
        append(path, text(30 * number, 30 * number + 10))
    expected = [*lines(21, 22), *(line for number in range(4, 8) for line in lines(30 * number, 30 * number + 10))]
    assert reader.read() == expected
    assert reader.read_after_grace() == []


def test_a_foreign_file_that_got_the_inode_is_not_read(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    reader.restart()
    other = path.rename(path.with_name("other.txt"))
    other.write_bytes(text(500, 600))  # the same inode
    append(path, text(21, 22))
    with capture_logs() as logged:
        assert reader.read() == lines(21, 22)
        with refused(other):
            assert reader.read() == []
    assert [event["event"] for event in logged] == ["log.lines_lost"]


def test_folders_are_listed_again_only_when_something_has_changed(
    path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, text(1, 20))
    rotate_by_rename(path)
    path.unlink()
    os.utime(path.parent, (1e9, 1e9))
    listed, real = 0, os.scandir

    def counted(folder: Path) -> object:
        nonlocal listed
        listed += 1
        return real(folder)

    monkeypatch.setattr(os, "scandir", counted)
    real_time = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real_time() + 10_000_000_000)  # the change is some time ago
    folders = Folders(path, [Path("old"), path.parent])
    for _ in range(5):
        assert [entry.name for entry in folders.entries()] == ["ai-events.log.1"]
    assert listed == 1
    append(path, text(21, 22))
    assert {entry.name for entry in folders.entries()} == {"ai-events.log", "ai-events.log.1"}
    assert listed == 2


def test_a_live_log_needs_no_look_at_its_folder(path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)

    def refuse(folder: Path) -> object:
        raise AssertionError(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    append(path, text(21, 22))
    assert reader.read() == lines(21, 22)
    assert reader.read() == []
