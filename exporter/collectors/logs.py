"""Events and failures counted from HiveSync's two log files (docs/definitions.md#logs).

    hivesync_ai_log_events_total{event="ai.completed"} 1873.0
    hivesync_ai_log_errors_total{kind="timeout"} 4.0
    hivesync_log_lines_total{log="ai-events",result="malformed"} 1.0
    hivesync_log_late_lines_total{log="ai-events"} 0.0
    hivesync_log_unread_bytes{log="ai-events"} 0.0

`sources/jsonl/` returns each line once. The counts and the position they belong to are saved together, before the
counts are shown: a kill at any moment loses and repeats nothing, and no counter ever decreases. Only `event` and
`error_kind` of a line are read; the last few failures are kept as incidents too (`incident.py`), until the process
ends.

The past of a log is not counted as present. At a first start (no state) the counters are absent until the end of the
log at that time is reached: while they rise to it, Prometheus would compute a rate from them. After an outage they
continue from their values, and the lines written meanwhile are also counted in `hivesync_log_late_lines_total`; rules
that use a rate wait until these have left the rate's window.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from exporter import disk, vocabulary
from exporter.collector import Sources
from exporter.errors import CollectionFailed, SourceUnavailable, StateError
from exporter.incident import ERROR_KINDS, KEPT, Incident, from_line, newest
from exporter.inputs import Need
from exporter.labels import OTHER
from exporter.log_lines import Counted, begins_after, count
from exporter.log_tally import RESULTS, Tally
from exporter.sources.jsonl import JsonlLog, Slice
from exporter.spec import Label, MetricSpec, Sample
from exporter.state import StateFile

BUDGET_SECONDS = 5.0
"""Time for which a refresh reads a backlog; the next refresh continues."""

SAVE_SECONDS = 0.25
"""Time for which a backlog is read before the counts are saved: a save waits for the disk, for 1 ms or for 50."""

LATE_SECONDS = 120.0
"""Age at which a line counts as late, or two refresh periods where those are longer."""

OVERDUE_SECONDS = 5.0
"""Age at which a read or save fails its refresh, or two refresh periods where those are longer."""

FROM_THE_END = "absent at a first start until the log's end is reached"
"""A part of the HELP text of each counter."""

_AI_LOG, _PREVIEW_LOG = (Need(("ai_events_log",)),), (Need(("preview_log",)),)
_EACH_LOG = (Need(("ai_events_log",), "log", ("ai-events",)), Need(("preview_log",), "log", ("preview",)))

AI_EVENTS = MetricSpec(
    "hivesync_ai_log_events_total",
    "counter",
    f"Events in the AI events log, since counting began; {FROM_THE_END}.",
    "ai-events.log",
    (Label("event", vocabulary.AI_EVENTS),),
    needs=_AI_LOG,
)
AI_ERRORS = MetricSpec(
    "hivesync_ai_log_errors_total",
    "counter",
    f"Events ai.error in the AI events log, by error_kind, since counting began; {FROM_THE_END}.",
    "ai-events.log",
    (Label("kind", (*ERROR_KINDS["ai_error"], OTHER)),),
    needs=_AI_LOG,
)
PREVIEW_EVENTS = MetricSpec(
    "hivesync_preview_log_events_total",
    "counter",
    f"Events in the preview log, since counting began; {FROM_THE_END}.",
    "preview.log",
    (Label("event", vocabulary.PREVIEW_EVENTS),),
    needs=_PREVIEW_LOG,
)
PREVIEW_FAILURES = MetricSpec(
    "hivesync_preview_log_failures_total",
    "counter",
    f"Events preview.failed in the preview log, by error_kind, since counting began; {FROM_THE_END}.",
    "preview.log",
    (Label("kind", (*ERROR_KINDS["preview_failure"], OTHER)),),
    needs=_PREVIEW_LOG,
)
LINES = MetricSpec(
    "hivesync_log_lines_total",
    "counter",
    "Lines read from a log, by result, since counting began: ok (a known event), malformed (no JSON object with "
    f"an event, or over 1 MiB), unknown_event. Blank lines are not counted; {FROM_THE_END}.",
    "the log files",
    (Label("log", vocabulary.LOGS), Label("result", RESULTS)),
    needs=_EACH_LOG,
)
LATE = MetricSpec(
    "hivesync_log_late_lines_total",
    "counter",
    "Late lines, which the log's other counters contain: read after a start or an outage, and written over two minutes "
    "(or two refresh periods) earlier, by the time of the first line of each 64 KiB, or without a time. While this "
    "counter increases, the rates of the others are not current.",
    "the log files",
    (Label("log", vocabulary.LOGS),),
    needs=_EACH_LOG,
)
UNREAD = MetricSpec(
    "hivesync_log_unread_bytes",
    "gauge",
    "Unread bytes of a log's files, now; a compressed file counts with its size on disk until it is read.",
    "the log files",
    (Label("log", vocabulary.LOGS),),
    needs=_EACH_LOG,
)


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of one log, and the names under which its lines are counted."""

    collector: str
    source: str
    pick: Callable[[Sources], JsonlLog]
    label: str
    events: MetricSpec
    known_events: tuple[str, ...]
    failures: MetricSpec
    failure_event: str
    incident: str
    known_kinds: tuple[str, ...]


