"""Made-up collectors, whose failures and delays a test sets step by step, and a snapshot of them.

Time is virtual where it matters: the clock of the event loop jumps to the next due time, so that hours take no time and
every time is exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar

from exporter.collector import Collector, Sources
from exporter.errors import SourceUnavailable
from exporter.snapshot import Snapshot
from exporter.sources.jsonl import JsonlLog
from exporter.sources.postgres import Postgres
from exporter.sources.redis import Redis
from exporter.spec import Label, MetricSpec, Sample

GAUGE = MetricSpec("hivesync_test_value", "gauge", "A value.", "the test", (Label("collector"),))
COUNTER = MetricSpec("hivesync_test_total", "counter", "A count.", "the test", (Label("collector"),))
REFRESH_SECONDS = 15.0

T = TypeVar("T")
Step = Callable[["Fake"], Awaitable[None]]


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop without waiting: its clock jumps when nothing is ready."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        self._poll = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._virtual

    def _jump(self, timeout: float | None) -> Any:
        assert timeout is not None, "nothing would ever happen again"
        ready = self._poll(0)
        if not ready:
            self._virtual += timeout
        return ready


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(work)


class Fake:
    """Runs one step per refresh, the last one repeatedly; records the start of each, and the most refreshes at once."""

    specs = (GAUGE, COUNTER)

    def __init__(self, name: str, *steps: Step, periods: int = 1, sources: tuple[str, ...] = ("postgres",)) -> None:
        self.name = name
        self.periods = periods
        self.sources = sources
        self.starts: list[float] = []
        self.running = self.most_running = 0
        self._steps: Iterator[Step] = chain(steps, repeat(steps[-1] if steps else works))

    @property
    def refreshes(self) -> int:
        return len(self.starts)

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        self.starts.append(round(asyncio.get_running_loop().time(), 6))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            self.asked = sources
            await next(self._steps)(self)
        finally:
            self.running -= 1
        return [GAUGE.sample(self.refreshes, collector=self.name)]

    def counters(self) -> Sequence[Sample]:
        return [COUNTER.sample(self.refreshes, collector=self.name)]


async def works(fake: Fake) -> None:
    del fake


async def hangs(fake: Fake) -> None:
    del fake
    await asyncio.Event().wait()


async def swallows_its_cancellation(fake: Fake) -> None:
    """Lose a cancellation, as asyncio.wait_for does up to Python 3.11 for a result at that very moment."""
    del fake
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(10)


def takes(seconds: float) -> Step:
    async def step(fake: Fake) -> None:
        del fake
        await asyncio.sleep(seconds)

    return step


def fails(error: Exception) -> Step:
    async def step(fake: Fake) -> None:
        del fake
        raise error

    return step


async def finds_postgres_down(fake: Fake) -> None:
    fake.asked.postgres.reachability.failed("refused")
    raise SourceUnavailable("postgres", "refused")


async def finds_postgres_up(fake: Fake) -> None:
    fake.asked.postgres.reachability.worked()


def build(*fakes: Collector, seconds: float = REFRESH_SECONDS, **options: Any) -> Snapshot:
    """A snapshot of these collectors, with sources that only record their reachability."""
    sources = Sources(
        postgres=Postgres("postgresql://nobody@127.0.0.1:1/none"),
        redis=Redis("redis://127.0.0.1:1/0"),
        ai_events_log=JsonlLog("ai_events_log", Path("/nonexistent")),
        preview_log=JsonlLog("preview_log", Path("/nonexistent")),
    )
    return Snapshot(fakes, sources, seconds, **options)


def values(snapshot: Snapshot, spec: MetricSpec) -> dict[str, Any]:
    """The values of a metric by its only label."""
    view = snapshot.view()
    samples = [*view.own, *(sample for collector in view.collectors for sample in collector.samples)]
    return {sample.labels[0]: sample.value for sample in samples if sample.spec == spec}


def refresh(snapshot: Snapshot, times: int = 1) -> None:
    async def passes() -> None:
        for _ in range(times):
            await snapshot.refresh_all()

    run(passes())


def keep_time(snapshot: Snapshot, seconds: float, *others: Callable[[], Awaitable[None]]) -> None:
    """Run the snapshot for that long, while `others` are called repeatedly."""

    async def over_and_over(work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await work()
            await asyncio.sleep(0.001)

    async def main() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                group.create_task(snapshot.run())
                for work in others:
                    group.create_task(over_and_over(work))

    run(main())


def degraded_and_recovered(logged: Sequence[Any]) -> list[tuple[str, str]]:
    """(`degraded` or `recovered`, collector or else source) of the events about failures, in order."""
    return [
        (event["event"].removeprefix("system.analytics."), event.get("collector", event["source"]))
        for event in logged
        if event["event"].startswith("system.analytics.")
    ]
