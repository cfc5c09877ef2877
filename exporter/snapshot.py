"""The snapshot: runs every collector on its own clock, isolates failures, and holds the latest results.

Collectors come before it; `exposition.py` and other outputs read its `view()`, and never cause a query. The failure of
a collector is caught here and nowhere else: its samples vanish, the other collectors are not affected.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence, Set
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog

from exporter import events, vocabulary
from exporter.collector import Collector, Counting, Dated, Presenting, Sources
from exporter.durations import Durations
from exporter.errors import MOST_REPEATS, CollectionFailed, MadeWay, SourceUnavailable, loggable
from exporter.spec import Label, MetricSpec, Sample, provided
from exporter.transitions import Transitions
from exporter.view import CollectorView, Served, SourceView, View

DEADLINE_SECONDS = 330.0
"""Time after which a refresh is cancelled. The time limits of sources are far shorter; this one limits a fill of many
pieces, and the effect of a bug in the exporter."""

STAGGER_SECONDS = 0.1
"""Time between the refreshes of two successive collectors, so that they do not coincide."""

ORDER_SECONDS = 0.01
"""The same at a start, where all values are needed soon, and the longest readings are to begin first."""

LARGEST_SHARE = 1 / 5
"""The largest share of the time that a collector may spend on passes over Redis' keys, which may be millions, on a
server with other clients: a collector whose pass exceeds this share of its interval is refreshed less often. With a
fifth, a pass that takes a third longer than the previous one still takes at most a quarter. For collectors with
windows, the duration of a refresh does not predict that of the next: it may have been a fill, or have waited for
others."""

LEAST_PROMISE_SECONDS = 5.0
"""Minimum of the promised age of values, however short the interval: a refresh takes time of its own."""

_SELF = "the exporter itself"
SOURCE_UP = MetricSpec(
    "hivesync_source_up",
    "gauge",
    "1 if the last attempt to reach the source succeeded, else 0.",
    _SELF,
    (Label("source", vocabulary.SOURCES),),
)
SOURCE_LAST_SUCCESS = MetricSpec(
    "hivesync_source_last_success_timestamp_seconds",
    "gauge",
    "Unix time of the last successful attempt to reach the source.",
    _SELF,
    (Label("source", vocabulary.SOURCES),),
)
COLLECTOR_UP = MetricSpec(
    "hivesync_collector_up",
    "gauge",
    "1 if the collector's last refresh succeeded, else 0.",
    _SELF,
    (Label("collector"),),
)
REFRESH_DURATION = MetricSpec(
    "hivesync_refresh_duration_seconds",
    "histogram",
    "Duration of the collector's refreshes.",
    _SELF,
    (Label("collector"),),
)
REFRESH_FAILURES = MetricSpec(
    "hivesync_refresh_failures_total",
    "counter",
    "Refreshes of the collector that failed.",
    _SELF,
    (Label("collector"),),
)
EVENTS_DROPPED = MetricSpec(
    "hivesync_log_events_dropped_total",
    "counter",
    "Events that the exporter could not write to standard error (not read, full or closed), since its start.",
    _SELF,
)
SOURCE_CHANGES = MetricSpec(
    "hivesync_source_changes_total",
    "counter",
    "Times that another server answered than before: after a fail-over, a promotion, or a restart of Redis.",
    _SELF,
    (Label("source", ("postgres", "redis")),),
)
SPECS = (
    SOURCE_UP,
    SOURCE_LAST_SUCCESS,
    SOURCE_CHANGES,
    COLLECTOR_UP,
    REFRESH_DURATION,
    REFRESH_FAILURES,
    EVENTS_DROPPED,
)

_log = structlog.get_logger()


class Snapshot:
    """The refreshes of all collectors, and their latest results."""

    def __init__(
        self,
        collectors: Sequence[Collector],
        sources: Sources,
        refresh_seconds: float,
        *,
        not_provided: Collection[str] = (),
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Samples that need an input that is `not_provided` are left out. `changed` is called after every refresh of a
        collector, when `view()` has the new state."""
        self.sources = sources
        self._not_provided = frozenset(not_provided)
        self._entries = [_Entry(collector, refresh_seconds, self._not_provided) for collector in collectors]
        self._reachabilities = {
            source.reachability.source: source.reachability
            for source in (sources.postgres, sources.redis, sources.ai_events_log, sources.preview_log)
        }
        for reachability in self._reachabilities.values():
            reachability.watch(self._note_change)
        self._transitions = Transitions(refresh_seconds, time.monotonic)
        self._next_call: dict[str, float] = {}  # from when on the collectors of a source may be called again
        self._refresh_seconds = refresh_seconds
        self._changed = changed
        self._clock = clock
        self._started = 0.0

    async def run(self) -> None:
        """Refresh each collector on its own clock until cancelled; the first refreshes start shortly after one
        another."""
        self._started = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for index, entry in enumerate(self._entries):
                group.create_task(self._keep(entry, index), name=f"refresh {entry.collector.name}")

    async def refresh_all(self, source: str | None = None) -> None:
        """Refresh every collector once, one after the other; with `source`, only the collectors of that source."""
        for entry in self._entries:
            if source is None or source in entry.collector.sources:
                await self._refresh(entry)

    @asynccontextmanager
    async def at_rest(self, source: str) -> AsyncIterator[Sequence[Collector]]:
        """Yield the collectors of `source`, with their refreshes suspended meanwhile."""
        entries = [entry for entry in self._entries if source in entry.collector.sources]
        async with AsyncExitStack() as locks:
            for entry in entries:
                await locks.enter_async_context(entry.lock)
            yield [entry.collector for entry in entries]

    def view(self) -> View:
        """Return all current samples in a new, immutable object."""
        down = self._down()
        sources = tuple(SourceView(r.source, r.up, r.error, r.last_success) for r in self._reachabilities.values())
        collectors = tuple(entry.view(down) for entry in self._entries)
        return View(collectors, tuple(self._own()), sources, self._not_provided)

    def served(self, source: str) -> list[Served]:
        """Return the current state of the collectors of `source`."""
        now, down = asyncio.get_running_loop().time(), self._down()
        return [
            Served(
                entry.collector.name,
                entry.up is False or not down.isdisjoint(entry.collector.sources),
                entry.shown(down),
                now - (self._started if entry.read_at is None else entry.read_at),
                entry.promised_age,
            )
            for entry in self._entries
            if source in entry.collector.sources
        ]

    async def _keep(self, entry: _Entry, index: int) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        entry.called = asyncio.Event()
        due, stagger = loop.time() + index * ORDER_SECONDS, index * STAGGER_SECONDS
        # A driver can swallow a cancellation: asyncio.wait_for does, up to Python 3.11, if its answer arrives at that
        # moment.
        while task is None or not task.cancelling():
            is_early = await entry.called_before(due)
            rest = await self._refresh(entry)
            if is_early:  # beside its own clock
                continue
            # A slow collector that failed tries again before its interval has passed.
            interval = entry.interval if entry.up else self._refresh_seconds
            missed = max(0.0, loop.time() - due)
            due = max(due + stagger + interval * (1 + missed // interval), loop.time() + rest)
            stagger = 0.0

    async def _refresh(self, entry: _Entry) -> float:
        """Refresh a collector. Return the least number of seconds before its next refresh."""
        loop = asyncio.get_running_loop()
        rest = 0.0
        async with entry.lock:
            began, started = loop.time(), time.perf_counter()
            try:
                async with asyncio.timeout(DEADLINE_SECONDS):
                    samples = provided(await self._samples(entry.collector), self._not_provided)
            except Exception as error:  # noqa: BLE001 - the one place where failures of collectors are caught
                self._note_failure(entry, error)
            else:
                rest = entry.rest_after(loop.time() - began)
                entry.note_age(began, loop.time() + rest)
                self._note_success(entry, samples)
            entry.durations.observe(time.perf_counter() - started)
        self._note_changes_of_sources()
        self._changed()
        return rest

    async def _samples(self, collector: Collector) -> Sequence[Sample]:
        """Refresh a collector; again where its reading was given up for another client."""
        for _ in range(MOST_REPEATS):
            try:
                return await collector.refresh(self.sources)
            except MadeWay:
                await self.sources.postgres.made_way()
        return await collector.refresh(self.sources)

    def _note_change(self, source: str, reason: str) -> None:
        """Log that another server answers, and refresh all that was read from the former one: now, but at most once in
        a period, as each refresh reaches yet another server where several have one address."""
        _log.warning("source.changed", source=source, reason=reason)
        loop = asyncio.get_running_loop()
        now, next_call = loop.time(), self._next_call.get(source, 0.0)
        if next_call <= now + self._refresh_seconds:  # otherwise a call is to come
            self._next_call[source] = max(now, next_call) + self._refresh_seconds
            loop.call_later(max(0.0, next_call - now), self._call, source)

    def _call(self, source: str) -> None:
        """Refresh the collectors of a source at once."""
        for entry in self._entries:
            if source in entry.collector.sources:
                entry.called.set()

    def _down(self) -> set[str]:
        return {source for source, reachability in self._reachabilities.items() if reachability.up is False}

    def _note_success(self, entry: _Entry, samples: tuple[Sample, ...]) -> None:
        self._note_transition(entry, None)
        entry.up, entry.error, entry.last_success, entry.gauges = True, None, self._clock(), samples
        entry.last_gauges = samples
        if isinstance(entry.collector, Presenting):
            entry.last_content = entry.collector.content

    def _note_failure(self, entry: _Entry, error: Exception) -> None:
        kind = error.kind if isinstance(error, SourceUnavailable | CollectionFailed) else type(error).__name__
        # A source that is down is logged once for the source, not once per collector.
        if not isinstance(error, SourceUnavailable):
            source = {"source": error.source} if isinstance(error, CollectionFailed) else {}
            self._note_transition(entry, {**source, "kind": kind, **loggable(error)})
        entry.up, entry.error, entry.gauges = False, kind, ()
        entry.failures += 1

    def _note_transition(self, entry: _Entry, fault: Mapping[str, str] | None) -> None:
        name, sources = entry.collector.name, _names(entry.collector.sources)
        self._transitions.note(f"collector {name}", {"collector": name, "source": sources}, fault)

    def _note_changes_of_sources(self) -> None:
        for source, reachability in self._reachabilities.items():
            if reachability.up is not None:
                fault = None if reachability.up else {"kind": reachability.error or "unknown"}
                self._transitions.note(f"source {source}", {"source": source}, fault)

    def _own(self) -> Iterable[Sample]:
        for reachability in self._reachabilities.values():
            if reachability.up is not None:
                yield SOURCE_UP.sample(int(reachability.up), source=reachability.source)
            if reachability.last_success is not None:
                yield SOURCE_LAST_SUCCESS.sample(reachability.last_success, source=reachability.source)
            if reachability.changes is not None:
                yield SOURCE_CHANGES.sample(reachability.changes, source=reachability.source)
        for entry in self._entries:
            name = entry.collector.name
            if entry.up is not None:
                yield COLLECTOR_UP.sample(int(entry.up), collector=name)
            yield REFRESH_DURATION.sample(entry.durations.value(), collector=name)
            yield REFRESH_FAILURES.sample(entry.failures, collector=name)
        yield EVENTS_DROPPED.sample(events.dropped())


class _Entry:
    """A collector and its state."""

    def __init__(self, collector: Collector, refresh_seconds: float, not_provided: frozenset[str]) -> None:
        self.collector = collector
        self._not_provided = not_provided
        self.interval = collector.periods * refresh_seconds
        self.lock = asyncio.Lock()
        self.called = asyncio.Event()  # to be refreshed at once
        self.up: bool | None = None
        self.error: str | None = None
        self.last_success: float | None = None
        self.read_at: float | None = None  # the reading of its gauges, by the loop's clock
        self.promised_age = self._promised_age(self.interval)
        self.failures = 0
        self.durations = Durations()
        self.gauges: tuple[Sample, ...] = ()
        self.last_gauges: tuple[Sample, ...] = ()
        self.last_content: object = None

    async def called_before(self, due: float) -> bool:
        """Wait until the collector is due, or called earlier. Return whether it was called."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self.called.wait()
        is_called = self.called.is_set()
        self.called.clear()
        return is_called

    def rest_after(self, seconds: float) -> float:
        """Return the pause for the server after a successful refresh of that duration."""
        return seconds * (1 / LARGEST_SHARE - 1) if "redis" in self.collector.sources else 0.0

    def note_age(self, began: float, next_due: float) -> None:
        """Note a successful refresh, and the earliest time of the next one."""
        self.read_at = began - (self.collector.behind if isinstance(self.collector, Dated) else 0.0)
        self.promised_age = self._promised_age(max(self.interval, next_due - began))

    def _promised_age(self, interval: float) -> float:
        promised = self.collector.promised_age(interval) if isinstance(self.collector, Dated) else 2 * interval
        return max(promised, LEAST_PROMISE_SECONDS)

    def shown(self, down: Set[str]) -> tuple[Sample, ...]:
        """Return its gauges; none while a source of the collector is down, even before the collector itself has
        failed."""
        return self.gauges if down.isdisjoint(self.collector.sources) else ()

    def view(self, down: Set[str]) -> CollectorView:
        """Return its state."""
        collector = self.collector
        gauges = self.shown(down)
        counters = provided(collector.counters(), self._not_provided) if isinstance(collector, Counting) else ()
        return CollectorView(
            name=collector.name,
            sources=collector.sources,
            specs=collector.specs,
            interval=self.interval,
            up=self.up,
            error=self.error,
            last_success=self.last_success,
            samples=gauges + counters,
            last_samples=self.last_gauges + counters,
            last_content=self.last_content,
        )


def _names(sources: Sequence[str]) -> str:
    return ",".join(sources)
