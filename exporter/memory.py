"""Memory and pauses of a long-running process: nothing is collected as garbage during the start, its objects are exempt
from later collections, and free memory is returned to the system.

Python's collector traverses all objects about once an hour. On a busy machine, half a second of that is spent on
modules and settings, which are never freed, and no scrape is answered meanwhile. Without trimming, glibc keeps the
memory of a first pass, which reads whole histories, for later use: a third more than the process needs, at two million
users. docs/performance.md has the figures. On systems without glibc nothing is returned, without an error.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable

LOOK_SECONDS = 1.0
LONGEST_START_SECONDS = 60.0
"""Time from which on garbage is collected, although a part of the program cannot be loaded."""

GIVE_BACK_SECONDS = 60.0


async def keep_small(is_loaded: Callable[[], bool]) -> None:
    """Collect no garbage until everything is loaded, and exempt all objects from then on; then return free memory at
    intervals."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + LONGEST_START_SECONDS
    gc.disable()  # each collection of a start would traverse all modules, and answer no scrape for a tenth of a second
    try:
        while not is_loaded():
            await asyncio.sleep(LOOK_SECONDS)
            if loop.time() >= latest:
                gc.enable()
        gc.freeze()
    finally:
        gc.enable()
    trim = _trim()
    while trim is not None:
        await asyncio.to_thread(trim, 0)
        await asyncio.sleep(GIVE_BACK_SECONDS)


def give_back() -> None:
    """Return free memory to the system now."""
    trim = _trim()
    if trim is not None:
        trim(0)


def _trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return trim
