"""A rotated file is found by its identity and its content, under any name and in any folder."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from exporter.errors import SourceUnavailable
from exporter.sources.jsonl.archives import zstd
from tests.exporter.sources.jsonl.reading import Reader, append, lines, lines_of, rotate_by_rename, text

compressed = pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        lzma.compress,
        lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
        bz2.compress,
        zstd.compress,
        lambda content: b"\x50\x2a\x4d\x18\x04\x00\x00\x00size" + zstd.compress(content),
    ],
    ids=["plain", "gzip", "xz", "lzma", "bzip2", "zstd", "pzstd"],
)
Pack = Callable[[bytes], bytes]


@compressed
@pytest.mark.parametrize("name", ["ai-events.log.1", "ai-events.log.1.gz", "moved", "preview.log.1.packed", "ü \udcff"])
def test_the_file_is_found_by_its_content(path: Path, reader: Reader, name: str, pack: Pack) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    append(path, text(21, 200))
    reader.restart()
    path.with_name(name).write_bytes(pack(path.read_bytes()))
    path.unlink()
    append(path, text(201, 202))
    with capture_logs() as logged:
        assert sorted(reader.read(limit=2000)) == sorted(lines(21, 202))
        assert reader.read_after_grace() == []
    assert logged == []


@pytest.mark.parametrize("name", ["moved", "ai-events.log-backup-1", "folder/ai-events.log", "folder/moved"])
def test_the_file_is_found_by_its_identity(path: Path, name: str) -> None:
    (path.parent / "folder").mkdir()
    reader = Reader(path, [Path("folder")])
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    reader.restart()
    path.rename(path.parent / name)
    append(path, text(5, 6))
    assert reader.read() == lines(3, 6)
    assert reader.read_after_grace() == []
    reader.log.close()


def test_a_file_too_short_to_be_known_by_its_content_is_found_by_its_identity(path: Path, reader: Reader) -> None:
    append(path, b"{}\n")
    assert reader.read() == [b"{}"]
    append(path, text(1, 20))
    reader.restart()
    path.rename(path.with_name("moved"))
    append(path, text(21, 22))
    assert reader.read() == lines(1, 22)


def test_files_of_a_name_under_which_one_was_found_are_read_too(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    reader.restart()
    for number in range(1, 4):
        append(path, text(100 * number, 100 * number + 20))
        rotate_by_rename(path, f"-backup-{number}")
    append(path, text(900, 901))
    found = reader.read()
    assert found == [*lines(100, 120), *lines(200, 220), *lines(300, 320), *lines(900, 901)]
    reader.restart()
    for number in range(4, 6):  # later files are found, though the first of them is deleted
        append(path, text(100 * number, 100 * number + 20))
        rotate_by_rename(path, f"-backup-{number}")
    path.with_name("ai-events.log-backup-4").unlink()
    with capture_logs() as logged:
        assert reader.read() == lines(500, 520)
    assert [(event["event"], event.get("file")) for event in logged] == [("log.lines_lost", "ai-events.log")]


def test_one_old_file_that_is_overwritten_each_time_is_read(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    for number in range(1, 4):
        reader.restart()
        append(path, text(100 * number, 100 * number + 20))
        rotate_by_rename(path, ".old")
        assert reader.read() == lines(100 * number, 100 * number + 20)
        append(path, text(100 * number + 50, 100 * number + 70))
        assert reader.read() == lines(100 * number + 50, 100 * number + 70)


def test_an_archive_directory_that_is_missing_or_no_directory_is_empty(path: Path) -> None:
    reader = Reader(path, [Path("missing"), path, path.parent / "file"])
    path.with_name("file").write_bytes(b"")
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    reader.restart()
    path.with_name("missing").mkdir()
    path.rename(path.with_name("missing") / "ai-events.log.1")
    append(path, text(5, 6))
    assert reader.read() == lines(3, 6)
    reader.log.close()


def test_an_archive_directory_that_may_not_be_read_is_said_and_nothing_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = path.with_name("old")
    archives.mkdir()
    reader = Reader(path, [archives])
    append(path, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(path, text(3, 4))
    reader.restart()
    path.rename(archives / "ai-events.log.1")
    append(path, text(5, 6))
    real = os.scandir

    def refusing(folder: Path) -> object:
        if folder == archives:
            raise PermissionError(13, "Permission denied")
        return real(folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing)
        with pytest.raises(SourceUnavailable, match="permission"):
            reader.read()
    assert reader.read() == lines(3, 6)
    reader.log.close()


@pytest.mark.parametrize("archives", [[], [Path("old")]])
def test_files_beside_the_real_log_and_beside_its_link_are_found(tmp_path: Path, archives: list[Path]) -> None:
    real, link = tmp_path / "real" / "app.log", tmp_path / "links" / "ai-events.log"
    for path in (real, link):
        path.parent.mkdir()
    link.symlink_to(Path("..") / "real" / "app.log")
    reader = Reader(link, archives)
    append(real, text(1, 2))
    assert reader.read() == lines(1, 2)
    append(real, text(3, 4))
    reader.restart()
    folder = real.parent / archives[0] if archives else real.parent
    folder.mkdir(exist_ok=True)
    real.rename(folder / "app.log.2")
    append(folder / "app-20250101.log", text(5, 6))
    append(real, text(7, 8))
    assert reader.read() == lines(3, 8)
    assert reader.read_after_grace() == []
    reader.log.close()


def test_a_link_that_leads_from_day_to_day_is_followed_over_days(tmp_path: Path) -> None:
    link = tmp_path / "ai-events.log"
    reader = Reader(link)
    for day in range(1, 5):
        append(tmp_path / f"app-2025010{day}.jsonl", text(100 * day, 100 * day + 20))
        append(tmp_path / f"other-2025010{day}.jsonl", text(5000, 5020))
        link.unlink(missing_ok=True)
        link.symlink_to(f"app-2025010{day}.jsonl")
        if day == 1:
            assert reader.read() == lines(100, 120)
            append(tmp_path / "app-20250101.jsonl", text(121, 122))
            reader.restart()
    assert reader.read() == [*lines(121, 122), *lines(200, 220), *lines(300, 320), *lines(400, 420)]
    assert reader.read_after_grace() == []
    reader.log.close()


def test_a_file_that_is_still_being_compressed_elsewhere_is_waited_for(path: Path, reader: Reader) -> None:
    append(path, text(1, 400))
    assert reader.read() == lines(1, 400)
    append(path, text(401, 402))
    reader.restart()
    whole = path.read_bytes()
    path.unlink()
    archive = path.with_name("ai-events.log.1.zst")
    packed = zstd.compress(whole, options={zstd.CompressionParameter.checksum_flag: 1})
    append(path, text(500, 501))
    found = []
    with capture_logs() as logged:
        for end in (0, 3, len(packed) // 2, len(packed)):
            archive.write_bytes(packed[:end])
            found += reader.read()
        assert reader.read_after_grace() == []
    assert sorted(found) == [*lines(401, 402), *lines(500, 501)]
    assert logged == []


def test_a_position_of_the_first_version_is_read_on_from(path: Path, reader: Reader) -> None:
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    position = reader.position or b""
    for field in ("start", "name", "modified", "seen"):
        assert f'"{field}":'.encode() in position
    state = orjson.loads(position)
    for track in state["tracks"]:
        for field in ("start", "name", "modified", "seen"):
            del track[field]
    reader.position = orjson.dumps(state)
    append(path, text(21, 22))
    reader.restart()
    shutil.copyfile(path, path.with_name("ai-events-20250101.log"))
    os.truncate(path, 0)
    append(path, text(23, 24))
    assert reader.read() == lines(21, 24)
    assert lines_of(reader.log.read(None)) == lines(23, 24)


def test_a_folder_below_is_the_logs_once_its_file_was_found_there(path: Path, reader: Reader) -> None:
    for folder in ("another", "old"):
        path.with_name(folder).mkdir()
        append(path.with_name(folder) / "ai-events.log.3", text(5000, 5010))
    append(path, text(1, 20))
    assert reader.read() == lines(1, 20)
    append(path, text(21, 22))
    reader.restart()
    path.rename(path.with_name("old") / "ai-events.log.2")
    append(path.with_name("old") / "ai-events.log.1", text(23, 30))
    append(path.with_name("another") / "ai-events.log.1", text(6000, 6010))
    append(path, text(31, 32))
    with capture_logs() as logged:
        assert reader.read() == lines(21, 32)
        assert reader.read_after_grace() == []
    assert logged == []
