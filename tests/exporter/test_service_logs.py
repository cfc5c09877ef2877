"""The real exporter and its two logs: their content stays private, and a crash loses and repeats no line."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from exporter.collectors.logs import ai_log
from exporter.sources.jsonl import JsonlLog
from exporter.state import StateFile
from tests.logrotating import rotate_at
from tests.rows import NO_DATABASE, NOWHERE, sources
from tests.running import OPENMETRICS, RunningExporter, get, is_up, some_of
from tests.waiting import patience, until

LINES = 'hivesync_log_lines_total{{log="{log}",result="{result}"}}'
READINGS = 'hivesync_refresh_duration_seconds_count{collector="ai_log"}'
KILLS = 4
COUNTED = frozenset({"hivesync_ai_log_events_total", "hivesync_ai_log_errors_total", "hivesync_log_lines_total"})


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[RunningExporter]:
    """An exporter without sources but logs; not started."""
    exporter = RunningExporter(tmp_path, database_url=NO_DATABASE, redis_url=NOWHERE, refresh_seconds=0.2)
    try:
        yield exporter
    finally:
        exporter.stop()


# Privacy ---------------------------------------------------------------------------------------------------------

SECRETS = (
    "ada@example.org",
    "correct-horse-battery",
    "def launch_codes",
    "sk-live-0123456789",
    "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "GARBAGE",
)

LINES_WITH_SECRETS = (
    b'{"event": "ai.requested", "user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "prompt": "def launch_codes(): 1"}',
    b'{"event": "ada@example.org", "error_kind": "correct-horse-battery"}',
    b'{"event": "ai.error", "error_kind": "sk-live-0123456789", "model": "correct-horse-battery"}',
    b'{"event": "preview.failed", "error_kind": "ada@example.org"}',
    b'{"event": {"ada@example.org": "def launch_codes"}}',
    b'["ada@example.org"]',
    b'"sk-live-0123456789"',
    b'{"event": "ai.requested", "prompt": "ada@example.org',
    b"\xff\xfe\x00 GARBAGE \x80 correct-horse-battery",
    b'{"event": "ai.error", "error_kind": ["sk-live-0123456789"]}',
    b"GARBAGE" * 200_000,
    b'{"sk-live-0123456789": ' * 5_000,
    b'Traceback (most recent call last): ValueError: "def launch_codes"',
)


def test_nothing_that_is_in_a_log_gets_out_of_the_exporter(exporter: RunningExporter) -> None:
    """Neither in /metrics, nor in the exporter's log, nor in its state on disk."""
    for log in (exporter.ai_log, exporter.preview_log):
        log.write_bytes(b"\n".join(LINES_WITH_SECRETS) + b'\n{"event": "half a line of ada@example.org')

    def read(samples: Mapping[str, float], log: str) -> float:
        results = ("ok", "malformed", "unknown_event")
        return sum(samples.get(LINES.format(log=log, result=result), 0) for result in results)

    exporter.launch()
    samples = exporter.wait_for(
        lambda samples: read(samples, "ai-events") == read(samples, "preview") == len(LINES_WITH_SECRETS)
    )
    pages = [get(f"{exporter.url}/metrics", {"accept": accept})[2] for accept in ("*/*", OPENMETRICS)]
    exporter.stop()
    assert samples[LINES.format(log="ai-events", result="ok")] == 3
    assert samples[LINES.format(log="ai-events", result="unknown_event")] == 2
    assert samples['hivesync_ai_log_errors_total{kind="other"}'] == 2
    assert samples['hivesync_preview_log_failures_total{kind="other"}'] == 1
    assert samples['hivesync_log_unread_bytes{log="preview"}'] > 0
    kept = {path.name: path.read_bytes() for path in exporter.state.iterdir()}
    assert {"ai-events", "preview"} <= kept.keys()
    everything = b"".join([*pages, *kept.values(), exporter.log.read_bytes()]).lower()
    assert b"hivesync_log_lines_total" in everything
    assert not [secret for secret in SECRETS if secret.lower().encode() in everything]
    assert not [word for word in ("example.org", "battery", "launch", "sk-live") if word.encode() in everything]


