"""Memory and pauses of a long-running process: objects of the start are exempt from garbage collection, and free memory
is given back to the system.

Python's collector goes over every object there is about once an hour. Half a second of that, on a busy machine, is
spent on modules and settings, which stay to the end; and no scrape is answered meanwhile. And glibc would keep the
memory of a first pass, which works on whole histories, for the next one: a third more than the process needs, at two
million users. docs/performance.md has the figures. Without glibc nothing is given back and nothing is wrong.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable

LOOK_SECONDS = 1.0
GIVE_BACK_SECONDS = 60.0


async def keep_small(is_loaded: Callable[[], bool]) -> None:
    """Once everything is loaded, exempt it from garbage collection; then give back free memory from time to time."""
    while not is_loaded():  # noqa: ASYNC110 - several parts of the program load, none of which knows of the others
        await asyncio.sleep(LOOK_SECONDS)
    gc.freeze()
    trim = _trim()
    while trim is not None:
        await asyncio.to_thread(trim, 0)
        await asyncio.sleep(GIVE_BACK_SECONDS)


def _trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return trim
