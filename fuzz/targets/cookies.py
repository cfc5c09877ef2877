"""Cookies: a session is found by its own signed value alone, beside any other cookies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from admin.access.sessions import COOKIE, SECURE_COOKIE, Sessions
from fuzz.inputs import damaged, joined
from fuzz.target import ByteTarget, Check

OPEN, ENDED, FOREIGN = b"{open}", b"{ended}", b"{foreign}"
"""In an input: the cookie's value of an open session, of an ended one, and of a session signed by another key."""


@contextmanager
def opened(_: Path) -> Iterator[Check]:
    """The check, with an open session."""
    now = 1_000_000.0
    sessions = Sessions(b"k" * 32, 3_600, lambda: now)
    value, ended = sessions.open(), sessions.open()
    (session,) = [each for each in sessions.all() if each == sessions.check(value)]
    sessions.end(each for each in sessions.all() if each != session)
    foreign = Sessions(b"x" * 32, 3_600, lambda: now).open()

    def check(content: bytes) -> None:
        for mark, written in ((OPEN, value), (ENDED, ended), (FOREIGN, foreign)):
            content = content.replace(mark, written.encode())
        headers = [(b"cookie", line) for line in content.split(b"\n")]
        for https, name in ((False, COOKIE), (True, SECURE_COOKIE)):
            found = list(sessions.of(headers, https=https))
            sent = [
                pair.partition(b"=")[2].strip(b" \t\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\xa0")
                for line in content.split(b"\n")
                for pair in line.split(b";")
                if pair.partition(b"=")[0].strip(b" \t\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\xa0") == name.encode()
            ]
            assert found == [session] * sent.count(value.encode())
        assert sessions.check(content.decode("latin-1")) == (session if content == value.encode() else None)
        assert sessions.all() == [session]

    yield check


_names = st.sampled_from(
    [COOKIE.encode(), SECURE_COOKIE.encode(), b"__Host-x", b"x", b"", b" " + COOKIE.encode() + b" "]
)
_values = st.sampled_from([OPEN, ENDED, FOREIGN, OPEN + b"=", OPEN[:-1], b'"' + OPEN + b'"', b"", b"A" * 64, b"=" * 64])

TARGET = ByteTarget(
    name="cookies",
    promise="A cookie's header gives the sessions whose signed values it holds under the section's name, and no other.",
    opened=opened,
    inputs=damaged(
        joined(
            b";", st.builds(lambda name, value: name + b"=" + value, _names, _values), st.just(b" "), st.just(b"\n")
        ),
        (b";", b"=", b",", b" ", b"\0", b"\xff", b"\t", b"{open}", b"%3d", b"_", b"/"),
    ),
    seeds=(
        COOKIE.encode() + b"={open}",
        b"a=b; " + SECURE_COOKIE.encode() + b"={open}; " + COOKIE.encode() + b"={ended}",
        COOKIE.encode() + b"={foreign}\n" + COOKIE.encode() + b"={open}",
    ),
    words=(COOKIE.encode(), SECURE_COOKIE.encode(), OPEN, ENDED, FOREIGN, b"; ", b"="),
)
