"""Sessions: signed, of limited lifetime, ended by a logout and by every change of a credential."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

import admin.access.sessions
from admin.access.sessions import COOKIE, KEY_FILE, REVOKED_FILE, Session, Sessions, cookies, signing_key, stored_key
from admin.access.tokens import AdminCredentials
from exporter.state import StateFile
from tests.admin.access.guarded import Clock

KEY = b"k" * 32
HOURS_8 = 8 * 3600.0

START = 1_800_000_000.25
"""A time between two whole seconds."""


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(KEY, HOURS_8, clock)


def opened(sessions: Sessions, value: str) -> Session:
    session = sessions.check(value)
    assert session is not None
    return session


def test_a_session_lives_as_long_as_configured(sessions: Sessions, clock: Clock) -> None:
    value = sessions.open()
    assert opened(sessions, value).ends_at == pytest.approx(clock.now + HOURS_8)
    clock.now += HOURS_8 - 1
    assert sessions.check(value)
    clock.now += 1
    assert sessions.check(value) is None


def test_a_clock_set_back_ends_a_session_from_the_future(sessions: Sessions, clock: Clock) -> None:
    value = sessions.open()
    clock.now -= 3600
    assert sessions.check(value) is None


def test_no_two_sessions_are_the_same(sessions: Sessions) -> None:
    assert len({sessions.open() for _ in range(50)}) == 50


def test_only_values_signed_with_the_key_are_sessions(sessions: Sessions, clock: Clock) -> None:
    assert Sessions(b"another key", HOURS_8, clock).check(sessions.open()) is None


def test_every_changed_bit_invalidates_a_session(sessions: Sessions) -> None:
    value = sessions.open()
    signed = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    for bit in range(len(signed) * 8):
        changed = bytearray(signed)
        changed[bit // 8] ^= 1 << (bit % 8)
        assert sessions.check(base64.urlsafe_b64encode(changed).decode().rstrip("=")) is None


@given(st.text(max_size=300) | st.binary(max_size=120).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_any_text_is_handled(text: str) -> None:
    assert Sessions(KEY, HOURS_8, Clock(START)).check(text) is None


def test_a_truncated_or_extended_value_is_no_session(sessions: Sessions) -> None:
    value = sessions.open()
    for changed in (value[:-1], value[1:], value + "A", value + value, "", "=" * 4, f"{value}\n", f" {value}"):
        assert sessions.check(changed) is None


def test_a_logout_ends_this_session_and_no_other(sessions: Sessions) -> None:
    one, other = sessions.open(), sessions.open()
    sessions.revoke(opened(sessions, one))
    assert sessions.check(one) is None
    assert sessions.check(other)


def test_a_logout_holds_across_a_restart(tmp_path: Path, clock: Clock) -> None:
    file = StateFile(tmp_path, REVOKED_FILE)
    before = Sessions(KEY, HOURS_8, clock, file)
    one, other = before.open(), before.open()
    before.revoke(opened(before, one))
    asyncio.run(before.save())
    after = Sessions(KEY, HOURS_8, clock, file)
    assert after.check(one) is None
    assert after.check(other)


def test_expired_sessions_are_dropped_from_the_list(tmp_path: Path, clock: Clock) -> None:
    file = StateFile(tmp_path, REVOKED_FILE)
    sessions = Sessions(KEY, HOURS_8, clock, file)
    for _ in range(5):
        sessions.revoke(opened(sessions, sessions.open()))
    clock.now += HOURS_8
    sessions.revoke(opened(sessions, sessions.open()))
    asyncio.run(sessions.save())
    saved = file.load()
    assert saved is not None
    assert len(saved["revoked"]) == 1


def test_too_many_logouts_end_all_sessions(sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin.access.sessions, "REVOKED_AT_MOST", 3)
    values = [sessions.open() for _ in range(5)]
    for value in values[:4]:
        sessions.revoke(opened(sessions, value))
    assert [sessions.check(value) for value in values] == [None] * 5
    clock.now += 1
    assert sessions.check(sessions.open())


def test_an_unreadable_list_of_logouts_ends_all_sessions(tmp_path: Path, clock: Clock) -> None:
    file = StateFile(tmp_path, REVOKED_FILE)
    before = Sessions(KEY, HOURS_8, clock, file).open()
    file.save({"revoked": ["nonsense"]})
    with capture_logs() as events:
        sessions = Sessions(KEY, HOURS_8, clock, file)
    assert [event["event"] for event in events] == ["admin.sessions.corrupt"]
    assert sessions.check(before) is None
    clock.now += 1
    assert sessions.check(sessions.open())


def test_a_logout_that_cannot_be_stored_holds_for_the_process(tmp_path: Path, clock: Clock) -> None:
    sessions = Sessions(KEY, HOURS_8, clock, StateFile(tmp_path / "missing", REVOKED_FILE))
    value = sessions.open()
    with capture_logs() as events:
        sessions.revoke(opened(sessions, value))
        asyncio.run(sessions.save())
    assert sessions.check(value) is None
    assert [event["event"] for event in events] == ["admin.logout.not_saved"]


def test_the_cookie_is_for_the_section_alone_and_for_no_script(sessions: Sessions) -> None:
    value = sessions.open()
    assert sessions.cookie("/admin/analytics", value) == (
        f"hivesync_analytics={value}; Path=/admin/analytics; Max-Age=28800; HttpOnly; Secure; SameSite=Strict"
    )
    assert sessions.cookie("/admin/analytics") == (
        "hivesync_analytics=; Path=/admin/analytics; Max-Age=0; HttpOnly; Secure; SameSite=Strict"
    )


def test_the_cookie_is_found_among_others(sessions: Sessions) -> None:
    value = sessions.open()
    sent = [(b"cookie", f"a=b; {COOKIE}=old; x; {COOKIE}2=no;{COOKIE}={value}".encode()), (b"cookie", b"c=\xff")]
    assert cookies(sent) == ["old", value]
    assert sessions.of(sent)
    assert sessions.of([(b"cookie", b"; ".join([f"{COOKIE}=x".encode()] * 4 + [f"{COOKIE}={value}".encode()]))]) is None
    assert sessions.of([]) is None


def test_changing_any_credential_ends_all_sessions(clock: Clock) -> None:
    stored = b"s" * 32
    before = AdminCredentials(jwt_secret="a", api_key="b")
    value = Sessions(signing_key(stored, before.fingerprint()), HOURS_8, clock).open()
    same = AdminCredentials(jwt_secret="a", api_key="b")
    assert Sessions(signing_key(stored, same.fingerprint()), HOURS_8, clock).check(value)
    for changed in (
        AdminCredentials(jwt_secret="a"),
        AdminCredentials(jwt_secret="a", api_key="c"),
        AdminCredentials(jwt_secret="c", api_key="b"),
        AdminCredentials(jwt_secret="a", api_key="b", claim="role=admin"),
        AdminCredentials(jwt_secret="a", api_key="b", jwt_public_key=b"c"),
    ):
        assert Sessions(signing_key(stored, changed.fingerprint()), HOURS_8, clock).check(value) is None
    assert Sessions(signing_key(b"t" * 32, before.fingerprint()), HOURS_8, clock).check(value) is None


def test_the_stored_key_is_created_once_and_private(tmp_path: Path) -> None:
    key = stored_key(tmp_path)
    assert len(key) == 32
    assert stored_key(tmp_path) == key
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_key_that_others_could_read_or_write_is_replaced(tmp_path: Path, mode: int) -> None:
    key = stored_key(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    with capture_logs() as events:
        assert stored_key(tmp_path) != key
    assert [event["event"] for event in events] == ["admin.session_key.replaced"]
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_truncated_key_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")
    (tmp_path / KEY_FILE).chmod(0o600)
    with capture_logs():
        key = stored_key(tmp_path)
    assert len(key) == 32
    assert (tmp_path / KEY_FILE).read_bytes() == key


def test_a_key_that_cannot_be_stored_is_for_this_process(tmp_path: Path) -> None:
    with capture_logs() as events:
        keys = {stored_key(tmp_path / "missing") for _ in range(2)}
        (tmp_path / KEY_FILE).mkdir()
        keys.add(stored_key(tmp_path))
    assert len(keys) == 3
    assert [event["event"] for event in events] == [
        "admin.session_key.not_saved",
        "admin.session_key.not_saved",
        "admin.session_key.unreadable",
    ]
