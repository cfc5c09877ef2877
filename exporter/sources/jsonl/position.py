"""How far a log has been read, in a form that outlives the process, and by which its files are recognised again."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

MARK_BYTES = 256  # enough for a time stamp and an id, which no other file has at that place

Identity = tuple[int, int]
"""Device and inode."""

State = Literal["open", "read", "gone"]
"""Still to be read or watched; read to its end, for good; not to be found any more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a stretch of a file looked like; nothing of its content can be had from it."""

    length: int
    digest: str

    @classmethod
    def of(cls, content: bytes) -> Mark:
        """The mark of these bytes."""
        return cls(len(content), hashlib.blake2b(content, digest_size=12).hexdigest())


NOTHING = Mark.of(b"")


@dataclass(frozen=True, slots=True)
class Track:
    """How far one file has been read: `anchor` marks the last bytes before `offset`, `head` the first ones.

    The head begins at `start`, after NUL bytes that a truncation can leave before the first line. `name` is the last
    one after its rotation, `modified` the time of the last writing that was seen, and `seen` that of the newest of all
    the log's files (nanoseconds, the file system's clock).
    """

    device: int
    inode: int
    offset: int = 0
    head: Mark = NOTHING
    anchor: Mark = NOTHING
    skipping: bool = False  # in the middle of a line that is too long
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
        """Whether nothing has been read of the file by which it could be recognised."""
        return self.head.length == 0 and self.offset == 0


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log has been read: a track for every file that matters still, the oldest first."""

    tracks: tuple[Track, ...] = ()

    def to_state(self) -> dict[str, Any]:
        """As JSON for the state directory."""
        return asdict(self)

    @property
    def seen(self) -> int:
        """When the newest of the log's files had been written last: any that came after was so later, or then."""
        return max((track.seen for track in self.tracks), default=0)

    @classmethod
    def from_state(cls, state: Any) -> Position:
        """The inverse of `to_state`. Raises KeyError, TypeError or ValueError on anything else."""
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
