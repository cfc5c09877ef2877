"""Settings: a `.env` file, or the environment, gives settings in their domain, or problems by name without a secret.

Secrets stand in an input as SECRET. Where a mutation has moved one to a setting that is no secret, it may be shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dotenv import dotenv_values
from hypothesis import strategies as st

from admin.access.authentication import admin_credentials
from admin.access.hosts import host_names
from admin.access.origins import build_origins
from admin.access.tokens import Authenticator
from exporter.errors import SettingsError
from exporter.queue_keys import Lists
from exporter.settings import PREFIX, SECRETS, URLS, Settings, read_settings, unknown_variables
from exporter.sources.redis import Redis
from fuzz.inputs import damaged, joined
from fuzz.target import ByteTarget, Check

SECRET = "hunter2canary"  # noqa: S105 - stands for one

NAMES = tuple(PREFIX + name.upper() for name in Settings.model_fields)
URL_NAMES = {PREFIX + name.upper() for name in URLS}
SECRET_NAMES = {PREFIX + name.upper() for name in SECRETS} | URL_NAMES
REQUIRED = {"HIVESYNC_DATABASE_URL": "postgresql://u@127.0.0.1/d", "HIVESYNC_REDIS_URL": "redis://127.0.0.1"}


@contextmanager
def opened(directory: Path) -> Iterator[Check]:
    """The check, with a file and an environment without settings."""
    file = directory / "env"
    before = dict(os.environ)
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        del os.environ[name]

    def check(content: bytes) -> None:
        if any(device in content for device in (b"/dev", b"/proc", b"/sys")):  # a device as a file may never end
            return
        file.write_bytes(content)
        _check_reading(file, _written(file))
        variables = _variables(content)
        file.write_bytes(b"")
        with _environment(variables):
            _check_reading(file, variables)

    try:
        yield check
    finally:
        os.environ.clear()
        os.environ.update(before)


def _check_reading(file: Path, variables: Mapping[str, str | None]) -> None:
    holding = {name.upper(): f"{value}" for name, value in variables.items() if SECRET in f"{name}{value}"}
    try:
        settings = read_settings(file)
        unknown = unknown_variables(file)
        _use(settings)
    except SettingsError as error:
        said = str(error)
        lines = said.splitlines() or [""]
        unreadable = f"--env-file: {file}: cannot be read"
        assert lines[0].startswith(unreadable if not _is_text(file.read_bytes()) else PREFIX), said
        said.encode()
        hidden = holding.keys() <= SECRET_NAMES
    else:
        said = f"{settings.shown()} {settings!r} {unknown}"
        hidden = all(_is_password(name, value) for name, value in holding.items())
    assert not hidden or SECRET not in said, said


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_password(name: str, value: str) -> bool:
    """Whether the secret is nothing but a password: the other parts of a URL are shown."""
    if name in SECRET_NAMES - URL_NAMES:
        return True
    return name in URL_NAMES and value.count(SECRET) == 1 and re.search(f"://[a-z]*:{SECRET}@", value) is not None


def _use(settings: Settings) -> None:
    """Everything that the start of the service builds of settings alone. Raises SettingsError."""
    for address in (settings.metrics_listen, settings.admin_listen):
        assert 0 <= address.port <= 65535
    assert 0.2 <= settings.refresh_seconds <= 600
    assert 0 < settings.admin_session_hours <= 168
    for seconds in (settings.worker_healthy_seconds, settings.worker_forgotten_seconds):
        assert datetime.now(UTC) - timedelta(seconds=seconds) < datetime.now(UTC)
    for path in (settings.ai_events_log, settings.preview_log, settings.state_dir):
        with suppress(OSError):  # a reason to be degraded, or to end with exit status 2
            path.stat()
    Redis(settings.redis_url.get_secret_value())
    for keys in (settings.ai_queue_keys, settings.preview_queue_keys, settings.dead_letter_keys):
        Lists(keys, settings.celery_keys())
    settings.prices()
    Authenticator(admin_credentials(settings))
    build_origins(settings)
    assert all(name == name.lower() for name in host_names(settings))


def _written(file: Path) -> Mapping[str, str | None]:
    try:
        return dotenv_values(file)
    except ValueError:
        return {}


def _variables(content: bytes) -> dict[str, str]:
    """The lines as variables of an environment, in which any bytes but NUL may be."""
    pairs = (line.partition(b"=") for line in content.replace(b"\0", b"").split(b"\n"))
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, equals, value in pairs
        if equals and name.startswith(PREFIX.encode())
    }


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)


_numbers = st.sampled_from(["0", "-1", "0.2", "1_0", "nan", "inf", "1e300", "1e999", "9e15", "x"])
_paths = st.sampled_from(["/usr", "/no/such", "a\0b", "x" * 300, "/etc/hostname", "\udcff", "~", "/root/.."])
_words = st.sampled_from(
    [
        "1",
        "x",
        ",",
        ",,",
        "true",
        "127.0.0.1:0",
        "[::1]:99999",
        ":1",
        "*:1",
        "a.example:80",
        "celery:",
        "celery:a*",
        "{id}",
        "a{id}b{id}",
        "ai_queue:*",
        "https://a.example",
        "https://a.example:99999/x",
        "http://[::1",
        "ftp://x",
        "::/0",
        "10.0.0.0/99",
        "scope=admin",
        "=",
        "=x",
        "a=b",
        "ws_sessions",
        "sessions.kind,ai_events_log",
        "redis",
        "postgres",
        "cpu,gpu",
        "١٢",
        "\\x06",
        "\\xzz",
        "0,3,6,9",
        "0,256",
        "${HOME}",
        "$$",
        "''",
        '"',
        "\ud7ff",
        "a\x00b",
    ]
)
_urls = st.sampled_from(
    [
        f"postgresql://u:{SECRET}@127.0.0.1/d",
        f"postgresql://u:{SECRET}@h:x/d?sslmode=no",
        f"host=h password={SECRET}",
        f"redis://:{SECRET}@127.0.0.1:99999/0",
        f"redis://:{SECRET}@h/x?y=z",
        f"rediss://u:{SECRET}@h",
        f"unix://{SECRET}@/x",
        f"http://u:{SECRET}@h:1/x?y#z",
        f"http://{SECRET}",
        SECRET,
    ]
)


def _line(name: str) -> st.SearchStrategy[bytes]:
    """A line of this setting, with a value of its type or another."""
    kind = str(Settings.model_fields[name.removeprefix(PREFIX).lower()].annotation)
    values = _numbers if "float" in kind else _paths if "Path" in kind else _words
    return st.one_of(values, values, _words).map(lambda value: f"{name}={value}".encode("utf-8", "surrogateescape"))


_lines = st.sampled_from(NAMES).flatmap(_line)
_secrets = st.builds("{}={}".format, st.sampled_from(sorted(SECRET_NAMES)), _urls).map(str.encode)
_required = st.just("\n".join(map("=".join, REQUIRED.items())).encode())

TARGET = ByteTarget(
    name="settings",
    promise="Variables and `.env` give settings in their domain, with which the service starts, or one message (exit"
    " status 2) that begins with the variable; neither shows any part of a secret.",
    opened=opened,
    inputs=damaged(
        st.builds(lambda first, rest: first + b"\n" + rest, _required, joined(b"\n", _lines, _secrets, most=3)),
        (
            b"'",
            b'"',
            b"\\",
            b"\0",
            b"\xff",
            b"\xc3",
            b"${",
            b"#",
            b"\r",
            b",",
            b"@",
            b"%",
            b"%zz",
            b"export ",
            b"=",
            b"/",
            b"?",
            b":",
        ),
    ),
    seeds=(
        *(f"HIVESYNC_DATABASE_URL=postgresql://u:{SECRET}@127.0.0.1/d\n{name}=1\n".encode() for name in NAMES),
        f"HIVESYNC_DATABASE_URL=postgresql://127.0.0.1/d\nHIVESYNC_REDIS_URL=redis://:{SECRET}@127.0.0.1/0\n".encode(),
        b"\n".join(f"{name}={value}".encode() for name, value in REQUIRED.items()),
    ),
    words=(
        *(name.encode() + b"=" for name in NAMES),
        b"_FILE=",
        SECRET.encode(),
        b"\0",
        b"\\x06",
        b"https://",
        b"{id}",
    ),
    examples=150,
)
