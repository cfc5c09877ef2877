"""Options of a Redis URL, the part after its `?`: read and checked, by redis-py's names.

    urls -> redis_options (this) -> sources/redis

A URL is often shared with an application, so every URL option of redis-py is accepted. Options that would change the
decoding of answers or the number of connections have no effect: the exporter sets these itself.
"""

from __future__ import annotations

import inspect
import os
import re
import ssl
from collections.abc import Callable, Mapping
from importlib.metadata import version
from math import isfinite
from typing import Any
from urllib.parse import unquote

from redis.asyncio.connection import SSLConnection

Reader = Callable[[str], Any]
"""Reads a value; raises ValueError with the expected form."""

FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
REQUIREMENTS = {"none": "none", "optional": "optional", "required": "required"}
REQUIREMENTS |= {f"cert_{name}": name for name in REQUIREMENTS}  # Celery's names


def read_options(query: str, scheme: str) -> dict[str, Any]:
    """Return the options as arguments of redis-py's connections for this scheme (`redis`, `rediss`, `unix`).

    Raises ValueError that names the option, and repeats no value.
    """
    readers = _BY_SCHEME[scheme]
    options: dict[str, Any] = {}
    given = [part.partition("=") for part in query.split("&") if part]
    secret = any(name.endswith("password") for name, _, _ in given)
    for name, _, text in given:
        if name not in readers and name in _BY_SCHEME["rediss"]:
            raise ValueError(f"option {name}: is not for a {scheme}:// URL")
        if name not in readers:
            # After a password with an unescaped &, its rest would be taken for a name.
            shown = f"option {name}" if re.fullmatch("[a-z_]{1,40}", name) and not secret else "an option"
            raise ValueError(f"{shown}: is not known")
        if name in options:
            raise ValueError(f"option {name}: is given twice")
        try:
            options[name] = readers[name](_decoded(text))
        except ValueError as error:
            raise ValueError(f"option {name}: {error}") from None
    _check_tls(options)
    for name in options.keys() & _TLS.keys() - SUPPORTED:
        raise ValueError(f"option {name}: is not supported by redis-py {version('redis')}; install a newer one")
    return {name: value for name, value in options.items() if name not in _WITHOUT_EFFECT}


def _decoded(text: str) -> str:
    if not text:
        raise ValueError("should have a value")
    if "+" in text:
        raise ValueError("should have no +, which means a space to some: write + as %2B")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("should be UTF-8") from None


def _flag(text: str) -> bool:
    if text.lower() not in FLAGS:
        raise ValueError("should be true or false")
    return FLAGS[text.lower()]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not (isfinite(seconds) and seconds > 0):
        raise ValueError("should be a number of seconds above 0")
    return seconds


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("should be a whole number")
    return int(text)


def _protocol(text: str) -> int:
    if text not in ("2", "3"):
        raise ValueError("should be 2 or 3")
    return int(text)


def _requirement(text: str) -> str:
    if text.lower() not in REQUIREMENTS:
        raise ValueError("should be none, optional or required, or CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED")
    return REQUIREMENTS[text.lower()]


def _tls_version(text: str) -> ssl.TLSVersion:
    try:
        return ssl.TLSVersion(int(text))
    except ValueError:
        known = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
        raise ValueError("should be " + " or ".join(f"{v.value} ({v.name})" for v in known)) from None


def _verify_flags(text: str) -> list[ssl.VerifyFlags]:
    names = [name.strip() for name in text.strip("[]").split(",")]
    unknown = [name for name in names if name not in ssl.VerifyFlags.__members__]
    if unknown:
        raise ValueError("should be names of ssl.VerifyFlags, separated by commas")
    return [ssl.VerifyFlags[name] for name in names]


_ALWAYS: Mapping[str, Reader] = {
    "db": _whole,
    "username": str,
    "password": str,
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
}
_WITHOUT_EFFECT: Mapping[str, Reader] = {
    "client_name": str,
    "decode_responses": _flag,
    "encoding": str,
    "encoding_errors": str,
    "health_check_interval": _whole,
    "legacy_responses": _flag,
    "lib_name": str,
    "lib_version": str,
    "max_connections": _whole,
    "protocol": _protocol,
    "retry_on_timeout": _flag,
    "socket_read_size": _whole,
    "timeout": _seconds,
}
_TCP: Mapping[str, Reader] = {"socket_keepalive": _flag}
_TLS: Mapping[str, Reader] = {
    "ssl_ca_certs": str,
    "ssl_ca_data": str,
    "ssl_ca_path": str,
    "ssl_cert_reqs": _requirement,
    "ssl_certfile": str,
    "ssl_check_hostname": _flag,
    "ssl_ciphers": str,
    "ssl_exclude_verify_flags": _verify_flags,
    "ssl_include_verify_flags": _verify_flags,
    "ssl_keyfile": str,
    "ssl_min_version": _tls_version,
    "ssl_password": str,
}


SUPPORTED = frozenset(_TLS) & inspect.signature(SSLConnection.__init__).parameters.keys()
"""The options of TLS that the installed redis-py has: some came with versions 7 and 8."""

_BY_SCHEME: Mapping[str, Mapping[str, Reader]] = {
    "redis": {**_ALWAYS, **_WITHOUT_EFFECT, **_TCP},
    "rediss": {**_ALWAYS, **_WITHOUT_EFFECT, **_TCP, **_TLS},
    "unix": {**_ALWAYS, **_WITHOUT_EFFECT},
}


def _check_tls(options: Mapping[str, Any]) -> None:
    """Load the named files, which redis-py would do at the first connection."""
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ValueError("option ssl_keyfile: needs ssl_certfile as well")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    loads: Mapping[str, tuple[Callable[[Any], object], str]] = {
        "ssl_ca_certs": (lambda path: context.load_verify_locations(cafile=path), "a file of certificates (PEM)"),
        "ssl_ca_path": (os.listdir, "a directory of certificates"),
        "ssl_ca_data": (lambda text: context.load_verify_locations(cadata=text), "certificates (PEM)"),
        "ssl_certfile": (
            lambda path: context.load_cert_chain(
                path,
                options.get("ssl_keyfile"),
                options.get("ssl_password", ""),  # without a password, OpenSSL would ask for it at the terminal
            ),
            "a certificate (PEM) with its key, there or in ssl_keyfile, which ssl_password opens",
        ),
        "ssl_ciphers": (context.set_ciphers, "names of ciphers as OpenSSL has them"),
    }
    for name, (load, meaning) in loads.items():
        if name in options:
            try:
                load(options[name])
            except (OSError, ValueError):
                raise ValueError(f"option {name}: should be {meaning}, and readable") from None
