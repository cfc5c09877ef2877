"""Disk I/O beside the event loop, in threads that hold up nothing: neither a refresh for longer than it asks for, nor
the end of the process.

A disk that hangs (a network file system whose server is gone) blocks a thread for as long as it likes. The threads of
`asyncio.to_thread` are joined when the process ends, and are few; those of this module are daemons of one call each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SETTLE_SECONDS = 1.0
"""Time for I/O in progress to end at a stop; a disk that works needs milliseconds."""

_threads: set[Thread] = set()


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the function's result. The thread goes on when this is cancelled."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(outcome: Callable[[], None]) -> None:
        if not done.done():
            outcome()

    def work() -> None:
        outcome: Callable[[], None]
        try:
            result = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised again in the loop
            outcome = _bind(done.set_exception, error)
        else:
            outcome = _bind(done.set_result, result)
        _threads.discard(thread)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, outcome)

    thread = Thread(target=work, name="disk", daemon=True)
    _threads.add(thread)
    thread.start()
    return await done


def settle() -> None:
    """Wait until I/O in progress has ended, for SETTLE_SECONDS at most."""
    end = time.monotonic() + SETTLE_SECONDS
    for thread in list(_threads):
        thread.join(max(0.0, end - time.monotonic()))


class Step(Generic[T]):
    """A piece of work with disk I/O. It is not cancelled once it has begun: a wait that ends early can be repeated."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._began = asyncio.get_running_loop().time()
        self._task = asyncio.ensure_future(work)
        self._task.add_done_callback(_looked_at)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return asyncio.get_running_loop().time() - self._began

    async def wait(self, seconds: float) -> T:
        """Return its result. Raises TimeoutError after that time; the work goes on."""
        async with asyncio.timeout(seconds):
            return await asyncio.shield(self._task)


def _bind(settle: Callable[[Any], None], value: object) -> Callable[[], None]:
    return lambda: settle(value)


def _looked_at(task: asyncio.Future[Any]) -> None:
    """Retrieve the exception of work that nothing waits for any more, which is not reported: the next step reports
    it."""
    if not task.cancelled():
        task.exception()