AI = Subject(
    collector="ai_log",
    source="ai_events_log",
    pick=lambda sources: sources.ai_events_log,
    label="ai-events",
    events=AI_EVENTS,
    known_events=vocabulary.AI_EVENTS,
    failures=AI_ERRORS,
    failure_event="ai.error",
    incident="ai_error",
    known_kinds=ERROR_KINDS["ai_error"],
)
PREVIEW = Subject(
    collector="preview_log",
    source="preview_log",
    pick=lambda sources: sources.preview_log,
    label="preview",
    events=PREVIEW_EVENTS,
    known_events=vocabulary.PREVIEW_EVENTS,
    failures=PREVIEW_FAILURES,
    failure_event="preview.failed",
    incident="preview_failure",
    known_kinds=ERROR_KINDS["preview_failure"],
)


def ai_log(state: StateFile, refresh_seconds: float = 0.0) -> LogCollector:
    """Return the collector of the AI events log."""
    return LogCollector(AI, state, refresh_seconds)


def preview_log(state: StateFile, refresh_seconds: float = 0.0) -> LogCollector:
    """Return the collector of the preview log."""
    return LogCollector(PREVIEW, state, refresh_seconds)


class LogCollector:
    """The collector of one log: counts of its lines, kept across restarts."""

    periods = 1

    def __init__(
        self,
        subject: Subject,
        state: StateFile,
        refresh_seconds: float = 0.0,
        *,
        budget: float = BUDGET_SECONDS,
        late_after: float = LATE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Load the state. Raises StateError where it exists and cannot be read."""
        self.name = subject.collector
        self.sources, self.inputs = (subject.source,), subject.events.needs
        self.specs = (subject.events, subject.failures, LINES, LATE, UNREAD)
        self._subject, self._file = subject, state
        self._budget = budget
        self._late_after = max(late_after, 2 * refresh_seconds)
        self._overdue_after = max(OVERDUE_SECONDS, 2 * refresh_seconds)
        self._clock, self._wall_clock = clock, wall_clock
        self._tally = _load(state, subject)
        self._at_end: float | None = None  # the time at which the log was last read to its end; None after a failure
        self._step: disk.Step[Slice] | None = None
        self._saving = False
        self._incidents: tuple[Incident, ...] = ()

    @property
    def content(self) -> tuple[Incident, ...]:
        """The latest failures read since the start, newest first; none before the log's end is reached."""
        return self._incidents if self._tally.is_shown else ()

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Count the lines written since the last refresh. Return the number of unread bytes."""
        deadline = self._clock() + self._budget
        while True:
            found = await self._next_step(self._subject.pick(sources))
            if not found.more or self._clock() >= deadline:
                return [UNREAD.sample(found.unread_bytes, log=self._subject.label)]

    def counters(self) -> Sequence[Sample]:
        """Return all counts that were saved, zeros included; nothing before the log's end was reached for the first
        time."""
        subject, tally = self._subject, self._tally
        if not tally.is_shown:
            return []
        return [
            *(subject.events.sample(count, event=event) for event, count in tally.events.items()),
            *(subject.failures.sample(count, kind=kind) for kind, count in tally.kinds.items()),
            *(LINES.sample(count, log=subject.label, result=result) for result, count in tally.results.items()),
            LATE.sample(tally.late, log=subject.label),
        ]

    async def _next_step(self, log: JsonlLog) -> Slice:
        # A step of a refresh that was cancelled or is overdue goes on, and is awaited, not repeated in parallel.
        if self._step is None or self._step.done:
            self._step = disk.Step(self._count_some(log))
        try:
            return await self._step.wait(max(0.0, self._overdue_after - self._step.age))
        except TimeoutError:
            if self._saving:
                raise CollectionFailed(self._subject.source, "timeout", str(self._file.path)) from None
            log.reachability.failed("timeout")
            raise SourceUnavailable(self._subject.source, "timeout") from None

    async def _count_some(self, log: JsonlLog) -> Slice:
        """Read and count slices, save, and only then show the counts. Return the last slice.

        Disk I/O runs in a thread. Computation runs on the event loop, one batch at a time: a computing thread keeps
        the interpreter for a switch interval (`sys.getswitchinterval`), for each request that arrives meanwhile.
        """
        tally, due = self._tally, self._clock() + SAVE_SECONDS
        failures: deque[Counted] = deque(maxlen=KEPT)
        while True:
            began = self._wall_clock()
            try:
                found = await disk.run(log.read, tally.position)
            except SourceUnavailable as error:
                self._at_end = None
                await self._save(tally)  # an unreadable slice does not cost the slices before it
                await self._keep(failures)
                if error.kind == "missing" and self._tally.position is None:
                    self._tally = replace(self._tally, left=0)  # a log that does not exist yet has no past
                raise
            now = self._wall_clock()  # long after `began` if the disk hung
            lags = self._at_end is None or now - self._at_end > self._late_after
            for lines in found.batches():
                late = lags and not begins_after(now - self._late_after, lines)
                for counted in count(lines, self._subject.failure_event):
                    tally = tally.plus(counted, late=late)
                    if counted.kinds:
                        failures.appendleft(counted)
                    await asyncio.sleep(0)
            tally = tally.at(found)
            if not found.more or self._clock() >= due:
                await self._save(tally)
                if not found.more:
                    self._at_end = began
                await self._keep(failures)
                return found

    async def _keep(self, failures: Iterable[Counted]) -> None:
        """Keep the incidents of the last few failures of a backlog, after reading it: each costs as much as counting
        twenty lines, and a line may be long."""
        found = []
        for line in islice(chain.from_iterable(counted.failures() for counted in failures), KEPT):
            found.append(from_line(line, self._subject.incident))
            await asyncio.sleep(0)
        self._incidents = newest([incident for incident in found if incident] + [*self._incidents])

    async def _save(self, tally: Tally) -> None:
        if tally == self._tally:
            return
        self._saving = True
        try:
            await disk.run(self._file.save, tally.to_state())
        except StateError as error:
            self._at_end = None
            raise CollectionFailed(self._subject.source, "state_unwritable", str(self._file.path)) from error
        finally:
            self._saving = False
        self._tally = tally


def _load(file: StateFile, subject: Subject) -> Tally:
    if (state := file.load()) is None:
        return Tally.empty(subject.known_events, subject.known_kinds)
    try:
        return Tally.from_state(state, subject.known_events, subject.known_kinds)
    except (KeyError, TypeError, ValueError) as error:
        file.set_aside(type(error).__name__)
        return Tally.empty(subject.known_events, subject.known_kinds)
