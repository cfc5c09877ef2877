"""Events and failures counted from HiveSync's two log files (contract §1 Logs, §3; spec §3.2).

    hivesync_ai_log_events_total{event="ai.completed"} 1873.0
    hivesync_ai_log_errors_total{kind="timeout"} 4.0
    hivesync_log_lines_total{log="ai-events",result="malformed"} 1.0
    hivesync_log_unread_bytes{log="ai-events"} 0.0

`sources/jsonl/` hands over lines, each once. The counts and the position they belong to are saved together, before
the counts are shown: a kill at any moment loses and repeats nothing, and no counter ever goes back. Of a line only
`event` and `error_kind` are looked at; nothing in it is logged or shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from exporter.collector import Sources
from exporter.errors import CollectionFailed, StateError
from exporter.labels import OTHER
from exporter.sources.jsonl import JsonlLog, Position, Slice
from exporter.spec import MetricSpec, Sample
from exporter.state import StateFile

BUDGET_SECONDS = 5.0
"""How long a refresh goes on reading when there is a lot to catch up with; the next one goes on from there."""

RESULTS = ("ok", "malformed", "unknown_event")

AI_EVENTS = MetricSpec(
    "hivesync_ai_log_events_total",
    "counter",
    "Events in the AI events log, since counting began.",
    "ai-events.log",
    ("event",),
)
AI_ERRORS = MetricSpec(
    "hivesync_ai_log_errors_total",
    "counter",
    "Events ai.error in the AI events log by their error_kind, since counting began.",
    "ai-events.log",
    ("kind",),
)
PREVIEW_EVENTS = MetricSpec(
    "hivesync_preview_log_events_total",
    "counter",
    "Events in the preview log, since counting began.",
    "preview.log",
    ("event",),
)
PREVIEW_FAILURES = MetricSpec(
    "hivesync_preview_log_failures_total",
    "counter",
    "Events preview.failed in the preview log by their error_kind, since counting began.",
    "preview.log",
    ("kind",),
)
LINES = MetricSpec(
    "hivesync_log_lines_total",
    "counter",
    "Lines read from a log by what they were, since counting began: ok (a known event), malformed (no JSON object with "
    "an event, or over 1 MiB), unknown_event. Blank lines are not counted.",
    "the log files",
    ("log", "result"),
)
UNREAD = MetricSpec(
    "hivesync_log_unread_bytes",
    "gauge",
    "What is left to read in a log's files, now; a compressed one counts with its size on disk until it is read.",
    "the log files",
    ("log",),
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
    known_kinds: tuple[str, ...]


AI = Subject(
    collector="ai_log",
    source="ai_events_log",
    pick=lambda sources: sources.ai_events_log,
    label="ai-events",
    events=AI_EVENTS,
    known_events=("ai.requested", "ai.completed", "ai.error"),
    failures=AI_ERRORS,
    failure_event="ai.error",
    known_kinds=("provider_error", "timeout", "safety_rejection"),
)
PREVIEW = Subject(
    collector="preview_log",
    source="preview_log",
    pick=lambda sources: sources.preview_log,
    label="preview",
    events=PREVIEW_EVENTS,
    known_events=(
        "preview.requested",
        "preview.completed",
        "preview.failed",
        "live_view.joined",
        "live_view.left",
    ),
    failures=PREVIEW_FAILURES,
    failure_event="preview.failed",
    known_kinds=("build_error", "timeout", "worker_lost"),
)


def ai_log(state: StateFile) -> LogCollector:
    """The collector of the AI events log."""
    return LogCollector(AI, state)


def preview_log(state: StateFile) -> LogCollector:
    """The collector of the preview log."""
    return LogCollector(PREVIEW, state)


class LogCollector:
    """Counts the lines of one log, over restarts."""

    periods = 1

    def __init__(
        self,
        subject: Subject,
        state: StateFile,
        *,
        budget: float = BUDGET_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Loads the state. Raises StateError when there is one that cannot be read."""
        self.name = subject.collector
        self.sources = (subject.source,)
        self.specs = (subject.events, subject.failures, LINES, UNREAD)
        self._subject = subject
        self._file = state
        self._budget = budget
        self._clock = clock
        self._tally = _load(state, subject)
        self._step: asyncio.Future[Slice] | None = None

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Counts what was written since the last refresh; the samples are what is left to read."""
        deadline = self._clock() + self._budget
        while True:
            found = await self._next_slice(self._subject.pick(sources))
            if not found.more or self._clock() >= deadline:
                return [UNREAD.sample(found.unread_bytes, log=self._subject.label)]

    def counters(self) -> Sequence[Sample]:
        """All that has been counted and saved, zeros included."""
        subject, tally = self._subject, self._tally
        return [
            *(subject.events.sample(count, event=event) for event, count in tally.events.items()),
            *(subject.failures.sample(count, kind=kind) for kind, count in tally.kinds.items()),
            *(LINES.sample(count, log=subject.label, result=result) for result, count in tally.results.items()),
        ]

    async def _next_slice(self, log: JsonlLog) -> Slice:
        # A thread cannot be cancelled. One that a cancelled refresh left behind is waited for, not raced.
        if self._step is None or self._step.done():
            self._step = asyncio.ensure_future(asyncio.to_thread(self._count_slice, log))
            self._step.add_done_callback(_looked_at)
        return await asyncio.shield(self._step)

    def _count_slice(self, log: JsonlLog) -> Slice:
        """Read, count, save, and only then show. Runs in a thread, one at a time."""
        found = log.read(self._tally.position)
        tally = self._tally.after(found, self._subject)
        if tally != self._tally:
            try:
                self._file.save(tally.to_state())
            except StateError as error:
                raise CollectionFailed(self._subject.source, "state_unwritable", str(self._file.path)) from error
            self._tally = tally
        return found


@dataclass(frozen=True, slots=True)
class Tally:
    """What has been counted up to a position in the log; None before the first read."""

    position: Position | None
    events: Mapping[str, int]
    kinds: Mapping[str, int]
    results: Mapping[str, int]

    def after(self, found: Slice, subject: Subject) -> Tally:
        """The tally with the lines of a slice counted."""
        if not found.lines and not found.oversized:
            return replace(self, position=found.position)
        events, kinds, results = dict(self.events), dict(self.kinds), dict(self.results)
        malformed, unknown = _count(found.lines, subject.failure_event, events, kinds)
        results["ok"] += len(found.lines) - malformed - unknown
        results["malformed"] += malformed + found.oversized
        results["unknown_event"] += unknown
        return Tally(found.position, events, kinds, results)

    def to_state(self) -> dict[str, Any]:
        """As JSON for the state directory."""
        return {
            "position": None if self.position is None else self.position.to_state(),
            "events": self.events,
            "kinds": self.kinds,
            "results": self.results,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], subject: Subject) -> Tally:
        """The inverse of `to_state`. Raises KeyError, TypeError or ValueError on anything else."""
        return cls(
            position=None if state["position"] is None else Position.from_state(state["position"]),
            events=_counts(state["events"], subject.known_events),
            kinds=_counts(state["kinds"], (*subject.known_kinds, OTHER)),
            results=_counts(state["results"], RESULTS),
        )

    @classmethod
    def empty(cls, subject: Subject) -> Tally:
        """Nothing read, all counts 0."""
        return cls(
            position=None,
            events=dict.fromkeys(subject.known_events, 0),
            kinds=dict.fromkeys((*subject.known_kinds, OTHER), 0),
            results=dict.fromkeys(RESULTS, 0),
        )


def _count(
    lines: Iterable[bytes], failure_event: str, events: dict[str, int], kinds: dict[str, int]
) -> tuple[int, int]:
    """Add the lines to `events` and `kinds`, whose keys are all there are; how many were malformed, and unknown.

    This loop is what reading a log costs; it does as little as it can for a line that is as it should be.
    """
    malformed = unknown = 0
    parse, not_json = orjson.loads, orjson.JSONDecodeError
    for line in lines:
        try:
            record = parse(line)
        except not_json:  # no JSON, no UTF-8, or nested too deep
            malformed += 1
            continue
        event = record.get("event") if type(record) is dict else None
        if type(event) is not str:
            malformed += 1
        elif event not in events:
            unknown += 1
        else:
            events[event] += 1
            if event == failure_event:
                kind = record.get("error_kind")
                kinds[kind if type(kind) is str and kind in kinds else OTHER] += 1
    return malformed, unknown


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


def _counts(state: Any, names: Iterable[str]) -> dict[str, int]:
    """The counts of these names; one that an older version did not have is 0."""
    if not isinstance(state, dict):
        raise TypeError("no counts")
    counts = {name: state.get(name, 0) for name in names}
    if any(type(count) is not int or count < 0 for count in counts.values()):
        raise ValueError("not a count")
    return counts