# Crashes ---------------------------------------------------------------------------------------------------------

WRITER = r"""
import json, os, select, sys
from collections import Counter
from pathlib import Path
from random import Random

path, rotate_after = Path(sys.argv[1]), int(sys.argv[2])
random, written, number = Random(7), Counter(), 0
EVENTS = ["ai.requested", "ai.completed", "ai.error", "unknown", "malformed"]
KINDS = ["provider_error", "timeout", "safety_rejection", "other"]

def rotate():
    number = 1
    while path.with_name(f"{path.name}.{number}").exists():
        number += 1
    for older in range(number, 1, -1):
        path.with_name(f"{path.name}.{older - 1}").rename(path.with_name(f"{path.name}.{older}"))
    path.rename(path.with_name(f"{path.name}.1"))

log = open(path, "ab", buffering=0)
while number % 50 or not select.select([sys.stdin], [], [], 0.002)[0]:
    number += 1
    (event,) = random.choices(EVENTS, (40, 40, 15, 3, 2))
    kind = random.choice(KINDS) if event == "ai.error" else None
    written[event] += 1
    written[kind] += 1
    line = json.dumps({"ts": number, "event": event, "error_kind": kind, "prompt": "x" * random.randrange(400)})
    line = (line.encode() if event != "malformed" else b"{" + os.urandom(50).hex().encode()) + b"\n"
    cut = random.randrange(len(line)) if number % 10 == 0 else 0
    for part in (line[:cut], line[cut:]):
        if part:
            log.write(part)
    if number % rotate_after == 0:
        log.close()
        rotate()
        log = open(path, "ab", buffering=0)
print(json.dumps({str(what): count for what, count in written.items()}), flush=True)
"""
"""A program that writes lines, some in two pieces, and rotates by rename, until it reads a line; then prints its
counts."""


def expected_of(written: Mapping[str, int]) -> dict[str, float]:
    """The counters for these counts of written lines."""
    events = ("ai.requested", "ai.completed", "ai.error")
    kinds = ("provider_error", "timeout", "safety_rejection", "other")
    return {
        **{f'hivesync_ai_log_events_total{{event="{event}"}}': written[event] for event in events},
        **{f'hivesync_ai_log_errors_total{{kind="{kind}"}}': written[kind] for kind in kinds},
        LINES.format(log="ai-events", result="ok"): sum(written[event] for event in events),
        LINES.format(log="ai-events", result="malformed"): written["malformed"],
        LINES.format(log="ai-events", result="unknown_event"): written["unknown"],
    }


def test_killed_again_and_again_in_a_burst_of_lines_it_counts_each_exactly_once(exporter: RunningExporter) -> None:
    shown: dict[str, float] = {}

    def counted() -> dict[str, float]:
        """The current counters, which never fall, not even right after a kill."""
        counters = {name: v for name, v in some_of(exporter.samples(), COUNTED).items() if 'log="preview"' not in name}
        assert not [name for name, value in shown.items() if counters[name] < value]
        shown.update(counters)
        return counters

    def counts_on() -> None:
        before = counted()
        until(lambda: counted() != before, "lines are counted")

    exporter.ai_log.touch()  # lines rotated away before the first read do not count
    exporter.launch()
    exporter.wait_for(lambda samples: is_up(samples, "ai_events_log"))
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(exporter.ai_log), "5000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        for _ in range(KILLS):
            counts_on()
            exporter.kill()
            exporter.launch()
        counts_on()
        said, _ = writer.communicate(b"enough\n", timeout=patience())
        expected = expected_of(Counter(json.loads(said)))
        until(lambda: sum(counted().values()) >= sum(expected.values()), "every line is counted")
        assert counted() == expected
        before = exporter.samples()[READINGS]
        exporter.wait_for(lambda samples: samples[READINGS] >= before + 3)
        assert counted() == expected
    finally:
        writer.kill()
        writer.communicate()
    rotated = [path for path in exporter.ai_log.parent.iterdir() if path.name.startswith("ai-events.log.")]
    assert len(rotated) > KILLS
    assert min(expected.values()) > 100


