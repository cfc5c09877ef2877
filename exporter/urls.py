"""Connection URLs of PostgreSQL, Redis and HTTP servers: read, checked and shown in this one place.

    settings (check, show) -> urls (this) -> redis_options

A URL is read in the same way as by its client: PostgreSQL's by libpq itself. A URL in which a character of a password
may have been taken for a delimiter is refused, so that no other host, port or database is contacted and no part of the
password is printed. The printable form consists of scheme, host, port, database and path alone. Error messages contain
no part of a URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from itertools import zip_longest
from urllib.parse import SplitResult, quote, unquote, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from exporter.redis_options import read_options

ESCAPES = (
    "in user and password write / as %2F, ? as %3F, # as %23, @ as %40, : as %3A, % as %25, [ as %5B, ] as %5D and"
    " a space as %20"
)
POSTGRES_EXAMPLE = "postgresql://user:password@host:5432/database"
REDIS_EXAMPLES = "redis://:password@host:6379/0, rediss://user:password@host:6379/0, unix:///run/redis.sock?db=0"
WEB_EXAMPLE = "http://grafana:3000"

HOST_AND_PORT = "should name a host, and a port that is a number from 1 to 65535"

SERVER = re.compile(r"(\[(?P<address>[^][]*:[^][]*)\]|(?P<name>[^][:]*))(:(?P<port>[^:]*))?")
NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


class InvalidUrl(ValueError):
    """A refused URL; the message names the problem and the remedy, and contains no part of the URL."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server: a host's name or address, or the path of a Unix socket, and a port; empty and None are defaults."""

    host: str
    port: int | None = None

    @property
    def is_socket(self) -> bool:
        """Whether it is a Unix socket's path (or the name of an abstract socket)."""
        return self.host.startswith(("/", "@"))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and not self.is_socket else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """One or more servers of PostgreSQL, in the order in which they are tried."""

    places: Sequence[Endpoint]
    database: str

    def __str__(self) -> str:
        database = quote(self.database, safe="")
        if not any(place.is_socket for place in self.places):
            return f"postgresql://{','.join(map(str, self.places))}/{database}"
        ports = ",".join("" if place.port is None else str(place.port) for place in self.places)
        hosts = quote(",".join(place.host for place in self.places), safe="/,:@")
        return f"postgresql:///{database}?host={hosts}" + (f"&port={ports}" if ports.strip(",") else "")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A server of Redis, by `redis`, `rediss` (TLS) or `unix` (`place` is then the socket's path)."""

    scheme: str
    place: Endpoint
    database: int
    options: Mapping[str, object] = field(repr=False)
    """redis-py's own arguments for a connection of that kind: address, database, credentials, time limits, TLS."""

    def __str__(self) -> str:
        if self.place.is_socket:
            return f"unix://{self.place}?db={self.database}"
        return f"{self.scheme}://{self.place}/{self.database}"


@dataclass(frozen=True, slots=True)
class WebUrl:
    """An HTTP server."""

    scheme: str
    place: Endpoint
    path: str

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.place}"

    def __str__(self) -> str:
        return self.origin + self.path


def read_postgres(text: str) -> PostgresUrl:
    """Read the servers and the database of a libpq URL or keyword string (`host=... dbname=...`). Raises InvalidUrl."""
    if text.startswith(("postgresql://", "postgres://")):
        _check_characters(text, POSTGRES_EXAMPLE)
        _check_postgres_delimiters(text.partition("://")[2])
    elif "\0" in text or not _is_unicode(text):
        raise _refused("holds a character that is not text", POSTGRES_EXAMPLE)
    try:
        parts = conninfo_to_dict(text)
    except (ProgrammingError, ValueError):  # libpq's message repeats the URL, password included
        raise _refused("should be a URL", POSTGRES_EXAMPLE) from None
    hosts, addresses, ports = (str(parts.get(name) or "").split(",") for name in ("host", "hostaddr", "port"))
    names = [host or address for host, address in zip_longest(hosts, addresses, fillvalue="")]
    if len(ports) not in (1, len(names)):
        raise _refused("should have one port, or as many as hosts", POSTGRES_EXAMPLE)
    ports = ports * len(names) if len(ports) == 1 else ports
    places = [
        Endpoint(_postgres_host(name), _port(port, POSTGRES_EXAMPLE)) for name, port in zip(names, ports, strict=True)
    ]
    database = str(parts.get("dbname") or "")
    if "@" in database:
        raise _refused("has an @ in its database", POSTGRES_EXAMPLE)
    return PostgresUrl(places, database)


