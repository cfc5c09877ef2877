"""Threads for disk I/O: kept for later calls, as many as there are calls at once, and never waited for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from exporter import disk
from exporter.disk import KEPT_THREADS
from tests.waiting import until

AT_ONCE = 3 * KEPT_THREADS


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "disk"]


def test_a_thread_makes_one_call_after_the_other() -> None:
    async def calls() -> set[int]:
        return {await disk.run(threading.get_ident) for _ in range(20)}

    assert len(asyncio.run(calls())) == 1


def test_calls_at_once_do_not_wait_for_each_other() -> None:
    """As many disks may hang: a call that waited for another's thread would never end here."""
    barrier = threading.Barrier(AT_ONCE, timeout=30)

    async def calls() -> list[int]:
        return await asyncio.gather(*(disk.run(barrier.wait) for _ in range(AT_ONCE)))

    assert sorted(asyncio.run(calls())) == list(range(AT_ONCE))
    until(lambda: len(own_threads()) <= KEPT_THREADS, "the other threads have ended")


def test_an_error_is_raised_where_the_call_was_made() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(disk.run(lambda: 1 // 0))


class Hanging:
    """A call that hangs until it is let go, and notes its end."""

    def __init__(self) -> None:
        self.let_go, self.ended = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.let_go.wait(60)
        self.ended.set()

    async def abandoned(self) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(disk.run(self), 0.01)


def test_a_cancelled_call_goes_on_and_the_end_waits_for_it() -> None:
    hanging = Hanging()
    asyncio.run(hanging.abandoned())
    assert not hanging.ended.is_set()
    threading.Timer(0.05, hanging.let_go.set).start()
    disk.settle()
    assert hanging.ended.is_set()


def test_the_end_does_not_wait_for_a_disk_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "SETTLE_SECONDS", 0.05)
    hanging = Hanging()
    asyncio.run(hanging.abandoned())
    disk.settle()
    assert not hanging.ended.is_set()
    hanging.let_go.set()
