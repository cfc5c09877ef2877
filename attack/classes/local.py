"""Other users of the machine: the state directory and its files, and the control socket."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from attack.findings import Attack, Finding, judged, not_applicable
from attack.target import Instance

SUBJECT = "other users"
UNKNOWN = "the state directory is not known (HIVESYNC_STATE_DIR)"
SOCKET = "control.sock"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def _directory(check: Callable[[Path], Finding]) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        if target.state_directory is None or not target.state_directory.is_dir():
            return not_applicable(UNKNOWN)
        try:
            return check(target.state_directory)
        except PermissionError:
            return judged(True, "this user has no access")

    return run


def _closed(directory: Path) -> Finding:
    mode = directory.stat().st_mode
    return judged(not mode & OTHERS, f"mode {stat.S_IMODE(mode):04o}")


def _files(directory: Path) -> Finding:
    """No file, the socket included, has a right for others."""
    modes = {path.name: path.lstat().st_mode for path in directory.iterdir()}
    found = {name: mode for name, mode in modes.items() if mode & OTHERS}
    text = ", ".join(f"{name} {stat.S_IMODE(mode):04o}" for name, mode in found.items())
    return judged(not found, text or f"{len(modes)} files")


def _links(directory: Path) -> Finding:
    """No link, which would lead a writer elsewhere, and no file of another user."""
    found = [
        path.name for path in directory.iterdir() if path.is_symlink() or path.lstat().st_uid != directory.stat().st_uid
    ]
    return judged(not found, ", ".join(found) or "none")


def _asked(question: bytes) -> Callable[[Path], Finding]:
    """A question that is none: no answer, and the socket serves on."""

    def check(directory: Path) -> Finding:
        path = directory / SOCKET
        if not path.is_socket():
            return not_applicable("no exporter runs there")
        first, then = _answer(path, question), _answer(path, b"health\n")
        return judged(not first and bool(then), f"{len(first)} bytes, then {len(then)}")

    return check


def _answer(path: Path, question: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(15)
        try:
            asking.connect(os.fspath(path))
            asking.sendall(question)
            return asking.recv(65_536)
        except OSError:
            return b""


ATTACKS = [
    Attack(SUBJECT, "entering the state directory", _directory(_closed)),
    Attack(SUBJECT, "reading, locking or writing its files", _directory(_files)),
    Attack(SUBJECT, "links and foreign files in it", _directory(_links)),
    *(
        Attack(SUBJECT, f"the control socket: {name}", _directory(_asked(question)))
        for name, question in (
            ("an unknown question", b"shell\n"),
            ("bytes that are no text", b"\xff\x00\n"),
            ("a megabyte without an end", b"x" * 1_000_000),
        )
    ),
]
