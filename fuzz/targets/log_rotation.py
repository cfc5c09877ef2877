"""After any sequence of writes, rotations and crashes, every line has been read exactly once.

The model is the simplest possible: the bytes of every file since it was live, split at newlines.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.sources.jsonl import JsonlLog, Position
from exporter.sources.jsonl.archives import zstd
from fuzz.target import MachineTarget

LINE_LIMIT = 300
LIMITS = st.sampled_from([1, 700, 1 << 20])
CHUNKS = st.sampled_from(["line", "lines", "half", "end", "garbage", "BOM", "blanks", "huge", "huge line"])


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstd.compress,
}
NUMBERS = ("ai-events.log.{number}", "ai-events.{number}.log")
TIMES = (
    "ai-events.log-2025{month:02}{day:02}",
    "ai-events-2025{month:02}{day:02}.log",
    "ai-events.log.2025-{month:02}-{day:02}T10:20:30",
    "ai-events-17{month:03}{day:02}000.log",
)


class Generation:
    """The content of one file since it was the live one."""

    def __init__(self, path: Path) -> None:
        self.content = bytearray()
        self.path = path
        self.writer: IO[bytes] | None = None
        self.rotated = False
        self.known = False  # a line of the file has been read
        self.seen_unknown = False

    @property
    def begun(self) -> bool:
        """Whether the file has a whole line, and not just the beginning of one."""
        return b"\n" in self.content or len(self.content) > LINE_LIMIT

    @property
    def unbegun(self) -> bool:
        """Whether there is nothing but a part of a line."""
        return bool(self.content) and b"\n" not in self.content

    def let_go(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def lines(self) -> list[bytes]:
        *whole, last = bytes(self.content).split(b"\n")
        return whole + [last] * (self.rotated or len(last) > LINE_LIMIT)


class Rotating(RuleBasedStateMachine):
    """The log, its writers, rotations and readers; `old` are the rotated files, the newest first."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="jsonl-machine-"))
        self.path = self.folder / "ai-events.log"
        self.archives = self.path.parent
        self.number = 0
        self.day = 0
        self.found: Counter[bytes] = Counter()
        self.oversized = 0
        self.position: bytes | None = None
        self.ahead = 0.0
        self.unfinished: str = ""
        self.old: list[Generation] = []
        self.forgotten: list[Generation] = []
        self.log = self.open_log()

    @initialize(
        names=st.sampled_from(NUMBERS + TIMES),
        away=st.booleans(),
        before=st.integers(0, 2),
        start=st.sampled_from(["missing", "empty", "lines"]),
    )
    def start(self, names: str, away: bool, before: int, start: str) -> None:
        self.names = names
        if away:
            self.archives = self.folder / "old"
            self.archives.mkdir()
        for other in ("preview.log", "preview.log.1", "ai-events-debug-20250101.log", "ai-events-debug.log"):
            (self.folder / other).write_bytes(b"of another log, never to be read %s\n" % other.encode())
        for number in range(before):
            self.rotated_name(number + 1).write_bytes(b"from before, never to be read %d\n" % number)
            self.day += 1
        self.live = Generation(self.path)
        if start == "missing":
            return
        self.path.touch()
        if start == "lines":
            self.write("lines")
        self.read(1 << 20)

    # Writers

    @precondition(lambda self: not self.unfinished)
    @rule(chunk=CHUNKS)
    def write(self, chunk: str) -> None:
        self.append(self.live, chunk)

    @precondition(lambda self: not self.unfinished and any(old.writer for old in self.old))
    @rule(chunk=CHUNKS, data=st.data())
    def write_late(self, chunk: str, data: st.DataObject) -> None:
        self.append(data.draw(st.sampled_from([old for old in self.old if old.writer])), chunk)

    def append(self, generation: Generation, chunk: str) -> None:
        self.number += 1
        line = b'{"n":%d,"ts":"2025-01-01"}' % self.number
        if chunk == "end" and not generation.content:
            return  # files with the same head are not distinguished; every other file begins with a number of its own
        content = {
            "line": line + b"\n",
            "lines": b"".join(b"%d of %d\n" % (index, self.number) for index in range(30)),
            "half": line,
            "end": b"\n",
            "garbage": b"%d\xff\x00\xc3\r\n" % self.number,
            "BOM": b"\xef\xbb\xbf%d\xef\xbb\xbf\n" % self.number,
            "blanks": b"%d\n\n \r\n\n" % self.number,
            "huge": b"%d" % self.number + b"x" * LINE_LIMIT,
            "huge line": b"%d" % self.number + b"y" * 3 * LINE_LIMIT + b"\n",
        }[chunk]
        if generation.writer is not None:
            generation.writer.write(content)
        else:
            with generation.path.open("ab") as file:
                file.write(content)
        generation.content += content

    # Rotation

    def rotated_name(self, number: int) -> Path:
        name = self.names.format(number=number, month=self.day // 28 + 1, day=self.day % 28 + 1)
        return self.archives / name

    def make_room(self) -> Path:
        self.day += 1
        if self.names in NUMBERS:
            pattern = re.compile(re.escape(self.names).replace(r"\{number\}", r"(\d+)") + r"(\.\w+)?")
            numbers = [
                (int(match[1]), match[2] or "", path)
                for path in self.archives.iterdir()
                if (match := pattern.fullmatch(path.name))
            ]
            by_path = {old.path: old for old in self.old}
            for number, packing, path in sorted(numbers, reverse=True):
                later = self.rotated_name(number + 1)
                moved = later.with_name(later.name + packing)
                path.rename(moved)
                if path in by_path:
                    by_path[path].path = moved
        return self.rotated_name(1)

    def put_away(self, to: Path) -> None:
        self.live.path, self.live.rotated = to, True
        if self.position is None:
            self.live.let_go()  # rotated before the first read: never read
        else:
            self.old.insert(0, self.live)
        self.live = Generation(self.path)

    @precondition(lambda self: not self.unfinished and self.path.exists())
    @rule(writers_stay=st.booleans(), create=st.booleans())
    def rotate_by_rename(self, writers_stay: bool, create: bool) -> None:
        to = self.make_room()
        if writers_stay:
            self.live.writer = self.path.open("ab", buffering=0)
        self.path.rename(to)
        self.put_away(to)
        if create:
            self.path.touch()

    # A known limit: a copy of a log that holds nothing but a part of one line is told from other files by its name and
    # time alone. Where a late writer makes an older file the newer one by time, it is reported and not read.

    @precondition(lambda self: not self.unfinished and self.path.exists() and not self.live.unbegun)
    @rule()
    def copy(self) -> None:
        self.copied_to = self.make_room()
        shutil.copyfile(self.path, self.copied_to)
        self.unfinished = "copy"

    @precondition(lambda self: self.unfinished == "copy" and self.position and len(self.live.content) > 300)
    @rule()
    def write_what_the_copy_lacks(self) -> None:
        """A line between copy and truncation is lost by the rotation itself, unless it is read in time."""
        before = bytes(self.live.content)
        if not before.endswith(b"\n"):
            return
        self.append(self.live, "line")
        while self.read_on(1 << 20):
            pass
        if bytes(self.live.content).splitlines()[-1] not in self.found:
            self.live.content[:] = before

    @precondition(lambda self: self.unfinished == "copy")
    @rule()
    def truncate(self) -> None:
        os.truncate(self.path, 0)
        self.put_away(self.copied_to)
        self.unfinished = ""

    # A known limit: a file that is rotated without a whole line, read then, and compressed within the grace
    # period, is not found again after a restart.

    @precondition(lambda self: not self.unfinished and self.compressible())
    @rule(data=st.data(), packing=st.sampled_from(sorted(PACKINGS)), written=st.floats(0, 1), keeps_time=st.booleans())
    def compress(self, data: st.DataObject, packing: str, written: float, keeps_time: bool) -> None:
        self.compressing = data.draw(st.sampled_from(self.compressible()))
        self.compressing.let_go()
        # Without their times files keep their order only when the oldest is compressed first, as rotation does; in
        # another order, or with late writers, names and times disagree, which is reported, and the files are not read.
        older = self.old[self.old.index(self.compressing) + 1 :]
        times = [other.path.stat().st_mtime_ns for other in self.old]
        self.packing = packing
        self.keeps_time = (
            keeps_time
            or any(other.path.suffix not in PACKINGS for other in older)
            or times != sorted(times, reverse=True)
            or any(other.writer for other in self.old)
        )
        plain = self.compressing.path
        whole = PACKINGS[packing](plain.read_bytes())
        plain.with_name(plain.name + packing).write_bytes(whole[: int(len(whole) * written)])
        self.unfinished = "compress"

    @precondition(lambda self: self.unfinished == "compress")
    @rule()
    def finish_compressing(self) -> None:
        plain = self.compressing.path
        archive = plain.with_name(plain.name + self.packing)
        archive.write_bytes(PACKINGS[self.packing](plain.read_bytes()))
        if self.keeps_time:
            info = plain.stat()
            os.utime(archive, ns=(info.st_atime_ns, info.st_mtime_ns // 1_000_000_000 * 1_000_000_000))
        plain.unlink()
        self.compressing.path = archive
        self.unfinished = ""

    def compressible(self) -> list[Generation]:
        return [old for old in self.old if old.path.suffix not in PACKINGS and (old.known or not old.seen_unknown)]

    # Readers

    def open_log(self) -> JsonlLog:
        archives = [Path("old")]
        return JsonlLog("log", self.path, archives, line_limit=LINE_LIMIT, clock=lambda: time.time() + self.ahead)

    def slice(self, limit: int) -> tuple[bytes, list[bytes], int, bool]:
        before = None if self.position is None else Position.from_state(orjson.loads(self.position))
        found = self.log.read(before, limit)
        assert found.unread_bytes >= 0
        lines = [line for batch in found.batches() for line in batch.split(b"\n") if line.strip()]
        return orjson.dumps(found.position.to_state()), lines, found.oversized, found.more

    @precondition(lambda self: self.readable())
    @rule(limit=LIMITS)
    def read(self, limit: int) -> None:
        self.read_on(limit)

    def read_on(self, limit: int) -> bool:
        self.position, lines, oversized, more = self.slice(limit)
        self.found.update(lines)
        self.oversized += oversized
        for generation in (*self.old, self.live):
            generation.known |= generation.begun and not more
            generation.seen_unknown |= not generation.begun
        return more

    @precondition(lambda self: self.readable())
    @rule(limit=LIMITS)
    def crash_before_saving(self, limit: int) -> None:
        self.slice(limit)
        self.restart()

    @rule()
    def restart(self) -> None:
        self.log.close()
        self.log = self.open_log()

    def readable(self) -> bool:
        """Reading needs a file; for a file during compression see the limit at `compressible`."""
        return self.path.exists() and (self.unfinished != "compress" or self.compressing.begun)

    @precondition(lambda self: not self.unfinished and self.readable())
    @rule(delete=st.booleans())
    def let_the_grace_period_pass(self, delete: bool) -> None:
        for old in self.old:
            old.let_go()
        self.ahead = 61.0
        while self.read_on(1 << 20):
            pass
        self.ahead = 0.0
        self.check()
        if delete and len(self.old) > 2:
            self.forgotten.append(self.old.pop())
            self.forgotten[-1].path.unlink()

    # Invariants

    def check(self) -> None:
        lines = [line for generation in (*self.forgotten, *self.old, self.live) for line in generation.lines()]
        expected = Counter(line for line in lines if len(line) <= LINE_LIMIT and line.strip())
        assert self.found == expected
        assert self.oversized == sum(len(line) > LINE_LIMIT for line in lines)

    @invariant()
    def no_line_was_read_that_was_not_written(self) -> None:
        assert not any(b"never to be read" in line for line in self.found)

    def teardown(self) -> None:
        try:
            if self.unfinished == "copy":
                self.truncate()
            if self.unfinished == "compress":
                self.finish_compressing()
            if not self.path.exists():
                self.path.touch()
            self.let_the_grace_period_pass(delete=False)
            self.restart()
            self.let_the_grace_period_pass(delete=False)
        finally:
            self.log.close()
            for generation in self.old:
                generation.let_go()
            shutil.rmtree(self.folder)


TARGET = MachineTarget(
    name="log-rotation",
    promise="After any sequence of writes, rotations, compressions, deletions, crashes and restarts, every line has"
    " been read exactly once.",
    machine=Rotating,
)