# Rotation while the exporter is down -----------------------------------------------------------------------------

LOGROTATE = {
    "extension": "extension .log",
    "seconds": "dateext\ndateformat -%s",
    "directory": "olddir {folder}/away\ncreateolddir 0755",
    "times": "dateext\ndateformat -%Y%m%dT%H%M%S\ncompress\ncompresscmd /usr/bin/zstd\ncompressext .zst\n"
    "compressoptions -q --rm",
}


@pytest.mark.logrotate
@pytest.mark.parametrize("options", LOGROTATE.values(), ids=LOGROTATE)
def test_lines_written_while_it_was_down_are_counted_wherever_logrotate_put_them(tmp_path: Path, options: str) -> None:
    exporter = RunningExporter(
        tmp_path,
        database_url=NO_DATABASE,
        redis_url=NOWHERE,
        refresh_seconds=0.2,
        log_archive_dirs=f"{tmp_path}/away",
    )
    names = {exporter.ai_log: ("ai.requested", "ai-events"), exporter.preview_log: ("live_view.left", "preview")}

    def write(count: int) -> None:
        for log, (event, _) in names.items():
            with log.open("ab") as file:
                file.write(b'{"ts":"2026-01-01","event":"%s","n":%d}\n' % (event.encode(), count) * count)

    def counted(count: int) -> None:
        exporter.wait_for(
            lambda samples: (
                [samples[LINES.format(log=label, result="ok")] for _, label in names.values()] == [count] * 2
            )
        )

    configuration, options = tmp_path / "logrotate.conf", options.format(folder=tmp_path)
    configuration.write_text(f"{exporter.ai_log}\n{exporter.preview_log} {{\nrotate 50\ncreate\n{options}\n}}\n")
    configuration.chmod(0o600)
    written = 0
    try:
        for number in range(1, 5):
            write(100 + number)
            written += 100 + number
            if number == 1:
                exporter.start()
                counted(written)
                exporter.stop()
            else:
                rotate_at(datetime(2026, 1, number, 10, 20, 30), tmp_path / "s", configuration)  # noqa: DTZ001
        write(7)
        exporter.start()
        counted(written + 7)
        assert not [event for event in exporter.events() if event["event"].startswith("log.")]
        exporter.refreshed()
        counted(written + 7)
    finally:
        exporter.stop()


# The end ---------------------------------------------------------------------------------------------------------


def test_a_reading_that_the_end_left_behind_does_not_complain_into_the_log(tmp_path: Path) -> None:
    """A thread cannot be cancelled: it continues after its refresh, and its result is not read."""
    complaints: list[Mapping[str, Any]] = []
    may_fail = threading.Event()

    class Slow(JsonlLog):
        def read(self, *arguments: Any, **options: Any) -> Any:
            may_fail.wait(patience())
            return super().read(*arguments, **options)

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        collector = ai_log(StateFile(tmp_path, "ai-events"))
        async with sources(NO_DATABASE) as opened:
            slow = Slow("ai_events_log", tmp_path / "nowhere.log")
            object.__setattr__(opened, "ai_events_log", slow)
            refresh = asyncio.create_task(collector.refresh(opened))
            await asyncio.sleep(0)
            refresh.cancel()
            await asyncio.wait([refresh])
            may_fail.set()
        await asyncio.get_running_loop().shutdown_default_executor()
        await asyncio.sleep(0)
        del collector, refresh
        gc.collect()

    asyncio.run(scenario())
    gc.collect()
    assert complaints == []
