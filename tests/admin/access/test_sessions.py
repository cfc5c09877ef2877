"""Sessions: signed, of limited lifetime, ended by a logout and by every change of a credential."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import admin.access.sessions
from admin.access.sessions import (
    COOKIE,
    KEY_FILE,
    SECURE_COOKIE,
    SESSIONS_FILE,
    Session,
    Sessions,
    cookies,
    signing_key,
    stored_key,
)
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
    signed = base64.urlsafe_b64decode(value)
    for bit in range(len(signed) * 8):
        changed = bytearray(signed)
        changed[bit // 8] ^= 1 << (bit % 8)
        assert sessions.check(base64.urlsafe_b64encode(changed).decode()) is None


def test_a_truncated_or_extended_value_is_no_session(sessions: Sessions) -> None:
    value = sessions.open()
    for changed in (value[:-1], value[1:], value + "A", value + value, "", "=" * 4, f"{value}\n", f" {value}"):
        assert sessions.check(changed) is None


def test_an_end_is_of_this_session_and_no_other(sessions: Sessions) -> None:
    one, other = sessions.open(), sessions.open()
    sessions.end([opened(sessions, one)])
    assert sessions.check(one) is None
    assert sessions.check(other)


def test_open_and_ended_sessions_are_remembered_across_a_restart(tmp_path: Path, clock: Clock) -> None:
    file = StateFile(tmp_path, SESSIONS_FILE)
    before = Sessions(KEY, HOURS_8, clock, file)
    one, other = before.open("token", "192.0.2.7"), before.open("code", "192.0.2.8")
    before.end([opened(before, one)])
    before.save()
    after = Sessions(KEY, HOURS_8, clock, file)
    assert after.check(one) is None
    assert after.check(other) == before.check(other)
    assert [(session.via, session.address) for session in after.all()] == [("code", "192.0.2.8")]


def test_a_shorter_lifetime_holds_for_sessions_from_before(tmp_path: Path, clock: Clock) -> None:
    file = StateFile(tmp_path, SESSIONS_FILE)
    before = Sessions(KEY, HOURS_8, clock, file)
    value = before.open()
    before.save()
    clock.now += 3600
    assert Sessions(KEY, 3601, clock, file).check(value)
    assert Sessions(KEY, 3600, clock, file).check(value) is None


def test_the_list_is_that_of_the_open_sessions_the_oldest_first(sessions: Sessions, clock: Clock) -> None:
    first = opened(sessions, sessions.open("token", "192.0.2.7"))
    clock.now += HOURS_8 - 1
    second = opened(sessions, sessions.open("api_key", "2001:db8::/64"))
    assert list(sessions.all()) == [first, second]
    assert (first.name, len(first.name)) == (first.id[:12], 12)
    clock.now += 1
    assert list(sessions.all()) == [second]


def test_a_session_that_follows_its_token_ends_with_it_at_the_latest(clock: Clock) -> None:
    sessions = Sessions(KEY, HOURS_8, clock, follows_token=True)
    for seconds, expected in ((60, 60), (HOURS_8 * 2, HOURS_8)):
        assert opened(sessions, sessions.open("token", "x", clock.now + seconds)).ends_at == clock.now + expected
    assert sessions.check(sessions.open("token", "x", clock.now)) is None


def test_the_oldest_session_ends_if_there_are_too_many(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin.access.sessions, "SESSIONS_AT_MOST", 3)
    values = [sessions.open() for _ in range(5)]
    assert [sessions.check(value) is not None for value in values] == [False, False, True, True, True]


def test_a_list_that_the_disk_does_not_give_is_not_called_damaged(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / SESSIONS_FILE).mkdir()  # reading it fails for root, too
    with capture_logs() as events:
        sessions = Sessions(KEY, HOURS_8, clock, StateFile(tmp_path, SESSIONS_FILE))
    assert [event["event"] for event in events] == ["admin.sessions.unreadable"]
    assert sessions.check(sessions.open())


@pytest.mark.parametrize("content", [["nonsense"], [{"id": "x"}], "nonsense", None, [[]]])
def test_an_unreadable_list_ends_all_sessions(content: object, tmp_path: Path, clock: Clock) -> None:
    file = StateFile(tmp_path, SESSIONS_FILE)
    sessions = Sessions(KEY, HOURS_8, clock, file)
    before = sessions.open()
    sessions.save()
    file.save({**(file.load() or {}), "open": content})
    with capture_logs() as events:
        sessions = Sessions(KEY, HOURS_8, clock, file)
    assert [event["event"] for event in events] == ["admin.sessions.corrupt"]
    assert sessions.check(before) is None
    assert sessions.check(sessions.open())


def test_sessions_that_another_key_has_signed_are_not_in_the_list(tmp_path: Path, clock: Clock) -> None:
    file = StateFile(tmp_path, SESSIONS_FILE)
    before = Sessions(KEY, HOURS_8, clock, file)
    value = before.open()
    before.save()
    after = Sessions(b"another key", HOURS_8, clock, file)
    assert (after.check(value), list(after.all())) == (None, [])
    file.save({"revoked": {}, "valid_since": 0.0})  # a list of another version
    assert list(Sessions(KEY, HOURS_8, clock, file).all()) == []


def test_a_list_that_cannot_be_stored_holds_for_the_process(tmp_path: Path, clock: Clock) -> None:
    sessions = Sessions(KEY, HOURS_8, clock, StateFile(tmp_path / "missing", SESSIONS_FILE))
    value, other = sessions.open(), sessions.open()
    sessions.end([opened(sessions, other)])
    with capture_logs() as events:
        sessions.save()
    assert sessions.check(value)
    assert sessions.check(other) is None
    assert [event["event"] for event in events] == ["admin.sessions.not_saved"]


def test_the_cookie_is_for_the_section_alone_and_for_no_script(sessions: Sessions) -> None:
    value = sessions.open()
    assert sessions.cookie("/admin/analytics", value, https=False) == (
        f"hivesync_analytics={value}; Path=/admin/analytics; Max-Age=28800; HttpOnly; Secure; SameSite=Strict"
    )
    assert sessions.cookie("/admin/analytics", https=True) == (
        "__Secure-hivesync_analytics=; Path=/admin/analytics; Max-Age=0; HttpOnly; Secure; SameSite=Strict"
    )


def test_the_cookie_is_found_among_any_number_of_others(sessions: Sessions) -> None:
    value, other = sessions.open(), sessions.open()
    sent = [(b"cookie", f"a=b; {COOKIE}=old; x; {COOKIE}2=no;{COOKIE}={value}".encode()), (b"cookie", b"c=\xff")]
    assert list(cookies(sent, COOKIE)) == ["old", value]
    assert [session.id for session in sessions.of(sent, https=False)] == [opened(sessions, value).id]
    assert list(sessions.of(sent, https=True)) == []
    foreign = b"; ".join([f"{SECURE_COOKIE}={'x' * 64}".encode()] * 100)
    many = [(b"cookie", foreign + f"; {SECURE_COOKIE}={value}; {SECURE_COOKIE}={other}".encode())]
    assert len(list(sessions.of(many, https=True))) == 2
    assert list(sessions.of([], https=False)) == []


def test_changing_any_credential_ends_all_sessions(clock: Clock, tmp_path: Path) -> None:
    stored, file = b"s" * 32, StateFile(tmp_path, SESSIONS_FILE)

    def sessions(credentials: AdminCredentials, stored: bytes = stored) -> Sessions:
        return Sessions(signing_key(stored, credentials.fingerprint()), HOURS_8, clock, file)

    before = AdminCredentials(jwt_secret="a", api_key="b")
    first = sessions(before)
    value = first.open()
    first.save()
    assert sessions(AdminCredentials(jwt_secret="a", api_key="b")).check(value)
    for changed in (
        AdminCredentials(jwt_secret="a"),
        AdminCredentials(jwt_secret="a", api_key="c"),
        AdminCredentials(jwt_secret="c", api_key="b"),
        AdminCredentials(jwt_secret="a", api_key="b", claim="role=admin"),
        AdminCredentials(jwt_secret="a", api_key="b", jwt_public_key=b"c"),
    ):
        assert sessions(changed).check(value) is None
    assert sessions(before, b"t" * 32).check(value) is None


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
