"""Commands to Redis in the form of its protocol, packed for many keys at once.

redis commands (this) -> redis.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum


class Command(StrEnum):
    """Every command to which the user of the exporter needs a right (docs/operating.md#redis-and-the-logs)."""

    SCAN = "SCAN"
    HMGET = "HMGET"
    GETRANGE = "GETRANGE"
    LLEN = "LLEN"
    HLEN = "HLEN"
    ZRANGE = "ZRANGE"
    TIME = "TIME"
    INFO = "INFO"
    SET_NAME = "CLIENT|SETNAME"

    @property
    def right(self) -> str:
        """The right, as an ACL grants it."""
        return f"+{self.value.lower()}"


def packed(*words: bytes) -> bytes:
    """Return a command in the form of the protocol."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def packer(command: Command, arguments: Sequence[str] = ()) -> Callable[[Sequence[bytes]], bytes]:
    """Return a function that packs a command for each of many keys: all parts but the key are constant."""
    before, after = packed(command.encode(), b"KEY", *(a.encode() for a in arguments)).split(b"$3\r\nKEY\r\n", 1)
    return lambda keys: b"".join([b"%b$%d\r\n%b\r\n%b" % (before, len(key), key, after) for key in keys])


def scan(pattern: str, cursor: bytes | None, count: int) -> bytes:
    """Return the SCAN command that continues at the cursor; nothing at the end."""
    if cursor is None:
        return b""
    return packed(Command.SCAN.encode(), cursor, b"MATCH", pattern.encode(), b"COUNT", str(count).encode())
