"""Memory of the start that is returned, and ignored by Python's garbage collector: in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

HAS_GLIBC = hasattr(ctypes.CDLL(None), "malloc_trim")

PRELUDE = """
import asyncio, gc
from contextlib import suppress
from exporter import memory

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))

async def keep_small_for(seconds, is_loaded):
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await memory.keep_small(is_loaded)
"""


def printed(program: str) -> list[int]:
    ended = subprocess.run([sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, check=True)
    return [int(word) for word in ended.stdout.split()]


def test_nothing_is_frozen_before_everything_is_loaded() -> None:
    before, after = printed("""
asyncio.run(keep_small_for(0.2, lambda: False))
print(gc.get_freeze_count())
asyncio.run(keep_small_for(0.2, lambda: True))
print(gc.get_freeze_count())
""")
    assert before == 0
    assert after > 5000


def test_no_garbage_is_collected_before_everything_is_loaded() -> None:
    during, after = printed("""
seen = []
asyncio.run(keep_small_for(5, lambda: len(seen) > 1 or seen.append(gc.isenabled())))
print(int(any(seen)), int(gc.isenabled()))
""")
    assert (during, after) == (0, 1)


def test_garbage_is_collected_although_a_part_cannot_be_loaded() -> None:
    (enabled,) = printed("""
memory.LOOK_SECONDS = memory.LONGEST_START_SECONDS = 0.01
async def look():
    keeping = asyncio.create_task(memory.keep_small(lambda: False))
    while not (await asyncio.sleep(0.01) or gc.isenabled()):
        pass
    print(1)
    keeping.cancel()
gc.disable()
asyncio.run(look())
""")
    assert enabled == 1


@pytest.mark.skipif(not HAS_GLIBC, reason="this C library gives back what it likes")
def test_what_was_freed_among_what_stays_is_given_back() -> None:
    held, given_back = printed("""
blocks = [bytes(60_000) for _ in range(1000)]
kept = blocks[::10]
del blocks
print(resident())
asyncio.run(keep_small_for(0.2, lambda: True))
print(resident())
""")
    assert held - given_back > 30


def test_where_there_is_no_glibc_nothing_is_given_back_and_nothing_is_wrong() -> None:
    (frozen,) = printed("""
def none(name):
    raise OSError(name)
memory.ctypes.CDLL = none
asyncio.run(memory.keep_small(lambda: True))
print(gc.get_freeze_count())
""")
    assert frozen > 5000
