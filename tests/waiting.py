"""Waiting for a condition, with a bound that grows with the machine's load.

    until(lambda: exporter.samples().get("hivesync_projects") == 3, "three projects")
    assert process.wait(patience()) == 0
    async with bounded(5):
        await event.wait()

No test waits in another way, and none sleeps for a guessed time. A bound is reached only by a test that fails: it is
far off on a quiet machine, and farther on a busy one (`servers.bound`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from servers.bound import Bound, slowness

WITHIN_SECONDS = 30.0
POLL_SECONDS = 0.05

T = TypeVar("T")


def until(
    condition: Callable[[], T],
    what: str = "the condition",
    within: float = WITHIN_SECONDS,
    poll: float = POLL_SECONDS,
) -> T:
    """The first true value of the condition. Raises AssertionError with `what` and the last value at the bound."""
    bound = Bound(within)
    while not (value := condition()):
        assert not bound.is_reached(), _missed(bound, what, value)
        time.sleep(poll)
    return value


async def until_async(
    condition: Callable[[], object],
    what: str = "the condition",
    within: float = WITHIN_SECONDS,
    poll: float = POLL_SECONDS,
) -> None:
    """Wait as `until` does, on the event loop: the condition may be a coroutine function. With `poll=0` it is checked
    in every turn of the loop."""
    bound = Bound(within)
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return
        assert not bound.is_reached(), _missed(bound, what, value)
        await asyncio.sleep(poll)


@asynccontextmanager
async def bounded(seconds: float = WITHIN_SECONDS) -> AsyncIterator[None]:
    """`asyncio.timeout`, with a bound that grows. Raises TimeoutError at the bound."""
    bound, loop = Bound(seconds), asyncio.get_running_loop()

    async def watch() -> None:
        while not bound.is_reached():  # noqa: ASYNC110 - the condition is time
            await asyncio.sleep(bound.left)
        timeout.reschedule(loop.time())

    async with asyncio.timeout(None) as timeout:
        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()


def patience(seconds: float = WITHIN_SECONDS) -> float:
    """A bound for calls that take a number of seconds and cannot be repeated, at the present slowness."""
    return seconds * slowness()


def _missed(bound: Bound, what: str, value: object) -> str:
    return f"not within {bound.seconds:g} s: {what}; last {value!r}"
