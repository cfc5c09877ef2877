"""Faults of the log of AI events: missing, of another kind, rotated, truncated, with lines that are none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faults.promises import ISOLATION, LOGS
from faults.scene import Scene
from faults.table import fault

LOG, SOURCE = "ai-events", "ai_events_log"
LONG_LINE, QUICK_LONG_LINE = 200_000_000, 4_000_000
BURST, QUICK_BURST = 200_000, 20_000
ROTATIONS = 10


@contextmanager
def _in_its_place(scene: Scene, make: Callable[[Path], None] = lambda _: None) -> Iterator[None]:
    """Rotate the log, and have something else, or nothing, in its place within the block."""
    writer = scene.exporter.writer
    path = writer.paths[LOG]
    with writer.paused():
        rotate(path)
        make(path)
        try:
            yield
        finally:
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            path.unlink(missing_ok=True)
            path.touch()


def rotate(path: Path) -> None:
    """Rename a log to `.1`, the older ones to one more each."""
    number = 1
    while path.with_name(f"{path.name}.{number}").exists():
        number += 1
    for older in range(number, 1, -1):
        path.with_name(f"{path.name}.{older - 1}").rename(path.with_name(f"{path.name}.{older}"))
    path.rename(path.with_name(f"{path.name}.1"))


@fault("logs", ISOLATION, down=[SOURCE], quick=True)
def log_removed(scene: Scene) -> Iterator[None]:
    """The log is removed once all its lines are counted, and another one is there after a while."""
    writer = scene.exporter.writer
    with writer.paused():
        scene.exporter.wait_until_counted()
        for path in writer.paths[LOG].parent.glob(f"{writer.paths[LOG].name}*"):
            path.unlink()
        try:
            yield
        finally:
            writer.write(LOG, 10)


@fault("logs", LOGS)
def log_renamed(scene: Scene) -> Iterator[None]:
    """The log is renamed, written to under its new name, and no other is there for a while."""
    writer = scene.exporter.writer
    path = writer.paths[LOG]
    with _in_its_place(scene):
        writer.write(LOG, 10, path.with_name(f"{path.name}.1"))
        yield


@fault("logs", ISOLATION, down=[SOURCE])
def log_fifo(scene: Scene) -> Iterator[None]:
    """A named pipe that nothing writes to is in the place of the log."""
    with _in_its_place(scene, os.mkfifo):
        yield


@fault("logs", ISOLATION, down=[SOURCE])
def log_directory(scene: Scene) -> Iterator[None]:
    """A directory is in the place of the log."""
    with _in_its_place(scene, Path.mkdir):
        yield


@fault("logs", ISOLATION, down=[SOURCE])
def log_link_to_itself(scene: Scene) -> Iterator[None]:
    """A symbolic link to itself is in the place of the log."""
    with _in_its_place(scene, lambda path: path.symlink_to(path)):
        yield


@fault("logs", ISOLATION, down=[SOURCE])
def log_device(scene: Scene) -> Iterator[None]:
    """A device without an end is in the place of the log."""
    with _in_its_place(scene, lambda path: path.symlink_to("/dev/zero")):
        yield


def _no_permissions() -> str:
    return "root may read every file" if os.geteuid() == 0 else ""


@fault("logs", ISOLATION, down=[SOURCE], obstacle=_no_permissions)
def log_unreadable(scene: Scene) -> Iterator[None]:
    """The exporter may not read the log."""
    writer = scene.exporter.writer
    with writer.paused():
        writer.paths[LOG].chmod(0)
        try:
            yield
        finally:
            writer.paths[LOG].chmod(0o644)


@fault("logs", LOGS)
def log_long_line(scene: Scene) -> Iterator[None]:
    """A line of 200 MB, written in pieces."""
    writer = scene.exporter.writer
    size = QUICK_LONG_LINE if scene.quick else LONG_LINE
    with writer.paused():
        for _ in range(size // 1_000_000):
            writer.write_bytes(LOG, b"x" * 1_000_000, 0)
        writer.write_bytes(LOG, b"\n", 1)
    yield


@fault("logs", LOGS)
def log_garbage(scene: Scene) -> Iterator[None]:
    """Lines of random bytes, and one of NULs."""
    # A record may begin after NUL bytes (exporter/log_lines.py), and "{" after NUL would be a line of its own.
    lines = [scene.random.randbytes(300).translate(None, b"\n\0") for _ in range(50)]
    scene.exporter.writer.write_bytes(LOG, b"\n".join((*lines, b"\0" * 1000 + b"{")) + b"\n", len(lines) + 1)
    yield


@fault("logs", LOGS)
def log_half_a_line(scene: Scene) -> Iterator[None]:
    """A line whose second half comes at the end."""
    writer = scene.exporter.writer
    with writer.paused():
        writer.write_bytes(LOG, b'{"event": "no such', 0)
        try:
            yield
        finally:
            writer.write_bytes(LOG, b" event\n", 1)


@fault("logs", LOGS)
def log_burst(scene: Scene) -> Iterator[None]:
    """Many lines at once."""
    scene.exporter.writer.write(LOG, QUICK_BURST if scene.quick else BURST)
    yield


@fault("logs", LOGS, quick=True)
def log_rotations(scene: Scene) -> Iterator[None]:
    """Ten rotations in a row, with lines between them."""
    writer = scene.exporter.writer
    for _ in range(ROTATIONS):
        with writer.paused():
            writer.write(LOG, 20)
            rotate(writer.paths[LOG])
            writer.paths[LOG].touch()
            writer.write(LOG, 20)
    yield


@fault("logs", LOGS, may_degrade=True)
def log_rotation_by_copy(scene: Scene) -> Iterator[None]:
    """The log is copied and truncated in place (copytruncate), three times."""
    writer = scene.exporter.writer
    path = writer.paths[LOG]
    for _ in range(3):
        with writer.paused():
            writer.write(LOG, 50)
            number = 1
            while path.with_name(f"{path.name}.{number}").exists():
                number += 1
            for older in range(number, 1, -1):
                path.with_name(f"{path.name}.{older - 1}").rename(path.with_name(f"{path.name}.{older}"))
            shutil.copy2(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)
            writer.write(LOG, 50)
    yield


@fault("logs", LOGS)
def log_truncated(scene: Scene) -> Iterator[None]:
    """The log is truncated once all its lines are counted, without a copy."""
    writer = scene.exporter.writer
    with writer.paused():
        scene.exporter.wait_until_counted()
        os.truncate(writer.paths[LOG], 0)
        writer.write(LOG, 10)
    yield


@fault("logs", LOGS)
def log_replaced(scene: Scene) -> Iterator[None]:
    """The log is replaced by another file with other lines, once all its lines are counted."""
    writer = scene.exporter.writer
    path = writer.paths[LOG]
    with writer.paused():
        scene.exporter.wait_until_counted()
        with suppress(FileNotFoundError):
            path.unlink()
        writer.write(LOG, 500)
    yield
