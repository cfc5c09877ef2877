"""The past of a log raises no alert: a real Prometheus with the shipped rules, on a real exporter.

Durations are short (`live.HURRY`), and so are ranges here: a test waits until a jump has left them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from demo.monitoring import fit
from servers.prometheus import PrometheusServer
from tests.prometheus.live import hasten, query
from tests.rows import NO_DATABASE, NOWHERE
from tests.running import RunningExporter
from tests.waiting import until

pytestmark = pytest.mark.prometheus

PAST = timedelta(days=1)
LINES = 2_000_000
WINDOW_SECONDS = 10
ALERT = "HiveSyncAIErrorRatioHigh"
ERRORS = 'hivesync_ai_log_events_total{event="ai.error"}'


@contextmanager
def watched(folder: Path, exporter: RunningExporter) -> Iterator[PrometheusServer]:
    """A Prometheus that evaluates the shipped rules over the exporter, which may be started later."""
    shipped = hasten(fit(folder / "shipped", exporters=[exporter.address]))
    recording = shipped / "rules" / "recording.yml"
    text, changed = re.subn(r"\[1[05]m\]", f"[{WINDOW_SECONDS}s]", recording.read_text())
    assert changed > 5
    recording.write_text(text)
    with PrometheusServer(folder / "prometheus", configuration=shipped / "prometheus.yml") as prometheus:
        until(lambda: query(prometheus.url, "up"), "Prometheus scrapes")
        yield prometheus


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[RunningExporter]:
    """An exporter without sources but logs; not started."""
    exporter = RunningExporter(tmp_path / "exporter", database_url=NO_DATABASE, redis_url=NOWHERE)
    exporter.preview_log.touch()
    try:
        yield exporter
    finally:
        exporter.stop()


def failures(number: int, age: timedelta = timedelta()) -> bytes:
    """Lines of that many failed AI jobs, of that age."""
    line = {
        "ts": (datetime.now(UTC) - age).isoformat(),
        "event": "ai.error",
        "error_kind": "timeout",
        "model": "m" * 60,
    }
    return (orjson.dumps(line) + b"\n") * number


def append(log: Path, lines: bytes) -> None:
    with log.open("ab") as file:
        file.write(lines)


def counted(prometheus: PrometheusServer) -> int:
    """The number of failures in Prometheus."""
    return sum(int(series["value"][1]) for series in query(prometheus.url, ERRORS))


def alerted(prometheus: PrometheusServer) -> list[object]:
    """The series of the alert at any time until now, pending or firing."""
    return query(prometheus.url, f'max_over_time(ALERTS{{alertname="{ALERT}"}}[1h])')


def until_evaluated(prometheus: PrometheusServer) -> None:
    """Wait until the rules have been evaluated over all current samples, more than once."""
    since = f"timestamp(hivesync:ai_jobs_ended:threshold) > {time.time() + 1}"
    until(lambda: query(prometheus.url, since), "the rules are evaluated")


def test_a_log_of_the_past_at_a_first_start_raises_no_alert(tmp_path: Path, exporter: RunningExporter) -> None:
    append(exporter.ai_log, failures(LINES, PAST))
    with watched(tmp_path, exporter) as prometheus:
        exporter.launch()
        until(lambda: counted(prometheus) == LINES, "the log is read to its end", within=120)
        until_evaluated(prometheus)
        seen = query(prometheus.url, f"min_over_time({ERRORS}[1h])")
        assert [float(series["value"][1]) for series in seen] == [LINES], "the counter began at the end"
        assert alerted(prometheus) == []

        append(exporter.ai_log, failures(100))
        until(lambda: alerted(prometheus), "what fails now is told at once")


def test_failures_of_an_outage_raise_no_alert_and_later_ones_do(tmp_path: Path, exporter: RunningExporter) -> None:
    exporter.ai_log.touch()
    with watched(tmp_path, exporter) as prometheus:
        exporter.launch()
        until(lambda: query(prometheus.url, ERRORS), "Prometheus knows the counters")
        exporter.kill()
        append(exporter.ai_log, failures(LINES // 4, PAST))
        exporter.launch()
        until(lambda: counted(prometheus) == LINES // 4, "the log is read to its end", within=60)
        append(exporter.ai_log, failures(100))
        until_evaluated(prometheus)
        assert alerted(prometheus) == []
        seen = query(prometheus.url, f"min_over_time({ERRORS}[1h])")
        assert [float(series["value"][1]) for series in seen] == [0], "the counter went on from where it was"

        late = f"increase(hivesync_log_late_lines_total{{log='ai-events'}}[{WINDOW_SECONDS}s]) == 0"
        until(lambda: query(prometheus.url, late), "the jump has left the window")
        assert alerted(prometheus) == []
        append(exporter.ai_log, failures(100))
        until(lambda: alerted(prometheus), "what fails now is told")
