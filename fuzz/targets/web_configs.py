"""Web configurations: a file is read as values in their domain, or refused with its name and none of its secrets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from exporter.errors import SettingsError
from exporter.web_config.file import BCRYPT, CIPHERS, HEADERS, read_file
from fuzz.inputs import damaged, joined, nested
from fuzz.target import ByteTarget, Check

SECRET = b"hunter2-canary"
"""Where a secret stands in an input; no message may hold it."""

DEEPEST = 400
"""Levels of nesting beyond PyYAML's reach, which takes a time that grows with their square."""

HASH = b"$2b$10$" + b"abcdefghijklmnopqrstuv" + b"0123456789ABCDEFGHIJKLMNOPQRSTU"


@contextmanager
def opened(directory: Path) -> Iterator[Check]:
    """The check, with a file."""
    file = directory / "web.yml"

    def check(content: bytes) -> None:
        file.write_bytes(content)
        try:
            config = read_file(file)
        except SettingsError as error:
            message = str(error)
            assert all(line.startswith(f"{file}: ") for line in message.splitlines()), message
            assert SECRET.decode() not in message or _is_a_key(content), message
            return
        assert SECRET.decode() not in repr(config) or _is_a_key(content)
        rate = config.rate_limit
        assert math.isfinite(rate.interval)
        assert rate.interval >= 0 <= rate.burst
        for hashed in config.basic_auth_users.values():
            assert BCRYPT.fullmatch(hashed.get_secret_value())
        for name, value in config.http_server_config.headers.items():
            assert name in HEADERS
            assert value.isascii()
            assert value.isprintable()
        assert set(config.tls_server_config.cipher_suites) <= set(CIPHERS)

    yield check


def _is_a_key(content: bytes) -> bool:
    """Whether the secret may be elsewhere than in a secret's place: as a key, a file name, or a value in the open."""
    places = content.count(SECRET)
    return places != content.count(b"key: " + SECRET) + content.count(b"u: " + SECRET)


_scalars = st.sampled_from(
    [
        b"1",
        b"-1",
        b"1s",
        b"1h30m",
        b"x",
        b"''",
        b"null",
        b"~",
        b"true",
        b"2001-01-01",
        b"0b",
        b"1:60",
        b".inf",
        b"*a",
        b"&a 1",
        b"!!int ''",
        b"!!float ''",
        b"!!bool x",
        b"!!timestamp x",
        b"!!binary x",
        b"!!python/name:os",
        b"9" * 5000,
        HASH,
        b"TLS12",
        b"nosniff",
        b"[]",
        b"{}",
        b"9" * 400 + b"s",
    ]
)
_keys = st.sampled_from(
    [
        b"tls_server_config",
        b"http_server_config",
        b"basic_auth_users",
        b"rate_limit",
        b"  headers",
        b"  interval",
        b"  burst",
        b"  cert_file",
        b"  min_version",
        b"  cipher_suites",
        b"  X-Frame-Options",
        b"  u",
        b"x",
        b"? [a]",
    ]
)
_lines = st.builds(lambda key, value: key + b": " + value, _keys, st.one_of(_scalars, st.just(b"")))
_secrets = st.sampled_from([b"basic_auth_users:\n  u: " + SECRET, b"tls_server_config:\n  key: " + SECRET])

TARGET = ByteTarget(
    name="web-configs",
    promise="A web configuration gives values in their domain, or one line per problem with the file's name and none of"
    " its secrets.",
    opened=opened,
    inputs=damaged(
        joined(b"\n", _lines, _secrets, nested(b"[", b"]", DEEPEST), nested(b"{a: ", b"}", DEEPEST)),
        (b":", b"\t", b"- ", b"'", b'"', b"&a ", b"*a", b"!", b"\xff", b"\0", b"%", b"|", b"\xc2\x85"),
    ),
    seeds=(
        (
            b"tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n  min_version: TLS13\n"
            b"  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"
        ),
        b"basic_auth_users:\n  u: " + HASH + b"\nhttp_server_config:\n  headers:\n    X-Frame-Options: deny\n",
        b"rate_limit:\n  interval: 1m30s\n  burst: 5\n",
        b"tls_server_config:\n  key: " + SECRET + b"\n",
        b"basic_auth_users:\n  u: " + SECRET + b"\n",
        b"a: !!str &b [*b]\n",
    ),
    words=(
        b"!!int ",
        b"!!float ",
        b"!!bool ",
        b"!!timestamp ",
        b"!!set ",
        b"!!omap ",
        b"rate_limit: ",
        b"interval: ",
        b"<<: ",
    ),
)
