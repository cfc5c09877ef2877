"""Log lines as counters: events and kinds of failures by label, malformed lines, and no content of a line."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from exporter.collectors.logs import ai_log, preview_log
from tests.exporter.collectors.logs.counting import LATE, LINES, Setup, append, counted, values


def test_every_label_is_there_once_the_log_was_looked_at(setup: Setup) -> None:
    of_ai, of_previews = ai_log(setup.state("ai-events")), preview_log(setup.state("preview"))
    for collector in (of_ai, of_previews):
        setup.refresh(collector)
    assert values(of_ai.counters()) == {
        ("hivesync_ai_log_events_total", "ai.requested"): 0,
        ("hivesync_ai_log_events_total", "ai.completed"): 0,
        ("hivesync_ai_log_events_total", "ai.error"): 0,
        ("hivesync_ai_log_errors_total", "provider_error"): 0,
        ("hivesync_ai_log_errors_total", "timeout"): 0,
        ("hivesync_ai_log_errors_total", "safety_rejection"): 0,
        ("hivesync_ai_log_errors_total", "other"): 0,
        (LINES, "ai-events", "ok"): 0,
        (LINES, "ai-events", "malformed"): 0,
        (LINES, "ai-events", "unknown_event"): 0,
        (LATE, "ai-events"): 0,
    }
    assert values(of_previews.counters()) == {
        ("hivesync_preview_log_events_total", "preview.requested"): 0,
        ("hivesync_preview_log_events_total", "preview.completed"): 0,
        ("hivesync_preview_log_events_total", "preview.failed"): 0,
        ("hivesync_preview_log_events_total", "live_view.joined"): 0,
        ("hivesync_preview_log_events_total", "live_view.left"): 0,
        ("hivesync_preview_log_failures_total", "build_error"): 0,
        ("hivesync_preview_log_failures_total", "timeout"): 0,
        ("hivesync_preview_log_failures_total", "worker_lost"): 0,
        ("hivesync_preview_log_failures_total", "other"): 0,
        (LINES, "preview", "ok"): 0,
        (LINES, "preview", "malformed"): 0,
        (LINES, "preview", "unknown_event"): 0,
        (LATE, "preview"): 0,
    }


def test_the_specs_are_those_of_the_samples(setup: Setup) -> None:
    for collector in (ai_log(setup.state("ai-events")), preview_log(setup.state("preview"))):
        gauges = asyncio.run(collector.refresh(setup.sources))
        assert {sample.spec for sample in (*gauges, *collector.counters())} == set(collector.specs)
        assert collector.periods == 1
    assert ai_log(setup.state()).name == "ai_log"
    assert ai_log(setup.state()).sources == ("ai_events_log",)
    assert preview_log(setup.state()).name == "preview_log"
    assert preview_log(setup.state()).sources == ("preview_log",)


def test_ai_events_and_kinds_of_errors_are_counted(setup: Setup) -> None:
    collector = ai_log(setup.state())
    append(
        setup.ai,
        {"event": "ai.requested", "ts": "2025-01-01T00:00:00Z", "user_id": "u1"},
        {"event": "ai.requested", "error_kind": "timeout"},
        {"event": "ai.completed", "latency_ms": 12, "unheard_of": [1]},
        {"event": "ai.error", "error_kind": "timeout"},
        {"event": "ai.error", "error_kind": " Provider_Error"},
        {"event": "ai.error", "error_kind": "safety_rejection"},
        {"event": "ai.error", "error_kind": "worker_lost"},
        {"event": "ai.error", "error_kind": ["timeout"]},
        {"event": "ai.error"},
        {"event": "preview.requested"},
    )
    setup.refresh(collector)
    assert counted(collector) == {
        ("hivesync_ai_log_events_total", "ai.requested"): 2,
        ("hivesync_ai_log_events_total", "ai.completed"): 1,
        ("hivesync_ai_log_events_total", "ai.error"): 6,
        ("hivesync_ai_log_errors_total", "timeout"): 1,
        ("hivesync_ai_log_errors_total", "provider_error"): 1,
        ("hivesync_ai_log_errors_total", "safety_rejection"): 1,
        ("hivesync_ai_log_errors_total", "other"): 3,
        (LINES, "ai-events", "ok"): 9,
        (LINES, "ai-events", "unknown_event"): 1,
    }


def test_preview_events_and_kinds_of_failures_are_counted(setup: Setup) -> None:
    collector = preview_log(setup.state())
    append(
        setup.preview,
        {"event": "preview.requested"},
        {"event": "preview.completed"},
        {"event": "live_view.joined"},
        {"event": "live_view.left"},
        {"event": "preview.failed", "error_kind": "build_error"},
        {"event": "preview.failed", "error_kind": "timeout"},
        {"event": "preview.failed", "error_kind": "worker_lost"},
        {"event": "preview.failed", "error_kind": "provider_error"},
        {"event": "ai.error", "error_kind": "timeout"},
    )
    setup.refresh(collector)
    assert counted(collector) == {
        ("hivesync_preview_log_events_total", "preview.requested"): 1,
        ("hivesync_preview_log_events_total", "preview.completed"): 1,
        ("hivesync_preview_log_events_total", "preview.failed"): 4,
        ("hivesync_preview_log_events_total", "live_view.joined"): 1,
        ("hivesync_preview_log_events_total", "live_view.left"): 1,
        ("hivesync_preview_log_failures_total", "build_error"): 1,
        ("hivesync_preview_log_failures_total", "timeout"): 1,
        ("hivesync_preview_log_failures_total", "worker_lost"): 1,
        ("hivesync_preview_log_failures_total", "other"): 1,
        (LINES, "preview", "ok"): 8,
        (LINES, "preview", "unknown_event"): 1,
    }


@pytest.mark.parametrize(
    "line",
    [
        b"ai.requested",
        b'{"event":"ai.requested"',
        b'{"event":"ai.requested"}{"event":"ai.requested"}',
        b'"ai.requested"',
        b'["event","ai.requested"]',
        b"null",
        b"1",
        b"NaN",
        b"{}",
        b'{"Event":"ai.requested"}',
        b'{"event":null}',
        b'{"event":1}',
        b'{"event":["ai.requested"]}',
        b'{"event":{"ai.requested":1}}',
        b'{"event":"ai.requested","user_id":NaN}',
        b'{"event":"ai.requested","user_id":"\xff"}',
        b'\xef\xbb\xbf"ai.requested"',
        b'\x00\x00"ai.requested"\x00',
        b'{"event":"ai.requested","nested":' + b"[" * 400_000 + b"]" * 400_000 + b"}",
        b'{"event":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"event":"ai.requested","prompt":"' + b"x" * 1024 * 1024 + b'"}',
        b"x" * 3 * 1024 * 1024,
    ],
    ids=lambda line: line[:30].decode("utf-8", "replace"),
)
def test_a_malformed_line_is_counted_as_one(setup: Setup, line: bytes) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, line, {"event": "ai.requested"})
    setup.refresh(collector)
    assert counted(collector) == {
        ("hivesync_ai_log_events_total", "ai.requested"): 1,
        (LINES, "ai-events", "ok"): 1,
        (LINES, "ai-events", "malformed"): 1,
    }


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\0" * 9, b"\0" * 3 * 1024 * 1024, b"\0\xef\xbb\xbf"])
def test_what_stands_before_the_first_line_and_is_no_text_costs_no_event(setup: Setup, before: bytes) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, before + b'{"event":"ai.requested"}', {"event": "ai.completed"})
    setup.refresh(collector)
    assert counted(collector) == {
        ("hivesync_ai_log_events_total", "ai.requested"): 1,
        ("hivesync_ai_log_events_total", "ai.completed"): 1,
        (LINES, "ai-events", "ok"): 2,
    }


def test_a_log_of_nothing_but_a_huge_line_is_counted_too(setup: Setup) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, b"x" * 3 * 1024 * 1024)
    setup.refresh(collector)
    assert counted(collector) == {(LINES, "ai-events", "malformed"): 1}


def test_carriage_returns_blank_lines_and_doubled_keys_do_no_harm(setup: Setup) -> None:
    collector = ai_log(setup.state())
    append(setup.ai, b'{"event":"ai.error","event":"ai.requested"}\r', b"", b"\r", b"  ", b' {"event":"ai.completed"} ')
    setup.refresh(collector)
    assert counted(collector) == {
        ("hivesync_ai_log_events_total", "ai.requested"): 1,
        ("hivesync_ai_log_events_total", "ai.completed"): 1,
        (LINES, "ai-events", "ok"): 2,
    }


def test_nothing_of_a_line_is_logged_shown_or_kept(setup: Setup) -> None:
    secret = "my secret prompt"
    collector = ai_log(setup.state())
    append(
        setup.ai,
        {"event": "ai.requested", "prompt": secret, "user_id": secret},
        {"event": secret},
        {"event": "ai.error", "error_kind": secret},
        secret.encode(),
    )
    with capture_logs() as logged:
        shown = setup.refresh(collector)
    assert secret not in repr((logged, shown, list(collector.counters())))
    assert secret.encode() not in setup.state().path.read_bytes()


def test_what_is_left_to_read_is_shown(setup: Setup) -> None:
    collector = ai_log(setup.state())
    with setup.ai.path.open("ab") as file:
        file.write(b'{"event":"ai.requested"}\n{"event":')
    assert setup.refresh(collector) == {("hivesync_log_unread_bytes", "ai-events"): 9}
