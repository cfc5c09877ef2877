"""System calls on files: the errors that each can return, and the kinds of the exporter's files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KILL = "SIGKILL"
EIO, ENOSPC, EINTR = "EIO", "ENOSPC", "EINTR"
FAULTS = (EIO, ENOSPC, EINTR, KILL)

_ANY = (EIO, ENOSPC, EINTR)

ERRORS: Mapping[str, tuple[str, ...]] = {
    "openat": _ANY,
    "read": (EIO, EINTR),
    "pread64": (EIO, EINTR),
    "write": _ANY,
    "pwrite64": _ANY,
    "lseek": (),
    "ioctl": (),
    "fsync": _ANY,
    "fdatasync": _ANY,
    "close": _ANY,
    "newfstatat": (EIO,),
    "fstat": (EIO,),
    "statx": (EIO,),
    "readlink": (EIO,),
    "getdents64": (EIO,),
    "mkdir": (EIO, ENOSPC),
    "rename": (EIO, ENOSPC),
    "renameat": (EIO, ENOSPC),
    "renameat2": (EIO, ENOSPC),
    "link": (EIO, ENOSPC),
    "unlink": (EIO,),
    "unlinkat": (EIO,),
    "chmod": (EIO,),
    "fchmod": (EIO,),
    "fchmodat": (EIO,),
    "ftruncate": (EIO, EINTR),
    "flock": (EINTR,),
}
"""The errors among `FAULTS` that each call can return (section 2 of the Linux manual); EIO also of calls that look up a
path."""

NAMELESS = "file without a name"
UNKNOWN = "unknown file"

KINDS = (
    ("state folder", r"state"),
    ("lock", r"state/lock"),
    ("new counts", r"state/\.ai-events\.new"),
    ("counts", r"state/ai-events(\.corrupt)?"),
    ("counts of others", r"state/(gpu|preview)"),
    ("new session key", r"state/\.session\.key\.new"),
    ("session key", r"state/session\.key"),
    ("sessions", r"state/\.?sessions\.json(\.new)?"),
    ("command socket", r"state/control\.sock"),
    (NAMELESS, r"state/#\d+"),
    ("log folder", r"logs"),
    ("log", r"logs/ai-events\.log"),
    ("rotated log", r"logs/ai-events\.log[-.].+"),
)
"""The kinds of files in the folders of the state and of the log, by their paths below the folder of both."""

_KINDS = [(name, re.compile(pattern)) for name, pattern in KINDS]


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """A system call on a kind of file."""

    kind: str
    name: str


def kind_of(path: str) -> str:
    """Return the kind of a file, by its path below the folder; `UNKNOWN` with the path for any other."""
    plain = path.removesuffix(" (deleted)").removesuffix("(deleted)")
    found = next((name for name, pattern in _KINDS if pattern.fullmatch(plain)), None)
    return found or f"{UNKNOWN} {plain}"


def unknown(calls: Mapping[Call, object]) -> list[str]:
    """Return the calls of an ordinary run that have no errors here, and the files that are of no kind."""
    return [
        f"{call.name} on {call.kind}"
        for call in sorted(calls)
        if call.name not in ERRORS or call.kind.startswith(UNKNOWN)
    ]


def below(folder: Path) -> re.Pattern[str]:
    """Return the pattern of a file in the state and log folders among the arguments of a call, in a trace with `-y`: an
    open file, or a path, and not the bytes of a write."""
    return re.compile(rf'(?:<|^"|AT_FDCWD<[^>]*>, "){re.escape(str(folder))}/((?:state|logs)[^">]*)')
