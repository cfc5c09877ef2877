"""The position up to which a log has been read, in a form that outlives the process and identifies its files."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

MARK_BYTES = 256  # enough for a time stamp and an id, which no other file has at that place

Identity = tuple[int, int]
"""Device and inode."""

State = Literal["open", "read", "gone"]
"""To be read or watched; completely read; lost."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A digest of a stretch of a file, from which its content cannot be recovered."""

    length: int
    digest: str

    @classmethod
    def of(cls, content: bytes) -> Mark:
        """Return the mark of these bytes."""
        return cls(len(content), hashlib.blake2b(content, digest_size=12).hexdigest())


NOTHING = Mark.of(b"")


@dataclass(frozen=True, slots=True)
class Track:
    """The position in one file: `anchor` marks the last bytes before `offset`, `head` the first bytes.

    The head begins at `start`, after NUL bytes that a truncation can leave before the first line. `name` is the last
    name after its rotation, `modified` the last seen time of its last writing, and `seen` that of the newest of all the
    log's files (nanoseconds, the file system's clock).
    """

    device: int
    inode: int
    offset: int = 0
    head: Mark = NOTHING
    anchor: Mark = NOTHING
    skipping: bool = False  # within a line that is too long
    state: State = "open"
    start: int = 0
    name: str = ""
    modified: int = 0
    seen: int = 0

    @property
    def identity(self) -> Identity:
        """Device and inode of the file."""
        return self.device, self.inode

    @property
    def blank(self) -> bool:
        """Whether nothing by which the file could be recognised has been read."""
        return self.head.length == 0 and self.offset == 0


@dataclass(frozen=True, slots=True)
class Position:
    """The position in a log: a track for every relevant file, the oldest first."""

    tracks: tuple[Track, ...] = ()

    def to_state(self) -> dict[str, Any]:
        """Return the position as JSON for the state directory."""
        return asdict(self)

    @property
    def seen(self) -> int:
        """The last writing of the newest of the log's files: that of any later file is at that time or after it."""
        return max((track.seen for track in self.tracks), default=0)

    @classmethod
    def from_state(cls, state: Any) -> Position:
        """Restore a result of `to_state`. Raises KeyError, TypeError or ValueError on anything else."""
        return cls(tuple(map(_track_from_state, state["tracks"])))


def _track_from_state(state: Any) -> Track:
    offset = _number(state["offset"], most=2**63 - 1)
    if state["state"] not in get_args(State) or not isinstance(state["skipping"], bool):
        raise ValueError("not a track")
    return Track(
        device=_number(state["device"]),
        inode=_number(state["inode"]),
        offset=offset,
        head=Mark(_number(state["head"]["length"], most=MARK_BYTES), str(state["head"]["digest"])),
        anchor=Mark(_number(state["anchor"]["length"], most=min(offset, MARK_BYTES)), str(state["anchor"]["digest"])),
        skipping=state["skipping"],
        state=state["state"],
        # Positions of the first version have none of these.
        start=_number(state.get("start", 0), most=offset),
        name=_name(state.get("name", "")),
        modified=_number(state.get("modified", 0), most=2**63 - 1),
        seen=_number(state.get("seen", 0), most=2**63 - 1),
    )


def _name(value: Any) -> str:
    if not isinstance(value, str) or "/" in value:
        raise ValueError("not a name")
    return value


def _number(value: Any, most: int = 2**64 - 1) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("out of range")
    return value
