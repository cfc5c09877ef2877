"""Clients that wait for a lock of the exporter's: a migration, which everything after it waits for in turn.

    watch.over(pid) -> MadeWay in the body, within about a second, while a client waits for that backend

A reading holds the weakest lock there is: only `ACCESS EXCLUSIVE` (`ALTER TABLE`, `TRUNCATE`, `VACUUM FULL`) waits for
it, and `CREATE INDEX CONCURRENTLY`, which waits for older transactions. From its first second on, a transaction is
watched from another connection, once a second for all of them together: `pg_locks` and `pg_blocking_pids` are readable
by every role, while the state of other sessions is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from exporter.errors import AnalyticsError, MadeWay

LOOK_SECONDS = 1.0
"""Time between two looks, and before the first."""

WAIT_SECONDS = 30.0
"""The longest time that a reading given up waits for those for which it was; after that it is tried all the same."""

BLOCKED = """
SELECT blocker.pid, waiting.pid
FROM pg_locks AS waiting CROSS JOIN unnest(pg_blocking_pids(waiting.pid)) AS blocker(pid)
WHERE NOT waiting.granted AND blocker.pid = ANY(%(pids)s)
"""
"""SQL for the backends among `pids` for which others wait, and those others."""

AT_WORK = """
SELECT count(*) FROM pg_locks WHERE pid = ANY(%(pids)s) AND locktype = 'relation' AND mode = 'AccessExclusiveLock'
"""
"""SQL for the locks that these backends hold or wait for, and that exclude every reading."""

Ask = Callable[[str, Sequence[int]], Awaitable[Sequence[tuple[int, ...]]]]
"""Run such a statement for these backends, in a short transaction."""


class Watch:
    """The look after all long transactions of one source."""

    def __init__(self, source: str, ask: Ask) -> None:
        self._source, self._ask = source, ask
        self._bodies: dict[int, asyncio.Timeout] = {}  # by backend
        self._waiters: set[int] = set()
        self._looking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def over(self, pid: int) -> AsyncIterator[None]:
        """Watch a transaction of the backend `pid`. Raises MadeWay once a client waits for it."""
        timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._begin)
        body = asyncio.timeout(None)
        try:
            async with body:
                self._bodies[pid] = body
                try:
                    yield
                finally:
                    timer.cancel()
                    self._bodies.pop(pid, None)
        except TimeoutError:
            if body.expired():
                raise MadeWay(self._source) from None
            raise

    async def made_way(self) -> None:
        """Wait until those that were waiting have finished."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                while self._waiters:
                    await asyncio.sleep(LOOK_SECONDS / 4)
                    ((locks,),) = await self._ask(AT_WORK, sorted(self._waiters))
                    if not locks:
                        break
        self._waiters.clear()

    async def stop(self) -> None:
        """End the look."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def _begin(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="look for waiting clients")

    async def _look(self) -> None:
        while self._bodies:
            with suppress(AnalyticsError):  # the reading itself will find that the source is down
                for blocker, waiter in await self._ask(BLOCKED, sorted(self._bodies)):
                    if (body := self._bodies.pop(blocker, None)) is not None:
                        body.reschedule(asyncio.get_running_loop().time())
                    self._waiters.add(waiter)
            await asyncio.sleep(LOOK_SECONDS)
