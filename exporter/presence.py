"""Counts of users and devices online, for any number of them (docs/definitions.md#online-user,
docs/definitions.md#online-device).

`collectors/online.py` reads WebSockets and sessions in batches and passes them here. They are folded into 64-bit hashes
of their ids, so that 16 bytes are kept per WebSocket, and the session's id until it is known whether that session has
to be looked up. No I/O here.

The hash is Python's own hash of bytes (SipHash, with a new key per process). The probability that any two of a million
devices share a hash is 1 in 4 million, of a million users 1 in 30 million; the next refresh reads everything again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from exporter.identities import IdType
from exporter.labels import UNKNOWN, folded
from exporter.sources.postgres import Row
from exporter.sources.redis import as_text
from exporter.vocabulary import DEVICE_TYPES
from exporter.windows import Integers, contained

# A device is 61 bits of a hash and, below them, the rank of its type: the lowest rank counts. The type in its session
# row has precedence over that in a WebSocket; among WebSockets that differ, the first in the order of the names.
_RANK_BITS = 3
_RANK = 2**_RANK_BITS - 1
_SAID_BY_SESSION = {name: rank for rank, name in enumerate(DEVICE_TYPES)}
_SAID_BY_WEB_SOCKET = {name: len(DEVICE_TYPES) + rank for rank, name in enumerate(DEVICE_TYPES)}
_NOT_SAID = 2 * len(DEVICE_TYPES)

LONGEST_ID = 4_000
"""Length of the longest id (bytes): PostgreSQL's indexes hold no longer one."""

MAX_REMEMBERED = 100
"""Number of device types whose rank is cached: there are few, in any notation."""


@dataclass(frozen=True, slots=True)
class Online:
    """The counts. `devices` has a count for every device type and `unknown`."""

    users: int
    devices: dict[str, int]
    live_view_sessions: int


@dataclass(frozen=True, slots=True)
class IdTypes:
    """The types of a session's id and of its user's."""

    session: IdType
    user: IdType


_WORDS = IdTypes(IdType("text"), IdType("text"))


class Presence:
    """The union of WebSockets and sessions: users by id, devices by session id; a WebSocket without a session is a
    device of its own. Folding the same item twice changes nothing.

    The type of a device is that of its session row; where the row has no known type, that of its WebSocket.
    """

    def __init__(self, types: IdTypes = _WORDS) -> None:
        """Compare ids in the same way as PostgreSQL compares ids of these types."""
        self.types = types
        self._ranks: dict[bytes | None, int] = {}
        """Ranks of the device types in WebSockets, by their notation."""
        self._users: list[Integers] = []
        self._web_sockets: list[tuple[Integers, bytes]] = []
        """Devices, and the ids of their sessions separated by NUL."""
        self._sessions: list[Integers] = []
        self._live_views: list[Integers] = []

    def fold_web_sockets(self, keys: Sequence[bytes], rows: Sequence[Sequence[bytes | None]]) -> None:
        """Fold rows of (user id, session id, device type)."""
        if not rows:
            return
        user_ids, session_ids, device_types = zip(*rows, strict=True)
        sessions = self.types.session.written(_plain(session_ids))
        connections = [session or b"\0" + key for session, key in zip(sessions, _plain(keys), strict=True)]
        ranks = [self._ranks.get(device_type) or self._rank(device_type) for device_type in device_types]
        self._web_sockets.append((_devices(connections, ranks), b"\0".join(sessions)))
        self._users.append(_hashes(self.types.user.written(_plain(user_ids))))

    def fold_sessions(self, rows: Sequence[Row]) -> None:
        """Fold rows of (id, user id, device type, whether it is a Live View session)."""
        if not rows:
            return
        ids, user_ids, device_types, live_view = zip(*rows, strict=True)
        ranks = [_SAID_BY_SESSION.get(device_type, _NOT_SAID) for device_type in device_types]
        devices = _devices(self.types.session.written([session.encode() for session in ids]), ranks)
        self._sessions.append(devices)
        self._live_views.append(devices[np.array(live_view)])
        self._users.append(_hashes(self.types.user.written([(user_id or "").encode() for user_id in user_ids])))

    def sessions(self) -> Integers:
        """Return the sessions folded so far, as input to `silent`. Takes noticeable time at a million sessions."""
        return _distinct(_together(self._sessions) >> _RANK_BITS)

    def silent(self, sessions: Integers) -> Iterator[list[bytes]]:
        """Yield the ids of sessions that are named by WebSockets and not among `sessions`, in batches, some of them
        empty."""
        for devices, ids in self._web_sockets:
            missing = ~contained(devices >> _RANK_BITS, sessions)
            if missing.any():
                named = ids.split(b"\0")
                yield [named[index] for index in np.flatnonzero(missing).tolist() if named[index]]
            else:
                yield []

    def _rank(self, device_type: bytes | None) -> int:
        rank = _SAID_BY_WEB_SOCKET.get(folded(as_text((device_type or b"")[:LONGEST_ID])), _NOT_SAID)
        if len(self._ranks) < MAX_REMEMBERED and len(device_type or b"") <= LONGEST_ID:
            self._ranks[device_type] = rank
        return rank

    def count(self) -> Online:
        """Return the counts of everything folded. Takes noticeable time at a million items."""
        users = _distinct(_together(self._users))
        said = _together([*(devices for devices, _ in self._web_sockets), *self._sessions])
        ranks = np.bincount(_distinct(said, _RANK_BITS) & _RANK, minlength=_NOT_SAID + 1).tolist()
        types = len(DEVICE_TYPES)
        return Online(
            users=len(users) - bool(contained(_hashes([b""]), users)[0]),
            devices={
                **{name: ranks[rank] + ranks[types + rank] for rank, name in enumerate(DEVICE_TYPES)},
                UNKNOWN: ranks[_NOT_SAID],
            },
            live_view_sessions=len(_distinct(_together(self._live_views) >> _RANK_BITS)),
        )


def _plain(values: Sequence[bytes | None]) -> list[bytes]:
    """Return ids in a form possible in PostgreSQL, empty for none: only text that is not ASCII is converted one by
    one."""
    given = [value or b"" for value in values]
    together = b"".join(given)
    if len(together) > LONGEST_ID:
        given = [*map(_cut, given)]
        together = b"".join(given)
    if together.isascii() and b"\0" not in together:
        return given
    return [(as_text(value) or "").encode() for value in given]


def _cut(value: bytes) -> bytes:
    """Return a digest for a value that is too long for an id."""
    return value if len(value) <= LONGEST_ID else blake2b(value).hexdigest().encode()


def _hashes(ids: Sequence[bytes]) -> Integers:
    """Return 64 bits per id; 0 for the empty one, as Python defines it."""
    return np.fromiter(map(hash, ids), np.int64, len(ids))


def _devices(ids: Sequence[bytes], ranks: Sequence[int]) -> Integers:
    devices: Integers = _hashes(ids) & ~_RANK | np.array(ranks, dtype=np.int64)
    return devices


def _together(arrays: Sequence[Integers]) -> Integers:
    return np.concatenate([np.empty(0, dtype=np.int64), *arrays])


def _distinct(values: Integers, low_bits: int = 0) -> Integers:
    """Return, of the values that differ in their low bits only, the least, sorted. Unlike `np.unique`, sorting releases
    the interpreter lock, so that a thread blocks nothing else."""
    values = np.sort(values)
    first = np.ones(len(values), dtype=np.bool_)
    first[1:] = values[1:] >> low_bits != values[:-1] >> low_bits
    return values[first]
