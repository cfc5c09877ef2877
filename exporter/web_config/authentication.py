"""`basic_auth_users`: passwords checked with bcrypt, one at a time in a thread, and remembered.

A check takes a tenth of a second or more by design. A right password is computed once; wrong ones neither displace it
nor delay other clients' for long.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from http import HTTPStatus

import bcrypt

PASSWORD_BYTES = 72
"""bcrypt's limit; exporter-toolkit ignores further bytes, too."""

REMEMBERED = 256
WAITING = 4
"""Checks of one address that wait at once: other addresses' checks come between them."""


class BasicAuthUsers:
    """The users of one configuration, and the passwords that were checked."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = {name: text.encode() for name, text in hashes.items()}
        cost = max((text.split("$")[2] for text in hashes.values()), default="10")
        # Of no password, as costly as the users' own: an unknown name takes as long as a known one.
        self._of_nobody = f"$2b${cost}$".encode() + b"abcdefghijklmnopqrstuu" + b"." * 31
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()
        self._waiting: dict[str, int] = {}

    async def check(self, authorization: bytes | None, address: str) -> HTTPStatus:
        """Return OK, UNAUTHORIZED, or TOO_MANY_REQUESTS while that address waits for other checks."""
        given = _read(authorization)
        if given is None:
            return HTTPStatus.UNAUTHORIZED
        name, password = given
        known = self._hashes.get(name.decode("utf-8", "replace"))
        seen = hashlib.blake2b(b"%d:%s:%s" % (len(name), name, password), key=self._key).digest()
        if seen in self._right:
            return HTTPStatus.OK
        if seen in self._wrong:
            return HTTPStatus.UNAUTHORIZED
        if self._waiting.get(address, 0) >= WAITING:
            return HTTPStatus.TOO_MANY_REQUESTS
        self._waiting[address] = self._waiting.get(address, 0) + 1
        try:
            async with self._one_at_a_time:
                matches = await asyncio.to_thread(_matches, password, known or self._of_nobody)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
        right = matches and known is not None
        remembered = self._right if right else self._wrong
        remembered[seen] = None
        if len(remembered) > REMEMBERED:
            remembered.popitem(last=False)
        return HTTPStatus.OK if right else HTTPStatus.UNAUTHORIZED


def _matches(password: bytes, hashed: bytes) -> bool:
    return bcrypt.checkpw(password[:PASSWORD_BYTES], hashed)


def _read(authorization: bytes | None) -> tuple[bytes, bytes] | None:
    """Name and password of a header; None where it has none."""
    scheme, _, encoded = (authorization or b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (name, password) if colon else None
