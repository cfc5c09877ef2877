"""An AI events log of any length, and the number of lines of each kind in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHUNK = 50_000
BAD_EVERY = 10_000
"""One line in this many is bad: no JSON, half a line, no object, or an unknown event. All lines are valid UTF-8,
because mtail (3.0.0-rc50) never gets past an invalid byte."""

EVENTS = ("ai.requested", "ai.completed", "ai.completed", "ai.requested", "ai.error")
KINDS = ("provider_error", "timeout", "safety_rejection")
BAD_LINES = (
    b"Traceback (most recent call last):",
    b'{"ts":"2026-01-01T00:00:00Z","event":"ai.comp',
    b'["ai.completed"]',
    b'{"ts":"2026-01-01T00:00:00Z","event":"ai.paused","job_id":"x"}',
)
UNKNOWN_EVENT = 3
"""Index of the bad line that is well-formed and has an unknown event."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """The path of a log, and the counts that a reader has to reach."""

    path: Path
    lines: int
    events: dict[str, int]
    kinds: dict[str, int]
    results: dict[str, int]


def write(directory: Path, lines: int, seed: int) -> LogFile:
    """Write `ai-events.log` into the directory: about 200 bytes a line."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "ai-events.log"
    rng = np.random.default_rng(seed)
    events: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    results: Counter[str] = Counter(ok=0, malformed=0, unknown_event=0)
    with path.open("wb") as file:
        for first in range(0, lines, CHUNK):
            file.write(_chunk(rng, first, min(CHUNK, lines - first), events, kinds, results))
    return LogFile(path, lines, dict(events), dict(kinds), dict(results))


def _chunk(
    rng: np.random.Generator,
    first: int,
    number: int,
    events: Counter[str],
    kinds: Counter[str],
    results: Counter[str],
) -> bytes:
    ids = rng.bytes(number * 16).hex()
    draws = rng.integers(0, 60_000, number).tolist()
    written = []
    for index, draw in enumerate(draws):
        line = first + index
        if line % BAD_EVERY == BAD_EVERY - 1:
            bad = line // BAD_EVERY % len(BAD_LINES)
            results["unknown_event" if bad == UNKNOWN_EVENT else "malformed"] += 1
            written.append(BAD_LINES[bad])
            continue
        event = EVENTS[draw % len(EVENTS)]
        job = ids[index * 32 : index * 32 + 32]
        second = line % 86_400
        text = (
            f'{{"ts":"2026-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{draw:06}Z",'
            f'"event":"{event}","job_id":"{job}","user_id":"{job[8:24]}","project_id":"{job[4:16]}","provider":"openai","model":"gpt-4.1"'
        )
        if event == "ai.completed":
            text += f',"latency_ms":{draw},"prompt_tokens":{draw % 4000},"completion_tokens":{draw % 900}'
        elif event == "ai.error":
            kind = KINDS[draw % len(KINDS)]
            kinds[kind] += 1
            text += f',"latency_ms":{draw},"error_kind":"{kind}"'
        events[event] += 1
        results["ok"] += 1
        written.append(f"{text}}}".encode())
    return b"\n".join(written) + b"\n"
