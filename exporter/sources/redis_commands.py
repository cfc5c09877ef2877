"""Commands to Redis in the form of its protocol, packed for many keys at once.

redis commands (this) -> redis.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def packed(*words: bytes) -> bytes:
    """Return a command in the form of the protocol."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def packer(command: str, arguments: Sequence[str] = ()) -> Callable[[Sequence[bytes]], bytes]:
    """Return a function that packs a command for each of many keys: all parts but the key are constant."""
    before, after = packed(command.encode(), b"KEY", *(a.encode() for a in arguments)).split(b"$3\r\nKEY\r\n", 1)
    return lambda keys: b"".join([b"%b$%d\r\n%b\r\n%b" % (before, len(key), key, after) for key in keys])


def scan(pattern: str, cursor: bytes | None, count: int) -> bytes:
    """Return the SCAN command that continues at the cursor; nothing at the end."""
    if cursor is None:
        return b""
    return packed(b"SCAN", cursor, b"MATCH", pattern.encode(), b"COUNT", str(count).encode())
