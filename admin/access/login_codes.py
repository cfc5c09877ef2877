"""One-time login codes, for a login from the command line without a credential in the browser.

    control socket -> login codes (this) -> a link with the code in its fragment -> login

A code is random, and valid once within ten minutes. Only its hash is kept, in memory.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable

LIFETIME_SECONDS = 600.0
CODES_AT_MOST = 100
"""The most valid codes; the oldest is dropped first."""

_CODE_BYTES = 32


class LoginCodes:
    """Codes that were issued and not used yet; `clock` is monotonic (seconds)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends_at: OrderedDict[bytes, float] = OrderedDict()

    def issue(self) -> str:
        """Issue a code, safe in a URL."""
        self._forget_old()
        while len(self._ends_at) >= CODES_AT_MOST:
            self._ends_at.popitem(last=False)
        code = secrets.token_urlsafe(_CODE_BYTES)
        self._ends_at[_hashed(code)] = self._clock() + LIFETIME_SECONDS
        return code

    def redeem(self, code: str) -> bool:
        """Whether the code is valid; it is invalid from now on."""
        self._forget_old()
        return self._ends_at.pop(_hashed(code), None) is not None

    def _forget_old(self) -> None:
        now = self._clock()
        while self._ends_at and next(iter(self._ends_at.values())) <= now:
            self._ends_at.popitem(last=False)


def _hashed(code: str) -> bytes:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).digest()