def read_redis(text: str) -> RedisUrl:
    """Read the server, database and options of a Redis URL. Raises InvalidUrl, also for unusable certificate files."""
    parts = _split(text, REDIS_EXAMPLES)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise _refused("should begin with redis://, rediss:// or unix://", REDIS_EXAMPLES)
    try:
        options = read_options(parts.query, parts.scheme)
    except ValueError as error:
        raise InvalidUrl(str(error)) from None
    for name, given in (("username", parts.username), ("password", parts.password)):
        if given and name in options:
            raise InvalidUrl(f"option {name}: stands before the host as well")
        if given:
            options[name] = _decoded(given, REDIS_EXAMPLES)
    database = _redis_database(parts, options.get("db"))
    if parts.scheme == "unix":
        place = Endpoint(_socket(parts))
        return RedisUrl(parts.scheme, place, database, {**options, "db": database, "path": place.host})
    place = _place(parts, REDIS_EXAMPLES, port=6379)
    where = {"host": place.host, "port": place.port}
    return RedisUrl(parts.scheme, place, database, {**options, "db": database, **where})


def read_web(text: str) -> WebUrl:
    """Read the server of an http or https URL, with or without credentials. Raises InvalidUrl."""
    if not text.startswith(("http://", "https://")):
        raise InvalidUrl("should begin with http:// or https://")
    parts = _split(text, WEB_EXAMPLE)
    if parts.query or text.endswith("?"):
        raise _refused("should have no ?", WEB_EXAMPLE)
    for given in (parts.username, parts.password):
        _decoded(given or "", WEB_EXAMPLE)
    return WebUrl(parts.scheme, _place(parts, WEB_EXAMPLE, port=None), parts.path)


def _split(text: str, example: str) -> SplitResult:
    """Return the parts of a URL whose user and password end at the last @ before the path."""
    _check_characters(text, example)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _refused(HOST_AND_PORT, example) from None
    if "#" in text:
        raise _refused("should have no #", example)
    if "@" in parts.query or "@" in unquote(parts.path):
        raise _refused("has an @ after its host", example)
    return parts


def _place(parts: SplitResult, example: str, port: int | None) -> Endpoint:
    """Return host and port; `port` is the default."""
    found = SERVER.fullmatch(parts.netloc.rpartition("@")[2])
    host = unquote(found["address"] or found["name"]).lower() if found else ""
    if found is None or not _is_host(host):
        raise _refused(HOST_AND_PORT, example)
    return Endpoint(host, _port(found["port"] or "", example) or port)


def _socket(parts: SplitResult) -> str:
    path = _decoded(parts.path, REDIS_EXAMPLES)
    if parts.netloc.rpartition("@")[2] or not path.startswith("/") or path == "/" or not path.isprintable():
        raise _refused("should name a socket's path after three slashes", REDIS_EXAMPLES)
    return path


def _redis_database(parts: SplitResult, option: object) -> int:
    """Return the database in the path; `option` is the database in the query, which must be the same."""
    path = "" if parts.scheme == "unix" else parts.path.removeprefix("/")
    if not path:
        return int(option) if isinstance(option, int) else 0
    if not (path.isascii() and path.isdecimal()):
        raise _refused("should have a number for its database", REDIS_EXAMPLES)
    if option is not None and option != int(path):
        raise InvalidUrl("option db: is another database than the one in the path")
    return int(path)


def _check_characters(text: str, example: str) -> None:
    """Refuse blanks and control characters: some clients remove blanks or cut the text there, and control characters
    end it for others."""
    if not text.isprintable() or any(map(str.isspace, text)):
        raise _refused("holds a space, a newline or another character that is not printed", example)


def _check_postgres_delimiters(rest: str) -> None:
    """Refuse ambiguous delimiters. For libpq, user and password end at the first @, if no / comes before it."""
    user, at, after = rest.partition("@")
    if "@" in after or (at and "/" in user):
        raise _refused("has an @ after its host", POSTGRES_EXAMPLE)
    if at and "=" in user.partition("?")[2]:  # options after a host, perhaps, one of them with an @
        raise _refused("has a ? before its @", POSTGRES_EXAMPLE)


def _postgres_host(host: str) -> str:
    """Return the host; empty means libpq's default."""
    if host.startswith(("/", "@")):
        if "@" in host[1:] or not host.isprintable():
            raise _refused("has an @ in the path of its socket", POSTGRES_EXAMPLE)
    elif host and not _is_host(host):
        raise _refused("should name a host", POSTGRES_EXAMPLE)
    return host


def _port(port: str, example: str) -> int | None:
    """Return the port; None for an empty one, the default."""
    if port and not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) <= 65535):
        raise _refused(HOST_AND_PORT, example)
    return int(port) if port else None


def _is_host(host: str) -> bool:
    """Return whether a resolver accepts the host: a name of ASCII letters, or an address."""
    try:
        if ":" in host:
            return host.isascii() and host.isprintable() and "/" not in host and bool(IPv6Address(host))
        if NAME.fullmatch(host) is None:
            return False
        return not host.rstrip(".").rpartition(".")[2].isdecimal() or bool(IPv4Address(host))
    except ValueError:
        return False


def _decoded(text: str, example: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _refused("has a %.. that is not UTF-8", example) from None


def _is_unicode(text: str) -> bool:
    """Return whether the text was UTF-8 in the environment."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(problem: str, example: str) -> InvalidUrl:
    return InvalidUrl(f"{problem} (example: {example}); {ESCAPES}")
