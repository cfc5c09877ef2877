"""Events and failures counted from HiveSync's two log files (contract §1 Logs, §3; spec §3.2).

    hivesync_ai_log_events_total{event="ai.completed"} 1873.0
    hivesync_ai_log_errors_total{kind="timeout"} 4.0
    hivesync_log_lines_total{log="ai-events",result="malformed"} 1.0
    hivesync_log_late_lines_total{log="ai-events"} 0.0
    hivesync_log_unread_bytes{log="ai-events"} 0.0

`sources/jsonl/` hands over lines, each once. The counts and the position they belong to are saved together, before
the counts are shown: a kill at any moment loses and repeats nothing, and no counter ever goes back. Of a line only
`event` and `error_kind` are looked at; of the last few that tell of failures, what `incident.py` makes of them is kept
too, for as long as the process lives.

A log's past is no news. At a first start (no state) the counters are absent until the end that the log had then is
reached: Prometheus would take them for a rate of now while they climb. After an outage they go on from where they
were, and the lines that were written meanwhile are counted in `hivesync_log_late_lines_total` too, by which the rules
that use a rate wait until these have left its window.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from exporter import vocabulary
from exporter.collector import Sources
from exporter.errors import CollectionFailed, SourceUnavailable, StateError
from exporter.incident import ERROR_KINDS, KEPT, Incident, from_line, newest
from exporter.labels import OTHER, closed
from exporter.log_lines import Counted, begins_after, count
from exporter.sources.jsonl import JsonlLog, Position, Slice
from exporter.spec import Label, MetricSpec, Sample
from exporter.state import StateFile

BUDGET_SECONDS = 5.0
"""How long a refresh goes on reading when there is a lot to catch up with; the next one goes on from there."""

SAVE_SECONDS = 0.25
"""How long a backlog is read before what was counted is saved: a save waits for the disk, for 1 ms or for 50."""

LATE_SECONDS = 120.0
"""How old a line may be when it is counted, or two refresh periods where those are longer: it is late after that."""

RESULTS = ("ok", "malformed", "unknown_event")

FROM_THE_END = "absent at a first start until the log's end is reached"
"""What the HELP of each counter says of it."""

AI_EVENTS = MetricSpec(
    "hivesync_ai_log_events_total",
    "counter",
    f"Events in the AI events log, since counting began; {FROM_THE_END}.",
    "ai-events.log",
    (Label("event", vocabulary.AI_EVENTS),),
)
AI_ERRORS = MetricSpec(
    "hivesync_ai_log_errors_total",
    "counter",
    f"Events ai.error in the AI events log by their error_kind, since counting began; {FROM_THE_END}.",
    "ai-events.log",
    (Label("kind", (*ERROR_KINDS["ai_error"], OTHER)),),
)
PREVIEW_EVENTS = MetricSpec(
    "hivesync_preview_log_events_total",
    "counter",
    f"Events in the preview log, since counting began; {FROM_THE_END}.",
    "preview.log",
    (Label("event", vocabulary.PREVIEW_EVENTS),),
)
PREVIEW_FAILURES = MetricSpec(
    "hivesync_preview_log_failures_total",
    "counter",
    f"Events preview.failed in the preview log by their error_kind, since counting began; {FROM_THE_END}.",
    "preview.log",
    (Label("kind", (*ERROR_KINDS["preview_failure"], OTHER)),),
)
LINES = MetricSpec(
    "hivesync_log_lines_total",
    "counter",
    "Lines read from a log by what they were, since counting began: ok (a known event), malformed (no JSON object with "
    f"an event, or over 1 MiB), unknown_event. Blank lines are not counted; {FROM_THE_END}.",
    "the log files",
    (Label("log", vocabulary.LOGS), Label("result", RESULTS)),
)
LATE = MetricSpec(
    "hivesync_log_late_lines_total",
    "counter",
    "Lines counted late, among all those counted: read after a start or an outage, and written over two minutes (or "
    "two refresh periods) before, by the time in the first of each 64 KiB, or without a time. While it increases, the "
    "rates of the log's other counters are not those of now.",
    "the log files",
    (Label("log", vocabulary.LOGS),),
)
UNREAD = MetricSpec(
    "hivesync_log_unread_bytes",
    "gauge",
    "What is left to read in a log's files, now; a compressed one counts with its size on disk until it is read.",
    "the log files",
    (Label("log", vocabulary.LOGS),),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What the lines of one log are about, and under which names they are counted."""

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
    """The collector of the AI events log."""
    return LogCollector(AI, state, late_after=max(LATE_SECONDS, 2 * refresh_seconds))


