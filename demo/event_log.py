"""HiveSync's two log files in their real form: JSON Lines, rotated by rename, with a few bad lines.

Now and then a line is broken off, as after a crash, or holds an unknown event; a reader has to handle both.
"""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import orjson

LINES_A_FILE = 500
OLD_FILES = 3  # the newest uncompressed, the others compressed
BROKEN = 0.004  # of the lines
UNKNOWN = 0.004


class EventLog:
    """One log file; `PATH.1` is its predecessor, `PATH.2.gz` the predecessor of that."""

    def __init__(self, path: Path, rng: Random) -> None:
        self.path = path
        self._rng = rng
        self._open()

    def write(self, event: str, **fields: object) -> None:
        """Append one line, sometimes followed by a bad line."""
        line = self._line(event, fields)
        self._append(line)
        draw = self._rng.random()
        if draw < BROKEN:
            self._append(line[: len(line) // 2])
        elif draw < BROKEN + UNKNOWN:
            self._append(self._line("job.progress", {"job_id": fields.get("job_id")}))

    def close(self) -> None:
        """Close the file; no line may be written afterwards."""
        self._file.close()

    def _line(self, event: str, fields: dict[str, object]) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return orjson.dumps({"ts": now, "event": event, **fields})

    def _append(self, line: bytes) -> None:
        if self._lines >= LINES_A_FILE:
            self._rotate()
        elif not self.path.exists():  # after a rotation by hand
            self._file.close()
            self._open()
        self._file.write(line + b"\n")
        self._file.flush()
        self._lines += 1

    def _rotate(self) -> None:
        self._file.close()
        for number in range(OLD_FILES, 2, -1):
            newer = self._old(number - 1)
            if newer.exists():
                newer.replace(self._old(number))
        if self._old(1).exists():
            self._old(2).write_bytes(gzip.compress(self._old(1).read_bytes()))
        if self.path.exists():  # it may have been removed by hand
            self.path.replace(self._old(1))
        self._open()

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        self._lines = 0

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}" + (".gz" if number > 1 else ""))
