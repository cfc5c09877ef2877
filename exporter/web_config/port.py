"""The present configuration of one port: checked at the start, re-read when one of its files changes.

    file, tls, authentication -> port (this) -> __main__ gives it to httpd

A file that is wrong at a later reading changes nothing, and one event says why. A change that would end the port's TLS
or its passwords, or begin its TLS, needs a restart: a file that is being rewritten may be empty for a moment.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter import disk
from exporter.errors import SettingsError
from exporter.settings import Settings
from exporter.web_config.authentication import BasicAuthUsers
from exporter.web_config.file import RequestRate, WebConfig, read_file
from exporter.web_config.tls import build_context, names_of

LOOK_SECONDS = 0.5
"""The interval at which the files' times are looked at. A change is used once two looks saw the same."""

_log = structlog.get_logger()

State = tuple[tuple[int, ...] | None, ...]


class _Loaded:
    """One reading of the file."""

    def __init__(self, file: Path) -> None:
        self.config: WebConfig = read_file(file)
        tls = self.config.tls_server_config
        try:
            self.context = build_context(tls, file.parent) if tls.is_used else None
        except SettingsError as error:
            raise SettingsError(f"{file}: {error}") from None
        names = (tls.cert_file, tls.key_file, tls.client_ca_file)
        self.files = (file, *(file.parent / name for name in names if name))
        self.sans = None if tls.client_allowed_sans is None else frozenset(tls.client_allowed_sans)
        self.users = BasicAuthUsers(
            {n: secret.get_secret_value() for n, secret in self.config.basic_auth_users.items()}
        )
        self.headers = [
            (name.lower().encode(), value.encode())
            for name, value in self.config.http_server_config.headers.items()
            if value
        ]
        limit = self.config.rate_limit
        self.bucket = _Bucket(limit) if limit.interval else None


class PortConfig:
    """The configuration of one port."""

    def __init__(self, file: Path, port: str, setting: str) -> None:
        """`port`: its name in events; `setting`: what names the file. Raises SettingsError."""
        self._file, self._port = file, port
        try:
            self._now = _Loaded(file)
        except SettingsError as error:
            raise SettingsError("\n".join(f"{setting}: {line}" for line in str(error).splitlines())) from None
        self._seen = self._used = _look(self._now.files)
        self._problem = ""
        if self._now.config.http_server_config.http2:
            _log.warning("web.config.unsupported", port=port, file=str(file), key="http_server_config.http2")

    @property
    def scheme(self) -> str:
        """`https` or `http`."""
        return "http" if self._now.context is None else "https"

    @property
    def has_passwords(self) -> bool:
        """Whether a request needs a name and a password."""
        return bool(self._now.config.basic_auth_users)

    @property
    def needs_certificate(self) -> bool:
        """Whether a client needs a certificate."""
        return self._now.context is not None and self._now.context.verify_mode is ssl.CERT_REQUIRED

    @property
    def file(self) -> Path:
        """The file."""
        return self._file

    @property
    def context(self) -> ssl.SSLContext | None:
        """The context of a new connection; None without TLS."""
        return self._now.context

    def admits(self, transport: asyncio.BaseTransport) -> bool:
        """Whether the client's certificate has an allowed name, where names are listed."""
        if self._now.sans is None:
            return True
        connection = transport.get_extra_info("ssl_object")
        certificate = connection.getpeercert() if connection is not None else None
        return certificate is not None and not self._now.sans.isdisjoint(names_of(certificate))

    async def run(self) -> None:
        """Re-read changed files until cancelled; in a thread, as a disk may hang."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await disk.run(self._reread)

    def _reread(self) -> None:
        """Use a changed file. While it is wrong, it is read at each look: a file that it names may be missing."""
        before, self._seen = self._seen, _look(self._now.files)
        if self._seen != before or (self._seen == self._used and not self._problem):
            return
        self._used = self._seen
        try:
            loaded = _Loaded(self._file)
            _check_change(self._file, self._now, loaded)
        except SettingsError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.error("web.config.refused", port=self._port, reason=self._problem)
            return
        self._now, self._problem = loaded, ""
        self._seen = self._used = _look(loaded.files)
        _log.info("web.config.reread", port=self._port, file=str(self._file))

    def protect(self, app: ASGIApp) -> ASGIApp:
        """The application behind the rate limit and the passwords, with the headers."""

        async def protected(scope: Scope, receive: Receive, send: Send) -> None:
            now = self._now
            if now.bucket is not None and not now.bucket.take():
                await _refuse(send, HTTPStatus.TOO_MANY_REQUESTS)
                return
            answer = _with_headers(send, now.headers) if now.headers else send
            # An inner state of its own: no response of a protected port may be sent without these checks.
            inner = {**scope, "state": {}}
            if now.config.basic_auth_users:
                given = [value for name, value in scope["headers"] if name == b"authorization"]
                address = scope["client"][0] if scope.get("client") else ""
                status = await now.users.check(given[0] if len(given) == 1 else None, address)
                if status is not HTTPStatus.OK:
                    await _refuse(answer, status)
                    return
                inner["headers"] = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
            await app(inner, receive, answer)

        return protected


def read_configs(settings: Settings, flag: Path | None = None) -> dict[str, PortConfig | None]:
    """Return the configuration of each port; `flag` is the file of `--web.config.file`. Raises SettingsError."""
    files = {
        "metrics": (flag, "--web.config.file")
        if flag is not None
        else (settings.web_config_file, "HIVESYNC_WEB_CONFIG_FILE"),
        "admin": (settings.admin_web_config_file, "HIVESYNC_ADMIN_WEB_CONFIG_FILE"),
    }
    return {port: PortConfig(file, port, name) if file else None for port, (file, name) in files.items()}


def _look(files: tuple[Path, ...]) -> State:
    """The identity and the time of each file; None for one that is not there."""
    states: list[tuple[int, ...] | None] = []
    for file in files:
        try:
            found = file.stat()
        except OSError:
            states.append(None)
        else:
            states.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
    return tuple(states)


def _check_change(file: Path, before: _Loaded, after: _Loaded) -> None:
    if (before.context is None) != (after.context is None):
        raise SettingsError(f"{file}: tls_server_config: TLS begins or ends with a restart only")
    if before.config.basic_auth_users and not after.config.basic_auth_users:
        raise SettingsError(f"{file}: basic_auth_users: the passwords end with a restart only")


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    names = {name for name, _ in headers}

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", ()) if bytes(pair[0]).lower() not in names]
            message = {**message, "headers": [*kept, *headers]}
        await send(message)

    return sending


async def _refuse(send: Send, status: HTTPStatus) -> None:
    body = f"{status.phrase}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Basic realm="hivesync-analytics"'))
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Bucket:
    """A token bucket: `burst` requests at once, and one more per interval."""

    def __init__(self, limit: RequestRate, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._tokens, self._at = float(limit.burst), clock()

    def take(self) -> bool:
        """Whether there is a token for a request, which is then used."""
        now = self._clock()
        self._tokens = min(float(self._limit.burst), self._tokens + (now - self._at) / self._limit.interval)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
