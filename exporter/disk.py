"""Disk I/O beside the event loop, in threads that hold up nothing: neither a refresh for longer than it asks for, nor
the end of the process.

A disk that hangs (a network file system whose server is gone) blocks a thread for as long as it likes. The threads of
`asyncio.to_thread` are joined when the process ends, and are few; those of this module are daemons, as many as there
are calls at once. A few are kept for later calls: to start one, the event loop waits until it runs, which takes
milliseconds where other programs use all processors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent import futures
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SETTLE_SECONDS = 1.0
"""Time for I/O in progress to end at a stop; a disk that works needs milliseconds."""

KEPT_THREADS = 4
"""Threads without a call that wait for the next one."""

_Call = tuple[Callable[[], Any], futures.Future[Any]]


class _Worker:
    """A thread for one call at a time."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        Thread(target=self._work, name="disk", daemon=True).start()

    def give(self, function: Callable[[], Any], outcome: futures.Future[Any]) -> None:
        """Begin a call."""
        self._calls.put((function, outcome))

    def _work(self) -> None:
        while self._call():
            pass

    def _call(self) -> bool:
        """Make the next call. Return whether the thread is kept."""
        function, outcome = self._calls.get()
        settle: Callable[[], None]
        try:
            settle = partial(outcome.set_result, function())
        except Exception as error:  # noqa: BLE001 - raised again where the call was made
            settle = partial(outcome.set_exception, error)
        if is_kept := len(_idle) < KEPT_THREADS:
            _idle.append(self)  # before the outcome is known, so that the next call finds it
        settle()
        return is_kept


_idle: list[_Worker] = []
_running: set[futures.Future[Any]] = set()


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the function's result. The thread goes on when this is cancelled."""
    outcome: futures.Future[T] = futures.Future()
    _running.add(outcome)
    outcome.add_done_callback(_running.discard)
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    worker.give(partial(function, *args, **kwargs), outcome)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not done.done():
            done.set_result(None)

    def tell(_: object) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle)

    outcome.add_done_callback(tell)
    await done
    return outcome.result()


def settle() -> None:
    """Wait until I/O in progress has ended, for SETTLE_SECONDS at most."""
    futures.wait(list(_running), SETTLE_SECONDS)


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


def _looked_at(task: asyncio.Future[Any]) -> None:
    """Retrieve the exception of work that nothing waits for any more, which is not reported: the next step reports
    it."""
    if not task.cancelled():
        task.exception()
