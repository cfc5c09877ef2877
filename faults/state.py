"""Faults of the state directory: full, read-only, damaged, of a newer version, deleted."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from faults.promises import ISOLATION, STATE
from faults.scene import Scene, plain_exporter
from faults.subject import StruckExporter, require
from faults.table import fault

OF_LOGS = ("ai_log", "preview_log")
"""The collectors that show no count before it is on disk."""

FILE_SYSTEM_BYTES = 1 << 20


def _no_mounts() -> str:
    return "" if os.geteuid() == 0 and shutil.which("mount") else "needs root, for a file system in memory"


class _OnItsOwnDisk(StruckExporter):
    """An exporter whose state directory is a small file system in memory."""

    def prepare(self) -> None:
        self.state.mkdir(mode=0o700, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={FILE_SYSTEM_BYTES},mode=0700", "tmpfs", str(self.state))

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        _run("umount", "--lazy", str(self.state))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _on_its_own_disk(scene: Scene) -> StruckExporter:
    return scene.new_exporter(kind=_OnItsOwnDisk)


@fault("state", STATE, failing=OF_LOGS, said_of=["workers"], own=_on_its_own_disk, obstacle=_no_mounts)
def state_full(scene: Scene) -> Iterator[None]:
    """The file system of the state directory is full."""
    filler = scene.exporter.state / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    try:
        yield
    finally:
        filler.unlink()


@fault("state", STATE, failing=OF_LOGS, said_of=["workers"], own=_on_its_own_disk, obstacle=_no_mounts)
def state_read_only(scene: Scene) -> Iterator[None]:
    """The file system of the state directory is read-only."""
    state = str(scene.exporter.state)
    _run("mount", "--bind", state, state)  # files that are open stay open for writing, as after an error of the disk
    try:
        _run("mount", "-o", "remount,bind,ro", state)
        yield
    finally:
        _run("umount", state)


@fault("state", STATE, failing=OF_LOGS, said_of=["workers"], own=plain_exporter, quick=True)
def file_size_limit(scene: Scene) -> Iterator[None]:
    """No file may grow any more (RLIMIT_FSIZE): neither state nor the exporter's own log."""
    pid = scene.exporter.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def _stopped(scene: Scene) -> Iterator[Path]:
    """Stop the exporter within the block, and start it afterwards."""
    exporter = scene.exporter
    exporter.stop()
    yield exporter.state
    exporter.start()


def _files(state: Path) -> list[Path]:
    found = [state / name for name in ("ai-events", "preview")]
    require(all(path.is_file() for path in found), f"no state files in {state}")
    return found


@fault("state", STATE, silent=True, own=plain_exporter)
def state_corrupt(scene: Scene) -> Iterator[None]:
    """The exporter finds state files with random bytes at its start: the present files are counted from their start."""
    with _stopped(scene) as state:
        for path in _files(state):
            path.write_bytes(scene.random.randbytes(200))
    yield


@fault("state", STATE, silent=True, own=plain_exporter)
def state_cut_off(scene: Scene) -> Iterator[None]:
    """The exporter finds state files that are cut off at its start."""
    with _stopped(scene) as state:
        for path in _files(state):
            os.truncate(path, path.stat().st_size // 2)
    yield


@fault("state", STATE, silent=True, own=plain_exporter, quick=True)
def state_of_a_newer_version(scene: Scene) -> Iterator[None]:
    """The exporter finds state files with another position and more fields at its start."""
    with _stopped(scene) as state:
        for path in _files(state):
            path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "version": 99, "position": {"new": 1}}))
    yield


@fault("state", STATE, silent=True, own=plain_exporter)
def state_deleted_while_stopped(scene: Scene) -> Iterator[None]:
    """The state directory is deleted while the exporter does not run."""
    with _stopped(scene) as state:
        shutil.rmtree(state)
    yield


@fault("state", STATE, may_degrade=True, own=plain_exporter)
def state_deleted(scene: Scene) -> Iterator[None]:
    """The state directory is deleted while the exporter runs."""
    shutil.rmtree(scene.exporter.state)
    yield


@fault("state", ISOLATION, own=plain_exporter)
def state_second_exporter(scene: Scene) -> Iterator[None]:
    """A second exporter is started on the same state directory: it is refused, and the first one goes on."""
    exporter = scene.exporter
    ended = subprocess.run(
        list(exporter.command()),
        env=dict(exporter.environment),
        cwd=exporter.directory,
        capture_output=True,
        check=False,
    )
    require(ended.returncode == 2, f"the second exporter ended with {ended.returncode}")
    yield
