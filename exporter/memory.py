"""How the process keeps small and its pauses short: what a start needs once is given back, and not looked at again.

A first pass works on whole histories, a large array at a time. glibc would keep what those leave free, in every thread
anew, in the hope that it is needed again. And Python's collector goes over every object there is from time to time,
which takes a tenth of a second of all that is loaded, while no scrape is answered: what is there once everything is
loaded stays to the end, so it is told to pass over that.

Where there is no glibc, nothing is given back and nothing is wrong.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable

_M_ARENA_MAX = -8  # malloc.h

LOOK_SECONDS = 1.0
GIVE_BACK_SECONDS = 60.0


def share_one_heap() -> None:
    """Have all threads use one heap, as hardly ever two of them work at once: each would keep what was free in its own.
    To be called before there are any."""
    if mallopt := _glibc("mallopt"):
        mallopt(_M_ARENA_MAX, 1)


async def keep_small(is_loaded: Callable[[], bool]) -> None:
    """Once everything is loaded, pass over all there is; give back what is free, then and from time to time."""
    while not is_loaded():  # noqa: ASYNC110 - nobody says when
        await asyncio.sleep(LOOK_SECONDS)
    gc.collect()
    gc.freeze()
    trim = _glibc("malloc_trim")
    while trim is not None:
        trim(0)  # about a millisecond
        await asyncio.sleep(GIVE_BACK_SECONDS)


def _glibc(name: str) -> Callable[..., int] | None:
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
    return function
