"""Logins of browsers: a signed cookie that needs no table, and the list of those that were ended early.

    login -> sessions (this) -> the cookie -> door

The key that signs is made of a random one in the state directory and of every credential that is configured: changing
any of these ends all sessions. A session's life is a setting, and the same whatever it was opened with: a token that
expires earlier does not end it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from exporter.errors import StateError
from exporter.state import StateFile

_log = structlog.get_logger()

COOKIE = "hivesync_analytics"
COOKIE_PATH = "/admin/analytics"

KEY_FILE = "session.key"
KEY_BYTES = 32
REVOKED_FILE = "sessions.json"
"""What was logged out stays so over a restart."""

REVOKED_AT_MOST = 10_000
"""Each takes a login first, so that it is not soon reached; then every session so far is ended."""

COOKIES_AT_MOST = 4
"""Of this name that are looked at: a browser may hold one for a longer path besides ours."""

_ID_BYTES, _TIME_BYTES, _MAC_BYTES = 16, 8, 32
_LONGEST = 4 * (_ID_BYTES + _TIME_BYTES + _MAC_BYTES)

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Session:
    """One login: its random id (hexadecimal) and when it ends (unix seconds)."""

    id: str
    ends_at: float


class Sessions:
    """Opens, checks and ends sessions; `clock` gives unix seconds."""

    def __init__(self, key: bytes, lifetime_seconds: float, clock: Clock, revoked: StateFile | None = None) -> None:
        """`revoked` remembers over restarts which were ended; without it that is forgotten with the process."""
        self.lifetime_seconds = lifetime_seconds
        self._key = key
        self._clock = clock
        self._file = revoked
        self._revoked: dict[str, float] = {}
        self._valid_since = 0.0
        self._load()

    def open(self) -> str:
        """The cookie's value of a new session."""
        content = secrets.token_bytes(_ID_BYTES) + int(self._clock() * 1000).to_bytes(_TIME_BYTES, "big")
        return base64.urlsafe_b64encode(content + self._mac(content)).rstrip(b"=").decode()

    def check(self, value: str) -> Session | None:
        """The session of a cookie's value, if it is one of ours that has not ended."""
        if len(value) > _LONGEST:
            return None
        try:
            signed = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        content, mac = signed[:-_MAC_BYTES], signed[-_MAC_BYTES:]
        if len(content) != _ID_BYTES + _TIME_BYTES or not hmac.compare_digest(mac, self._mac(content)):
            return None
        session_id, opened_at = content[:_ID_BYTES].hex(), int.from_bytes(content[_ID_BYTES:], "big") / 1000
        session = Session(session_id, opened_at + self.lifetime_seconds)
        now = self._clock()
        # A clock that was set back does not make a session live longer than its life.
        alive = opened_at - 60 <= now < session.ends_at and opened_at > self._valid_since
        return session if alive and session_id not in self._revoked else None

    def of(self, headers: Iterable[tuple[bytes, bytes]]) -> Session | None:
        """The session that a request's cookies name."""
        return next((session for value in cookies(headers) if (session := self.check(value))), None)

    def revoke(self, session: Session) -> None:
        """End a session now."""
        now = self._clock()
        self._revoked = {one: ends_at for one, ends_at in self._revoked.items() if ends_at > now}
        self._revoked[session.id] = session.ends_at
        if len(self._revoked) > REVOKED_AT_MOST:
            self._revoked, self._valid_since = {}, now
        if self._file is not None:
            try:
                self._file.save({"revoked": self._revoked, "valid_since": self._valid_since})
            except StateError as error:
                _log.warning("logout not remembered over a restart", reason=str(error))

    def cookie(self, path: str, value: str | None = None) -> str:
        """The Set-Cookie header that gives a browser this session, or without one takes its session away."""
        life = int(self.lifetime_seconds) if value else 0
        return f"{COOKIE}={value or ''}; Path={path}; Max-Age={life}; HttpOnly; Secure; SameSite=Strict"

    def _mac(self, content: bytes) -> bytes:
        return hmac.digest(self._key, b"session:" + content, "sha256")

    def _load(self) -> None:
        if self._file is None:
            return
        try:
            saved = self._file.load() or {}
            self._revoked = {str(one): float(ends_at) for one, ends_at in saved.get("revoked", {}).items()}
            self._valid_since = float(saved.get("valid_since", 0.0))
        except (StateError, AttributeError, TypeError, ValueError) as error:
            # Nobody knows any more which were ended: so all were.
            self._revoked, self._valid_since = {}, self._clock()
            _log.warning("sessions not understood: all are ended", reason=str(error))


def cookies(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The values of our cookie, at most `COOKIES_AT_MOST`."""
    found = []
    for name, value in headers:
        if name == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                key, equals, content = pair.partition("=")
                if equals and key.strip() == COOKIE:
                    found.append(content.strip())
    return found[:COOKIES_AT_MOST]


def signing_key(stored: bytes, credentials: bytes) -> bytes:
    """The key of `Sessions`, from the stored one and the fingerprint of the credentials."""
    return hmac.digest(stored, b"hivesync-analytics:" + hashlib.sha256(credentials).digest(), "sha256")


def stored_key(directory: Path) -> bytes:
    """The random key of this state directory, made where there is none. One that others could read is replaced; where
    none can be kept there is one for this process alone."""
    path = directory / KEY_FILE
    try:
        status = path.stat()
        key = path.read_bytes()
        if len(key) == KEY_BYTES and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return key
        _log.warning("session key replaced: all sessions are ended", file=str(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("session key not read: sessions end with this process", file=str(path), reason=error.strerror)
        return secrets.token_bytes(KEY_BYTES)
    key = secrets.token_bytes(KEY_BYTES)
    try:
        _write(path, key)
    except OSError as error:
        _log.warning("session key not kept: sessions end with this process", file=str(path), reason=error.strerror)
    return key


def _write(path: Path, key: bytes) -> None:
    """As a whole or not at all, and never readable by others, not for a moment."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
