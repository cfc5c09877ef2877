"""A log is read line by line, each once, whatever its rotation does: real files, one situation a test."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from exporter.errors import SourceUnavailable
from exporter.sources.jsonl import JsonlLog, Position, Slice
from exporter.sources.jsonl.slice import BATCH_BYTES

LINE_LIMIT = 2000


class Reader:
    """Reads as a collector does: it remembers the position as JSON, and could be another process after `restart`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ahead = 0.0
        self.position: bytes | None = None
        self.oversized = 0
        self.unread_bytes = 0
        self.log = self._log()

    def _log(self) -> JsonlLog:
        return JsonlLog("ai_events_log", self.path, line_limit=LINE_LIMIT, clock=lambda: time.time() + self.ahead)

    def restart(self) -> None:
        self.log.close()
        self.log = self._log()

    def slice(self, limit: int = 1 << 20) -> tuple[list[bytes], bool]:
        before = None if self.position is None else Position.from_state(orjson.loads(self.position))
        found = self.log.read(before, limit)
        self.position = orjson.dumps(found.position.to_state())
        self.oversized += found.oversized
        self.unread_bytes = found.unread_bytes
        return lines_of(found), found.more

    def read(self, limit: int = 1 << 20) -> list[bytes]:
        lines, more = self.slice(limit)
        while more:
            next_lines, more = self.slice(limit)
            lines += next_lines
        return lines

    def read_after_grace(self) -> list[bytes]:
        self.ahead += 61
        try:
            return self.read()
        finally:
            self.ahead -= 61


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder / "ai-events.log"


@pytest.fixture
def reader(path: Path) -> Iterator[Reader]:
    reader = Reader(path)
    yield reader
    reader.log.close()


def lines(first: int, last: int) -> list[bytes]:
    return [b'{"n":%d,"ts":"2025-01-01T00:00:00Z"}' % number for number in range(first, last + 1)]


def lines_of(found: Slice) -> list[bytes]:
    return [line for batch in found.batches() for line in batch.split(b"\n") if line.strip()]


def text(first: int, last: int) -> bytes:
    return b"".join(line + b"\n" for line in lines(first, last))


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def rotate_by_rename(path: Path, to: str = ".1") -> Path:
    old = path.with_name(path.name + to)
    path.rename(old)
    path.write_bytes(b"")
    return old


def rotate_by_copy(path: Path, to: str = ".1") -> Path:
    old = path.with_name(path.name + to)
    shutil.copyfile(path, old)
    os.truncate(path, 0)
    return old


def compress(path: Path) -> Path:
    archive = path.with_name(path.name + ".gz")
    archive.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return archive


rotations = pytest.mark.parametrize("rotate", [rotate_by_rename, rotate_by_copy])
suffixes = pytest.mark.parametrize(
    "suffix", [".1", "-20250101", ".2025-01-01", ".20250101", "-20250101-1735689600", ".2025-01-01_10-30-00"]
)

Rotate = Callable[[Path, str], Path]


# Lines -----------------------------------------------------------------------------------------------------------


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
        file.truncate(300 * 1024 * 1024)  # NUL bytes that take no room
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


# Rotation --------------------------------------------------------------------------------------------------------


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


def test_the_half_line_at_the_end_of_a_rotated_file_is_a_line_once_nobody_writes_there(
    path: Path, reader: Reader
) -> None:
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
    assert logged == [
        {"event": "log.lines_lost", "log": "ai_events_log", "reason": "archive_damaged", "log_level": "warning"}
    ]


# Copytruncate ----------------------------------------------------------------------------------------------------


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
    append(path, text(25, 25))  # logrotate loses what comes now; we do not
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
        if reads == 3:  # head and anchor still fitted
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


# What is missing, or in the way ----------------------------------------------------------------------------------


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


def test_the_beginning_of_a_line_is_not_taken_for_a_sign_by_which_to_recognise_a_file(
    path: Path, reader: Reader
) -> None:
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


def test_a_file_that_disappears_between_the_look_and_its_opening_is_looked_for_again(
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
        path.with_name("new").write_bytes(b"")  # before the old one goes, or it might get its inode
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
    path.unlink()
    append(path, text(8, 9))
    with capture_logs() as logged:
        assert reader.read() == lines(8, 9)
        append(path, text(10, 10))
        assert reader.read() == lines(10, 10)
        reader.restart()
        assert reader.read() == []
    assert logged == [
        {"event": "log.lines_lost", "log": "ai_events_log", "reason": "file_gone", "log_level": "warning"}
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


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """As if the process had no permission to open the file (root has, always)."""
    real = os.open

    def refusing(name: Path, flags: int, mode: int = 0o777) -> int:
        if name == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, flags, mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refusing)
        yield


@contextmanager
def most_memory(most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
