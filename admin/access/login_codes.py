"""One-time codes: a login for whoever can run a command on this machine, without handing a credential to a browser.

    control socket -> codes (this) -> a link with the code in its fragment -> login

A code is random, works once, and for ten minutes. Only its hash is kept, in memory.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable

LIFETIME_SECONDS = 600.0
CODES_AT_MOST = 100
"""Open at once; beyond that the oldest is forgotten."""

_CODE_BYTES = 32


class LoginCodes:
    """Codes that were given out and not used yet; `clock` never goes back (seconds)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends_at: OrderedDict[bytes, float] = OrderedDict()

    def issue(self) -> str:
        """A new code, safe in a URL."""
        self._forget_old()
        while len(self._ends_at) >= CODES_AT_MOST:
            self._ends_at.popitem(last=False)
        code = secrets.token_urlsafe(_CODE_BYTES)
        self._ends_at[_hashed(code)] = self._clock() + LIFETIME_SECONDS
        return code

    def redeem(self, code: str) -> bool:
        """Whether the code is good; it is not from now on."""
        self._forget_old()
        return self._ends_at.pop(_hashed(code), None) is not None

    def _forget_old(self) -> None:
        now = self._clock()
        while self._ends_at and next(iter(self._ends_at.values())) <= now:
            self._ends_at.popitem(last=False)


def _hashed(code: str) -> bytes:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).digest()
