"""A log with words without number, of any length: each line is counted, and no word is kept
(docs/definitions.md#limits-of-workers-and-lists)."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from exporter import incident, log_lines
from exporter.collectors import logs
from exporter.collectors.logs import ai_log
from exporter.incident import KEPT
from exporter.sources.jsonl.slice import BATCH_BYTES
from tests.exporter.collectors.beside import Turns
from tests.exporter.collectors.logs.counting import LINES, Setup, append, counted, values

ERRORS = "hivesync_ai_log_errors_total"


def test_200_000_words_in_a_log_are_counted_in_steps_and_not_kept(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    with setup.ai.path.open("wb") as log:
        for n in range(100_000):
            log.write(b'{"event":"event-%d","ts":"2026-03-17T12:00:00Z"}\n' % n)
            log.write(b'{"event":"ai.error","error_kind":"kind-%d","job_id":"j-%d"}\n' % (n, n))
    turns, count = Turns(), log_lines.count

    def noted(content: bytes, failure_event: str) -> object:
        turns.note()
        assert len(content) <= BATCH_BYTES
        return count(content, failure_event)

    monkeypatch.setattr(logs, "count", noted)
    collector = ai_log(setup.state())

    async def read() -> None:
        counting = asyncio.create_task(turns.count())
        while values(await collector.refresh(setup.sources))["hivesync_log_unread_bytes", "ai-events"]:
            pass
        counting.cancel()

    asyncio.run(read())
    assert counted(collector) == {
        ("hivesync_ai_log_events_total", "ai.error"): 100_000,
        (ERRORS, "other"): 100_000,
        (LINES, "ai-events", "ok"): 100_000,
        (LINES, "ai-events", "unknown_event"): 100_000,
    }
    assert set(turns.work.values()) == {1}
    assert (setup.folder / "ai-events").stat().st_size < 2_000


def test_long_words_in_incidents_are_read_in_steps(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    word = "a b" * 150_000
    line = {"event": "ai.error", "ts": "2026-03-17T12:00:00Z", "job_id": word, "error_kind": word}
    append(setup.ai, *[orjson.dumps(line)] * KEPT)
    turns, from_line = Turns(), incident.from_line

    def noted(line: bytes, kind: str) -> object:
        turns.note()
        return from_line(line, kind)

    monkeypatch.setattr(logs, "from_line", noted)
    collector = ai_log(setup.state())

    async def read() -> None:
        counting = asyncio.create_task(turns.count())
        await collector.refresh(setup.sources)
        counting.cancel()

    asyncio.run(read())
    assert counted(collector)[ERRORS, "other"] == KEPT
    assert {each.job_id for each in collector.content} == {"ab" * 50}
    assert set(turns.work.values()) == {1}
