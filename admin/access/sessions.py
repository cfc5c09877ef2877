"""Sessions of browsers: a signed cookie each, and the list of those that are open.

    login -> sessions (this) -> the cookie -> authentication

A cookie counts while its session is in the list, so that each session can be seen and ended. The signing key is derived
from a random key in the state directory and from all configured credentials: a change of any of these ends all
sessions. The lifetime is a setting; with `follows_token`, the session of a token ends with it at the latest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import structlog

from admin.access.tokens import Via
from exporter import disk
from exporter.errors import StateError
from exporter.state import StateFile
from presentation.panels import ANALYTICS_PATH

_log = structlog.get_logger()

COOKIE = "hivesync_analytics"
SECURE_COOKIE = f"__Secure-{COOKIE}"
"""The name over https: browsers accept it from https alone, so that it cannot be set on the way."""

COOKIE_PATH = ANALYTICS_PATH.rstrip("/")

KEY_FILE = "session.key"
KEY_BYTES = 32
SESSIONS_FILE = "sessions.json"
"""The open sessions, kept across restarts."""

SESSIONS_AT_MOST = 1_000
"""The most open sessions; the oldest ends first. Each needs a login first."""

SAVE_SECONDS = 2.0
"""Time for which a login or logout waits for the disk."""

_ID_BYTES, _MAC_BYTES = 16, 32
_VALUE_CHARACTERS = (_ID_BYTES + _MAC_BYTES) // 3 * 4

_NAME_CHARACTERS = 12

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Session:
    """One login: its random id (hexadecimal), its beginning and end (Unix seconds), the kind of its credential, and the
    address that it came from."""

    id: str
    opened_at: float
    ends_at: float
    via: str
    address: str

    @property
    def name(self) -> str:
        """The beginning of the id, for people. The whole id is no secret either: a cookie needs a signature."""
        return self.id[:_NAME_CHARACTERS]


class Sessions:
    """Opens, checks, lists and ends sessions; `clock` gives Unix seconds."""

    def __init__(
        self,
        key: bytes,
        lifetime_seconds: float,
        clock: Clock,
        file: StateFile | None = None,
        *,
        follows_token: bool = False,
    ) -> None:
        """`file`: that of the open sessions; without it they end with the process."""
        self._lifetime_seconds = lifetime_seconds
        self._key = key
        self._clock = clock
        self._file = file
        self._follows_token = follows_token
        self._saving = threading.Lock()
        self._open: dict[str, Session] = {}
        self._load()

    def open(self, via: str = "api_key", address: str = "unknown", token_ends_at: float | None = None) -> str:
        """Open a session; the value of its cookie."""
        now = self._clock()
        ends_at = now + self._lifetime_seconds
        if self._follows_token and token_ends_at is not None:
            ends_at = min(ends_at, token_ends_at)
        session = Session(secrets.token_hex(_ID_BYTES), now, ends_at, via, address)
        self._open = {one.id: one for one in (*self.all(), session)[-SESSIONS_AT_MOST:]}
        content = bytes.fromhex(session.id)
        return base64.urlsafe_b64encode(content + self._mac(content)).decode()

    def check(self, value: str) -> Session | None:
        """The session of a cookie's value, if its signature is valid and it has not ended."""
        if len(value) != _VALUE_CHARACTERS:
            return None
        try:
            signed = base64.b64decode(value, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        content, mac = signed[:-_MAC_BYTES], signed[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(content)):
            return None
        session = self._open.get(content.hex())
        return session if session is not None and self._is_alive(session) else None

    def of(self, headers: Iterable[tuple[bytes, bytes]], *, https: bool) -> Iterator[Session]:
        """The sessions of a request's cookies: of all with our name, as a browser may hold foreign ones."""
        for value in cookies(headers, SECURE_COOKIE if https else COOKIE):
            if session := self.check(value):
                yield session

    def all(self) -> Sequence[Session]:
        """The open sessions, the oldest first."""
        return [session for session in self._open.values() if self._is_alive(session)]

    def end(self, ended: Iterable[Session]) -> None:
        """End these sessions."""
        ids = {session.id for session in ended}
        self._open = {session.id: session for session in self.all() if session.id not in ids}

    def save(self) -> None:
        """Write the open sessions to the state directory. It waits for the disk: `keep` is for the event loop."""
        if self._file is None:
            return
        with self._saving:  # each writer writes the newest list
            sessions = [asdict(session) for session in self._open.values()]
            try:
                self._file.save({"signed_by": self._signed_by(), "open": sessions})
            except StateError as error:
                _log.warning("admin.sessions.not_saved", reason=str(error))

    async def keep(self) -> None:
        """Save in a thread, and wait for the disk for SAVE_SECONDS at most; this process knows the list at once."""
        try:
            await disk.Step(disk.run(self.save)).wait(SAVE_SECONDS)
        except TimeoutError:
            _log.warning("admin.sessions.not_saved", reason=f"the disk did not answer within {SAVE_SECONDS:g} s")

    def cookie(self, path: str, value: str | None = None, *, https: bool) -> str:
        """The Set-Cookie header that sets the session of a browser, or removes it without a value."""
        session = self.check(value) if value else None
        life = max(0, int(session.ends_at - self._clock())) if session else 0
        name = SECURE_COOKIE if https else COOKIE
        return f"{name}={value or ''}; Path={path}; Max-Age={life}; HttpOnly; Secure; SameSite=Strict"

    def _is_alive(self, session: Session) -> bool:
        # A clock that is set back does not extend a session.
        return session.opened_at - 60 <= self._clock() < session.ends_at

    def _mac(self, content: bytes) -> bytes:
        return hmac.digest(self._key, b"session:" + content, "sha256")

    def _signed_by(self) -> str:
        """Tells whether a list is of sessions whose cookies this key has signed."""
        return hmac.digest(self._key, b"list of sessions", "sha256").hex()

    def _load(self) -> None:
        if self._file is None:
            return
        try:
            saved: dict[str, Any] = self._file.load() or {}
            if saved.get("signed_by") == self._signed_by():
                self._open = {session.id: session for session in map(self._loaded, saved["open"])}
        # The open sessions are unknown, so that all are ended.
        except StateError as error:
            self._open = {}
            _log.warning("admin.sessions.unreadable", reason=str(error))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self._open = {}
            _log.warning("admin.sessions.corrupt", reason=str(error))

    def _loaded(self, saved: dict[str, Any]) -> Session:
        opened_at, ends_at, via, address = (saved[name] for name in ("opened_at", "ends_at", "via", "address"))
        if type(opened_at) not in (int, float) or type(ends_at) not in (int, float) or not isinstance(address, str):
            raise TypeError("not a session")
        if len(bytes.fromhex(saved["id"])) != _ID_BYTES or via not in get_args(Via):
            raise ValueError("not a session")
        ends_at = min(float(ends_at), opened_at + self._lifetime_seconds)  # the setting may be shorter now
        return Session(saved["id"], float(opened_at), ends_at, via, address)


def cookies(headers: Iterable[tuple[bytes, bytes]], name: str) -> Iterator[str]:
    """The values of all cookies of this name. Their number is limited by the size of a request alone, and a value of
    another length than ours costs nothing."""
    for header, value in headers:
        if header == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                key, equals, content = pair.partition("=")
                if equals and key.strip() == name:
                    yield content.strip()


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
