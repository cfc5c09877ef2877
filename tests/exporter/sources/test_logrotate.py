"""Each line is read once with every option of the real logrotate, with other logs in the same folders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.exporter.sources.jsonl.reading import Reader, append, lines, text
from tests.logrotating import rotate_at

pytestmark = pytest.mark.logrotate

ROTATIONS = 3
OTHERS = ("preview.log", "ai-events-debug.log", "ai-events-2.log")

NAMES = {
    "numbers": "",
    "numbers from 0": "start 0",
    "numbers from 7": "start 7",
    "days": "dateext",
    "yesterdays": "dateext\ndateyesterday",
    "hours": "hourly\ndateext",
    "hours ago": "hourly\ndateext\ndatehourago",
    "seconds": "dateext\ndateformat -%s",
    "seconds after a dot": "dateext\ndateformat .%s",
    "times with T": "dateext\ndateformat -%Y-%m-%dT%H:%M:%S",
    "times in one": "dateext\ndateformat _%Y%m%dT%H%M%S",
    "weeks": "dateext\ndateformat -%Y-W%V",
    "no separator": "dateext\ndateformat %Y%m%d",
    "day first": "dateext\ndateformat -%d-%m-%Y",
    "month and day": "dateext\ndateformat .%m%d",
    "a word": "dateext\ndateformat -backup-%Y%m%d",
    "before the extension": "extension .log",
    "days before the extension": "dateext\nextension .log",
    "seconds before the extension": "dateext\ndateformat -%s\nextension .log",
    "another extension": "addextension .old",
    "extension added": "dateext\naddextension .log",
}
WAYS = {
    "create": "create",
    "nocreate": "nocreate",
    "copytruncate": "copytruncate",
    "copy": "copy",
}
PACKINGS = {
    "gzip": "compress",
    "gzip later": "compress\ndelaycompress",
    "xz": "compress\ncompresscmd /usr/bin/xz\nuncompresscmd /usr/bin/unxz\ncompressext .xz",
    "bzip2": "compress\ncompresscmd /bin/bzip2\nuncompresscmd /bin/bunzip2\ncompressext .bz2",
    "zstd": "compress\ncompresscmd /usr/bin/zstd\nuncompresscmd /usr/bin/unzstd\ncompressext .zst"
    "\ncompressoptions -q --rm",
    "unheard of": "compress\ncompressext .packed",
}


class Rotated:
    """A folder of logs that logrotate rotates, a week later each time, and a reader of one of them."""

    def __init__(self, folder: Path, *options: str, archives: tuple[str, ...] = ()) -> None:
        self.path = folder / "logs" / "ai-events.log"
        self.path.parent.mkdir(exist_ok=True)
        self.others = [self.path.with_name(name) for name in OTHERS]
        self.reader = Reader(self.path, [Path(archive) for archive in archives])
        self.state = folder / "state"
        self.configuration = folder / "logrotate.conf"
        self.configure(*options)
        self.day = datetime(2026, 1, 3, 10, 20, 30, tzinfo=UTC)
        self.written = 0
        self.found: list[bytes] = []
        for path in self.others:
            append(path, b"")
        self.write()
        self.rotate()  # rotated files exist before the first read
        self.before = 0 if "copy" in options else self.written
        self.write()

    def configure(self, *options: str) -> None:
        """Use these options from the next rotation on."""
        text = "\n".join(["rotate 50", "nomail", "noshred", *options])
        logs = "\n".join(map(str, [self.path, *self.others]))
        self.configuration.write_text(f"{logs} {{\n{text}\n}}\n")
        self.configuration.chmod(0o600)

    def write(self, count: int = 10) -> None:
        """Append lines to each log; lines of the other logs would be noticed."""
        for path in self.others:
            append(path, text(1_000_000 + self.written, 1_000_000 + self.written + count))
        append(self.path, text(self.written + 1, self.written + count))
        self.written += count

    def rotate(self) -> None:
        """Rotate all logs now with logrotate."""
        self.day += timedelta(days=8, hours=1)
        rotate_at(self.day, self.state, self.configuration)

    def read(self) -> None:
        """Read all new lines."""
        self.found += self.reader.read()

    def rotations(self, *, running: bool) -> None:
        """Rotate several times, with lines before, between and after, while the reader is running or not."""
        for _ in range(ROTATIONS):
            self.write()
            self.rotate()
            if running:
                self.read()
            self.write()
            if running:
                self.read()

    def check(self) -> None:
        """Assert that every line was found once."""
        self.found += self.reader.read()
        self.found += self.reader.read_after_grace()
        assert sorted(self.found) == sorted(lines(self.before + 1, self.written))
        assert self.reader.read_after_grace() == []
        assert self.reader.unread_bytes == 0


def follow(rotated: Rotated, *, running: bool) -> None:
    """Read, then rotate several times while the exporter is running or stopped, and assert that no line is lost."""
    with capture_logs() as logged:
        rotated.read()
        rotated.write()
        if not running:
            rotated.reader.restart()
        rotated.rotations(running=running)
        rotated.check()
        rotated.reader.restart()
        rotated.write()
        rotated.check()
    rotated.reader.log.close()
    assert logged == []


running = pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])


@running
@pytest.mark.parametrize("way", ["create", "copytruncate"])
@pytest.mark.parametrize("names", NAMES)
def test_every_line_is_read_once_whatever_rotated_files_are_called(
    tmp_path: Path, names: str, way: str, running: bool
) -> None:
    follow(Rotated(tmp_path, NAMES[names], WAYS[way]), running=running)


@running
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("packing", PACKINGS)
def test_every_line_is_read_once_however_rotated_files_are_compressed(
    tmp_path: Path, packing: str, way: str, running: bool
) -> None:
    follow(Rotated(tmp_path, WAYS[way], PACKINGS[packing]), running=running)


@running
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("packing", ["zstd", "gzip later"])
def test_every_line_is_read_once_from_compressed_files_with_any_name(
    tmp_path: Path, packing: str, way: str, running: bool
) -> None:
    options = (NAMES["seconds before the extension"], WAYS[way], PACKINGS[packing])
    follow(Rotated(tmp_path, *options), running=running)


@running
@pytest.mark.parametrize("names", ["numbers", "days before the extension", "seconds", "a word"])
@pytest.mark.parametrize("way", ["create", "copytruncate"])
@pytest.mark.parametrize("old", ["old", "{folder}/away"])
@pytest.mark.parametrize("packing", ["none", "xz"])
def test_every_line_is_read_once_from_the_directory_for_old_logs(
    tmp_path: Path, old: str, way: str, names: str, packing: str, running: bool
) -> None:
    old = old.format(folder=tmp_path)
    options = (f"olddir {old}", "createolddir 0755", NAMES[names], WAYS[way], PACKINGS.get(packing, ""))
    follow(Rotated(tmp_path, *options, archives=(old,)), running=running)


@running
@pytest.mark.parametrize("names", ["numbers", "seconds before the extension"])
@pytest.mark.parametrize("way", ["create", "copytruncate"])
def test_a_log_behind_a_link_is_read_from_files_beside_the_real_one(
    tmp_path: Path, names: str, way: str, running: bool
) -> None:
    rotated = Rotated(tmp_path, NAMES[names], WAYS[way])
    link = tmp_path / "linked" / "hivesync.log"
    link.parent.mkdir()
    link.symlink_to(rotated.path)
    rotated.reader = Reader(link)
    follow(rotated, running=running)


@running
def test_a_rotation_may_be_told_to_do_something_else_meanwhile(tmp_path: Path, running: bool) -> None:
    rotated = Rotated(tmp_path, "create")
    rotated.read()
    for options in (("dateext", "create"), ("extension .log", "copytruncate"), ("dateext", "dateformat -%s", "create")):
        if not running:
            rotated.reader.restart()
        rotated.rotations(running=running)
        rotated.configure(*options)
    rotated.check()
    rotated.reader.log.close()


@running
@pytest.mark.parametrize("packing", ["none", "gzip later", "bzip2"])
@pytest.mark.parametrize("way", ["create", "copytruncate"])
def test_a_directory_below_the_logs_own_is_found_without_being_named(
    tmp_path: Path, way: str, packing: str, running: bool
) -> None:
    options = ("olddir old", "createolddir 0755", WAYS[way], PACKINGS.get(packing, ""))
    follow(Rotated(tmp_path, *options), running=running)


def test_a_log_not_found_for_want_of_its_directory_is_named(tmp_path: Path) -> None:
    rotated = Rotated(tmp_path, f"olddir {tmp_path}/away", "createolddir 0755", "create")
    rotated.reader.read()
    rotated.write()
    read = rotated.path.stat()
    rotated.reader.restart()
    rotated.rotations(running=False)
    with capture_logs() as logged:
        assert rotated.reader.read() == lines(rotated.written - 9, rotated.written)
    rotated.reader.log.close()
    (lost,) = [event for event in logged if event["event"] == "log.lines_lost"]
    assert lost == {
        "event": "log.lines_lost",
        "log": "ai_events_log",
        "reason": "not_found",
        "file": "ai-events.log",
        "inode": read.st_ino,
        "read_bytes": len(text(11, 20)),
        "looked_in": [str(rotated.path.parent)],
        "log_level": "warning",
    }
