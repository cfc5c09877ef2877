"""Users and devices in any order, against the definitions as sets and dictionaries (docs/definitions.md#online-user,
docs/definitions.md#online-device)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exporter.presence import Online, Presence
from exporter.vocabulary import DEVICE_TYPES

Socket = tuple[bytes, tuple[bytes | None, bytes | None, bytes | None]]
Session = tuple[str, str | None, str | None, bool]

IDS = ["a", "b", "c", "7", "", "é", "a,b", "\ufffd"]
TYPES = [*DEVICE_TYPES, "toaster", "", None]

encoded_ids = st.sampled_from([*(name.encode() for name in IDS), b"\xff", b"a\0", b"\0a", None])
encoded_types = st.sampled_from([None if name is None else name.encode() for name in TYPES])
rows = st.tuples(encoded_ids, encoded_ids, encoded_types)
sockets = st.dictionaries(st.sampled_from([b"k:1", b"k:2", b"k:3", b"a", b"7", b"k:\xff", b"k:\0"]), rows)
sessions = st.dictionaries(
    st.sampled_from(IDS[:4]),
    st.tuples(st.sampled_from([*IDS[:4], None]), st.sampled_from(TYPES), st.booleans()),
)


def text(value: bytes | None) -> str | None:
    """The value as a text of PostgreSQL; an empty value is no id."""
    return (value or b"").decode("utf-8", "replace").replace("\0", "\u2400") or None


def counted(web_sockets: Sequence[Socket], beating: Sequence[Session]) -> Online:
    """The definitions, as plainly as possible."""
    users = {text(user) for _, (user, _, _) in web_sockets} | {user for _, user, _, _ in beating}
    said: dict[tuple[str, str | None], list[str]] = {}
    for session, _, device_type, _ in beating:
        said.setdefault(("session", session), []).extend([device_type] if device_type in DEVICE_TYPES else [])
    of_sockets: dict[tuple[str, str | None], list[str]] = {}
    for key, (_, session_id, type_of_socket) in web_sockets:
        device = ("session", text(session_id)) if text(session_id) else ("connection", text(key))
        named = text(type_of_socket)
        of_sockets.setdefault(device, []).extend([named] if named in DEVICE_TYPES else [])
    types = Counter(
        (said.get(device) or sorted(of_sockets.get(device, [])) or ["unknown"])[0] for device in said | of_sockets
    )
    return Online(
        users=len(users - {None}),
        devices={name: types[name] for name in (*DEVICE_TYPES, "unknown")},
        live_view_sessions=sum(live for *_, live in beating),
    )


@given(sockets, sessions, st.integers(1, 4), st.booleans())
def test_what_is_folded_is_what_the_definitions_say(
    web_sockets: dict[bytes, tuple[bytes | None, bytes | None, bytes | None]],
    beating: dict[str, tuple[str | None, str | None, bool]],
    size: int,
    twice: bool,
) -> None:
    """In pieces of any size, and with every piece repeated."""
    all_sockets = list(web_sockets.items())
    all_sessions = [(session, *row) for session, row in beating.items()]
    presence = Presence()
    for _ in range(2 if twice else 1):
        for start in range(0, len(all_sockets), size):
            some = all_sockets[start : start + size]
            presence.fold_web_sockets([key for key, _ in some], [row for _, row in some])
        for start in range(0, len(all_sessions), size):
            presence.fold_sessions(all_sessions[start : start + size])
    assert presence.count() == counted(all_sockets, all_sessions)


@given(sockets, sessions, st.integers(1, 4))
def test_silent_are_the_sessions_that_are_named_and_were_not_folded(
    web_sockets: dict[bytes, tuple[bytes | None, bytes | None, bytes | None]],
    beating: dict[str, tuple[str | None, str | None, bool]],
    size: int,
) -> None:
    presence = Presence()
    keys = list(web_sockets)
    for start in range(0, len(keys), size):
        some = keys[start : start + size]
        presence.fold_web_sockets(some, [web_sockets[key] for key in some])
    presence.fold_sessions([(session, *row) for session, row in beating.items()])
    named = {text(session) for _, session, _ in web_sockets.values()} - {None}
    found = list(presence.silent(presence.sessions()))
    assert {session.decode() for some in found for session in some} == named - set(beating)
    assert max((len(some) for some in found), default=0) <= size


def test_nothing_folded_is_nobody() -> None:
    presence = Presence()
    presence.fold_web_sockets([], [])
    presence.fold_sessions([])
    assert presence.count() == Online(0, {"desktop": 0, "ipad": 0, "phone": 0, "unknown": 0}, 0)
    assert list(presence.silent(presence.sessions())) == []


def test_a_hundred_thousand_are_told_apart() -> None:
    presence = Presence()
    for start in range(0, 100_000, 1_000):
        ids = [b"%06d" % number for number in range(start, start + 1_000)]
        presence.fold_web_sockets(ids, [(b"u" + id_[1:], id_, b"phone") for id_ in ids])
    presence.fold_sessions([(f"{number:06}", f"u{number:05}", "ipad", True) for number in range(40_000, 100_000)])
    assert presence.count() == Online(100_000, {"desktop": 0, "ipad": 60_000, "phone": 40_000, "unknown": 0}, 60_000)
    silent = np.sort([int(session) for some in presence.silent(presence.sessions()) for session in some])
    assert np.array_equal(silent, np.arange(40_000))


def test_a_long_id_is_kept_as_a_digest() -> None:
    presence = Presence()
    long = b"x" * 1_000_000
    presence.fold_web_sockets([b"1", b"2"], [(long, long, long), (long, long + b"y", None)])
    ids = [session for batch in presence.silent(presence.sessions()) for session in batch]
    assert sorted(map(len, ids)) == [128, 128]
    assert presence.count() == Online(1, {"desktop": 0, "ipad": 0, "phone": 0, "unknown": 2}, 0)
