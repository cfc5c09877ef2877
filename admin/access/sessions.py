"""Sessions of browsers: a signed cookie, and a list of the sessions that were ended early.

    login -> sessions (this) -> the cookie -> authentication

The signing key is derived from a random key in the state directory and from all configured credentials: a change of
any of these ends all sessions. The lifetime is a setting, and does not depend on the credential: a token that expires
earlier does not end the session.
"""

from __future__ import annotations

import asyncio
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

from exporter import disk
from exporter.errors import StateError
from exporter.state import StateFile
from presentation.panels import ANALYTICS_PATH

_log = structlog.get_logger()

COOKIE = "hivesync_analytics"
COOKIE_PATH = ANALYTICS_PATH.rstrip("/")

KEY_FILE = "session.key"
KEY_BYTES = 32
REVOKED_FILE = "sessions.json"
"""The ended sessions, kept across restarts."""

REVOKED_AT_MOST = 10_000
"""The most ended sessions kept; beyond that all sessions so far are ended. Each needs a login first."""

COOKIES_AT_MOST = 4
"""The most cookies of this name that are checked: a browser may hold another for a longer path."""

SAVE_SECONDS = 2.0
"""Time for which a logout waits for the disk. It holds for this process at once."""

_ID_BYTES, _TIME_BYTES, _MAC_BYTES = 16, 8, 32
_LONGEST = 4 * (_ID_BYTES + _TIME_BYTES + _MAC_BYTES)

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Session:
    """One login: its random id (hexadecimal) and its end (Unix seconds)."""

    id: str
    ends_at: float


class Sessions:
    """Opens, checks and ends sessions; `clock` gives Unix seconds."""

    def __init__(self, key: bytes, lifetime_seconds: float, clock: Clock, revoked: StateFile | None = None) -> None:
        """`revoked`: the file of the ended sessions; without it they are forgotten with the process."""
        self.lifetime_seconds = lifetime_seconds
        self._key = key
        self._clock = clock
        self._file = revoked
        self._revoked: dict[str, float] = {}
        self._valid_since = 0.0
        self._saving = asyncio.Lock()
        self._load()

    def open(self) -> str:
        """Open a session; the value of its cookie."""
        content = secrets.token_bytes(_ID_BYTES) + int(self._clock() * 1000).to_bytes(_TIME_BYTES, "big")
        return base64.urlsafe_b64encode(content + self._mac(content)).rstrip(b"=").decode()

    def check(self, value: str) -> Session | None:
        """The session of a cookie's value, if its signature is valid and it has not ended."""
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
        # A clock that is set back does not extend a session.
        alive = opened_at - 60 <= now < session.ends_at and opened_at > self._valid_since
        return session if alive and session_id not in self._revoked else None

    def of(self, headers: Iterable[tuple[bytes, bytes]]) -> Session | None:
        """The session of a request's cookies."""
        return next((session for value in cookies(headers) if (session := self.check(value))), None)

    def revoke(self, session: Session) -> None:
        """End a session in this process; `save` keeps that."""
        now = self._clock()
        self._revoked = {one: ends_at for one, ends_at in self._revoked.items() if ends_at > now}
        self._revoked[session.id] = session.ends_at
        if len(self._revoked) > REVOKED_AT_MOST:
            self._revoked, self._valid_since = {}, now

    async def save(self) -> None:
        """Save the ended sessions, and wait for the disk for SAVE_SECONDS at most. A save that failed is logged."""
        if self._file is None:
            return
        try:
            await disk.Step(self._save(self._file)).wait(SAVE_SECONDS)
        except (StateError, TimeoutError) as error:
            _log.warning("admin.logout.not_saved", reason=str(error) or f"no end after {SAVE_SECONDS:g} s")

    async def _save(self, file: StateFile) -> None:
        async with self._saving:  # in the order of the logouts; each save has all so far
            await disk.run(file.save, {"revoked": self._revoked, "valid_since": self._valid_since})

    def cookie(self, path: str, value: str | None = None) -> str:
        """The Set-Cookie header that sets the session of a browser, or removes it without a value."""
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
            # The ended sessions are unknown, so that all are ended.
            self._revoked, self._valid_since = {}, self._clock()
            _log.warning("admin.sessions.corrupt", reason=str(error))


def cookies(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The values of the session's cookie, at most `COOKIES_AT_MOST`."""
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
    """The random key of this state directory, created if missing. A key that other users could read is replaced. A key
    that cannot be stored is for this process alone."""
    path = directory / KEY_FILE
    try:
        status = path.stat()
        key = path.read_bytes()
        if len(key) == KEY_BYTES and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return key
        _log.warning("admin.session_key.replaced", file=str(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("admin.session_key.unreadable", file=str(path), reason=error.strerror)
        return secrets.token_bytes(KEY_BYTES)
    key = secrets.token_bytes(KEY_BYTES)
    try:
        _write(path, key)
    except OSError as error:
        _log.warning("admin.session_key.not_saved", file=str(path), reason=error.strerror)
    return key


def _write(path: Path, key: bytes) -> None:
    """Write the key atomically, and never readable by other users."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