def preview_log(state: StateFile, refresh_seconds: float = 0.0) -> LogCollector:
    """The collector of the preview log."""
    return LogCollector(PREVIEW, state, late_after=max(LATE_SECONDS, 2 * refresh_seconds))


class LogCollector:
    """Counts the lines of one log, over restarts."""

    periods = 1

    def __init__(
        self,
        subject: Subject,
        state: StateFile,
        *,
        budget: float = BUDGET_SECONDS,
        late_after: float = LATE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Loads the state. Raises StateError when there is one that cannot be read."""
        self.name = subject.collector
        self.sources = (subject.source,)
        self.specs = (subject.events, subject.failures, LINES, LATE, UNREAD)
        self._subject = subject
        self._file = state
        self._budget = budget
        self._late_after = late_after
        self._clock = clock
        self._wall_clock = wall_clock
        self._tally = _load(state, subject)
        self._at_end: float | None = None  # when the log was last read to its end; None from a failure on
        self._step: asyncio.Future[Slice] | None = None
        self._incidents: tuple[Incident, ...] = ()

    @property
    def content(self) -> tuple[Incident, ...]:
        """The latest failures that were read since the start, newest first; none before the end is reached."""
        return self._incidents if self._tally.is_shown else ()

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Counts what was written since the last refresh; the samples are what is left to read."""
        deadline = self._clock() + self._budget
        while True:
            found = await self._next_step(self._subject.pick(sources))
            if not found.more or self._clock() >= deadline:
                return [UNREAD.sample(found.unread_bytes, log=self._subject.label)]

    def counters(self) -> Sequence[Sample]:
        """All that has been counted and saved, zeros included; nothing before the log's end has been reached once."""
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
        # A step is seen through once it is begun. One that a cancelled refresh left behind is waited for, not raced.
        if self._step is None or self._step.done():
            self._step = asyncio.ensure_future(self._count_some(log))
            self._step.add_done_callback(_looked_at)
        return await asyncio.shield(self._step)

    async def _count_some(self, log: JsonlLog) -> Slice:
        """Read and count slices, save, and only then show; the last slice.

        What waits for the disk does so in a thread. What computes is done here, on the event loop and a batch at a
        time: a thread that computes takes 5 ms (`sys.getswitchinterval`) to let go of the interpreter, and would do so
        again for each request that comes in meanwhile.
        """
        tally, due = self._tally, self._clock() + SAVE_SECONDS
        failures: deque[Counted] = deque(maxlen=KEPT)
        while True:
            now = self._wall_clock()
            try:
                found = await asyncio.to_thread(log.read, tally.position)
            except SourceUnavailable as error:
                self._at_end = None
                await self._save(tally)  # a slice that cannot be read does not cost those before it
                if error.kind == "missing" and self._tally.position is None:
                    self._tally = replace(self._tally, left=0)  # a log that is not there yet has no past
                raise
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
                    self._at_end = now
                self._keep(failures)
                return found

    def _keep(self, failures: Iterable[Counted]) -> None:
        """Of a backlog only the last few are looked at, after it: each takes as long as counting twenty lines."""
        lines = islice(chain.from_iterable(counted.failures() for counted in failures), KEPT)
        told = (from_line(line, self._subject.incident) for line in lines)
        self._incidents = newest([incident for incident in told if incident] + [*self._incidents])

    async def _save(self, tally: Tally) -> None:
        if tally == self._tally:
            return
        try:
            await asyncio.to_thread(self._file.save, tally.to_state())
        except StateError as error:
            self._at_end = None
            raise CollectionFailed(self._subject.source, "state_unwritable", str(self._file.path)) from error
        self._tally = tally


@dataclass(frozen=True, slots=True)
class Tally:
    """What has been counted up to a position in the log; None before the first read.

    `left` is how many bytes are to be read before the counts are shown: what there was when this process saw the log
    for the first time; None before that. It is no more than this, so that a log that grows faster than it is read is
    shown too.
    """

    position: Position | None
    events: Mapping[str, int]
    kinds: Mapping[str, int]
    results: Mapping[str, int]
    late: int
    left: int | None

    @property
    def is_shown(self) -> bool:
        """Whether the end has been reached once."""
        return self.left == 0

    def plus(self, counted: Counted, *, late: bool) -> Tally:
        """The tally with the lines of a batch counted; the position is still the one before them."""
        events, kinds, results = dict(self.events), dict(self.kinds), dict(self.results)
        for event, times in counted.events.items():
            if event in events:
                events[event] += times
                results["ok"] += times
            else:
                results["unknown_event"] += times
        for kind, times in counted.kinds.items():
            kinds[closed(kind, kinds)] += times
        results["malformed"] += counted.malformed
        lines = counted.events.total() + counted.malformed
        return replace(self, events=events, kinds=kinds, results=results, late=self.late + lines * late)

    def at(self, found: Slice) -> Tally:
        """The tally after a slice whose lines are counted: those that were too long with it, and its position."""
        malformed = self.results["malformed"] + found.oversized
        left = self.left
        if not found.more:
            left = 0
        elif left != 0:
            left = found.unread_bytes if left is None else max(0, left - sum(map(len, found.pieces)))
        return replace(self, position=found.position, results={**self.results, "malformed": malformed}, left=left)

    def to_state(self) -> dict[str, Any]:
        """As JSON for the state directory."""
        return {
            "position": None if self.position is None else self.position.to_state(),
            "events": self.events,
            "kinds": self.kinds,
            "results": self.results,
            "late": self.late,
            "is_shown": self.is_shown,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], subject: Subject) -> Tally:
        """The inverse of `to_state`. Raises KeyError, TypeError or ValueError on anything else."""
        return cls(
            position=None if state["position"] is None else Position.from_state(state["position"]),
            events=_counts(state["events"], subject.known_events),
            kinds=_counts(state["kinds"], (*subject.known_kinds, OTHER)),
            results=_counts(state["results"], RESULTS),
            late=_counts(state, ("late",))["late"],
            left=_left(state),
        )

    @classmethod
    def empty(cls, subject: Subject) -> Tally:
        """Nothing read, all counts 0."""
        return cls(
            position=None,
            events=dict.fromkeys(subject.known_events, 0),
            kinds=dict.fromkeys((*subject.known_kinds, OTHER), 0),
            results=dict.fromkeys(RESULTS, 0),
            late=0,
            left=None,
        )


def _looked_at(step: asyncio.Future[Slice]) -> None:
    """What went wrong in a reading that was left behind is no news: the next one will say it."""
    if not step.cancelled():
        step.exception()


def _load(file: StateFile, subject: Subject) -> Tally:
    state = file.load()
    if state is None:
        return Tally.empty(subject)
    try:
        return Tally.from_state(state, subject)
    except (KeyError, TypeError, ValueError) as error:
        file.set_aside(type(error).__name__)
        return Tally.empty(subject)


def _left(state: Mapping[str, Any]) -> int | None:
    """0 where the counts were shown already, as those of older versions were; else a new process begins again with the
    end that it finds."""
    is_shown = state.get("is_shown", True)
    if type(is_shown) is not bool:
        raise ValueError("neither shown nor not")
    return 0 if is_shown else None


def _counts(state: Any, names: Iterable[str]) -> dict[str, int]:
    """The counts of these names; one that an older version did not have is 0."""
    if not isinstance(state, dict):
        raise TypeError("no counts")
    counts = {name: state.get(name, 0) for name in names}
    if any(type(count) is not int or count < 0 for count in counts.values()):
        raise ValueError("not a count")
    return counts
