"""Ways to count a log's events in Python, each in a process of its own: `python -m bench.log_readers WAY LOG STATE`.

Prints the seconds and the counts as JSON. The start of Python and the loading of modules, most of which are the
product's, are excluded: they are the same for any number of lines. The peers' ways keep no position, or pygtail's own,
and handle no rotation, no half line and no limit; only the product's way runs in production.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

BLOCK_BYTES = 4 * 1024 * 1024

Counts = dict[str, dict[str, int]]


Read = Callable[[], Counts]
"""A way with its modules loaded."""


def product(log: Path, state: Path) -> Read:
    """Return the collector of the AI events log as in production: with positions, saved state and rotation."""
    import uvloop

    from exporter.collector import Sources
    from exporter.collectors.logs import AI_ERRORS, AI_EVENTS, LINES, UNREAD, ai_log
    from exporter.sources.jsonl import JsonlLog
    from exporter.sources.postgres import Postgres
    from exporter.sources.redis import Redis
    from exporter.state import StateFile

    async def read() -> Counts:
        nowhere = "127.0.0.1:1"
        sources = Sources(
            postgres=Postgres(f"postgresql://{nowhere}/none"),
            redis=Redis(f"redis://{nowhere}"),
            ai_events_log=JsonlLog("ai_events_log", log),
            preview_log=JsonlLog("preview_log", log.with_name("preview.log")),
        )
        collector = ai_log(StateFile(state, "ai-events"))
        unread = None
        while unread != 0:
            unread = next(s.value for s in await collector.refresh(sources) if s.spec is UNREAD)
        counts: Counts = {"events": {}, "kinds": {}, "results": {}}
        names = {AI_EVENTS.name: "events", AI_ERRORS.name: "kinds", LINES.name: "results"}
        for sample in collector.counters():
            if sample.spec.name in names and isinstance(sample.value, int | float):
                counts[names[sample.spec.name]][sample.labels[-1]] = int(sample.value)
        return counts

    return lambda: uvloop.run(read())


def product_line_by_line(log: Path, state: Path) -> Read:
    """Return the same collector, with each line parsed on its own."""
    from exporter import log_lines

    log_lines.read_together = lambda content: None
    return product(log, state)


def pygtail(log: Path, state: Path) -> Read:
    """Return pygtail's iteration alone, without parsing."""
    lines = _pygtail_lines(log, state)
    return lambda: {"results": {"ok": sum(1 for _ in lines)}}


def pygtail_orjson(log: Path, state: Path) -> Read:
    """Return pygtail's iteration with each line parsed and counted."""
    lines = _pygtail_lines(log, state)
    return lambda: _count(lines)


def blocks_orjson(log: Path, state: Path) -> Read:
    """Return a reader of blocks of bytes, split, parsed and counted: the least work in Python that parses every
    line."""
    del state

    def lines() -> Iterator[bytes]:
        rest = b""
        with log.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                *whole, rest = (rest + block).split(b"\n")
                yield from whole

    return lambda: _count(lines())


def _pygtail_lines(log: Path, state: Path) -> Iterator[str]:
    from pygtail import Pygtail

    # Decoded as Latin-1, because an invalid byte would end a decoding as UTF-8.
    return iter(Pygtail(str(log), offset_file=str(state / "offset"), encoding="latin-1"))


def _count(lines: Iterable[str | bytes]) -> Counts:
    events: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    malformed = 0
    for line in lines:
        try:
            record: Any = orjson.loads(line)
            events[record["event"]] += 1
            if record["event"] == "ai.error":
                kinds[record["error_kind"]] += 1
        except (ValueError, TypeError, KeyError):
            malformed += 1
    return {"events": dict(events), "kinds": dict(kinds), "results": {"malformed": malformed}}


LINE_BY_LINE = "product, line by line"

WAYS: dict[str, Callable[[Path, Path], Read]] = {
    "product": product,
    LINE_BY_LINE: product_line_by_line,
    "pygtail": pygtail,
    "pygtail + orjson": pygtail_orjson,
    "blocks of bytes + orjson": blocks_orjson,
}


if __name__ == "__main__":
    way, log, state = sys.argv[1:]
    read = WAYS[way](Path(log), Path(state))
    started, used = time.perf_counter(), time.process_time()
    counted = read()
    taken = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - used}
    print(orjson.dumps(taken | {"counts": counted}).decode())
