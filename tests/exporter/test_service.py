"""The life of the real process: start without sources, stop, restart, and refusal to start."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from demo.database import DATABASE, EXPORTER_ROLE, create_database
from servers.ports import LOOPBACK
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.rows import NO_DATABASE, NOWHERE
from tests.running import (
    AI_LINE,
    COUNTERS,
    FED_BY,
    GPU_SECONDS,
    PREVIEW_LINE,
    REQUESTED,
    RunningExporter,
    Samples,
    all_there,
    beat,
    is_up,
    metrics_of,
    run_exporter,
    seed_database,
    seed_valkey,
    some_of,
)
from tests.waiting import patience, until

STOP_SECONDS = 5.0
SOURCES = ("postgres", "redis", "ai_events_log", "preview_log")
JOINED = 'hivesync_preview_log_events_total{event="live_view.joined"}'

WITHOUT_SOURCES = {
    "hivesync_source_up",
    "hivesync_collector_up",
    "hivesync_refresh_duration_seconds_bucket",
    "hivesync_refresh_duration_seconds_count",
    "hivesync_refresh_duration_seconds_sum",
    "hivesync_refresh_failures_total",
    "hivesync_exporter_build_info",
    "hivesync_input_provided",
    "hivesync_source_changes_total",
    "hivesync_ai_log_events_total",
    "hivesync_ai_log_errors_total",
    "hivesync_preview_log_events_total",
    "hivesync_preview_log_failures_total",
    "hivesync_log_lines_total",
    "hivesync_log_events_dropped_total",
    "hivesync_log_late_lines_total",
    "hivesync_resyncs_total",
    "hivesync_resync_corrections_total",
}
"""Metrics before any source was reached: counters without events are 0."""


def nowhere(directory: Path, **settings: Any) -> RunningExporter:
    """An exporter with unreachable sources."""
    return RunningExporter(directory, database_url=NO_DATABASE, redis_url=NOWHERE, **settings)


# Starting --------------------------------------------------------------------------------------------------------


def test_it_starts_with_everything_down_and_shows_metrics_as_sources_come_up(tmp_path: Path) -> None:
    postgres, valkey = PostgresServer(tmp_path / "postgres"), ValkeyServer(tmp_path / "valkey")
    exporter = RunningExporter(tmp_path, database_url=postgres.url_of(DATABASE, EXPORTER_ROLE), redis_url=valkey.url)
    expected: set[str] = set()

    def as_expected(samples: Samples) -> bool:
        assert not [
            name for source, names in FED_BY.items() if source not in expected for name in some_of(samples, names)
        ]
        ups = {source: is_up(samples, source) for source in SOURCES}
        there = all(all_there(samples, FED_BY[source]) for source in expected)
        return there and ups == {source: source in expected for source in SOURCES}

    exporter.launch()
    try:
        samples = exporter.wait_for(lambda samples: as_expected(samples) and metrics_of(samples) >= WITHOUT_SOURCES)
        assert metrics_of(samples) == WITHOUT_SOURCES
        assert not any(some_of(samples, COUNTERS).values())
        until(exporter.is_ready, "the first pass")

        with valkey:
            seed_valkey(valkey.url)
            expected.add("redis")
            exporter.wait_for(as_expected)

            exporter.ai_log.write_bytes(AI_LINE)
            expected.add("ai_events_log")
            exporter.wait_for(as_expected)

            exporter.preview_log.write_bytes(PREVIEW_LINE)
            expected.add("preview_log")
            samples = exporter.wait_for(as_expected)
            assert all_there(samples, COUNTERS)
            assert (samples[REQUESTED], samples[JOINED]) == (1, 1)

            expected |= {"postgres", "both"}
            with postgres:
                with psycopg.connect(create_database(postgres), autocommit=True) as connection:
                    seed_database(connection)
                exporter.wait_for(lambda samples: all_there(samples, FED_BY["postgres"] | FED_BY["both"]))
                samples = exporter.wait_for(as_expected)
                assert samples['hivesync_users{plan="free"}'] == 1
                changes = [change for change in exporter.changes(away=SOURCES) if change[1] in SOURCES]
                assert sorted(changes) == sorted((what, who) for what in ("degraded", "recovered") for who in SOURCES)
                assert exporter.terminate()[0] == 0
    finally:
        exporter.stop()


def test_settings_that_are_missing_or_wrong_are_all_said_at_once(tmp_path: Path) -> None:
    exporter = nowhere(tmp_path, refresh_seconds=-1, metrics_listen="nowhere")
    environment = {name: value for name, value in exporter.environment.items() if name != "HIVESYNC_REDIS_URL"}
    ended = run_exporter(environment, tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    first, *problems = ended.stderr.splitlines()
    assert first == "hivesync-analytics cannot start:"
    wrong = {"HIVESYNC_REDIS_URL", "HIVESYNC_REFRESH_SECONDS", "HIVESYNC_METRICS_LISTEN"}
    assert {problem.partition(":")[0] for problem in problems} == wrong


def test_a_port_in_use_is_said_with_its_setting(tmp_path: Path) -> None:
    exporter = nowhere(tmp_path)
    host, _, port = exporter.address.partition(":")
    with socket.create_server((host, int(port))):
        ended = exporter.command_line()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "hivesync-analytics cannot start:\n"
        f"HIVESYNC_METRICS_LISTEN: cannot listen on {exporter.address}: Address already in use\n"
    )
    assert not exporter.state.exists()


def test_a_second_exporter_on_a_state_directory_ends_and_spares_the_first(tmp_path: Path) -> None:
    first = nowhere(tmp_path)
    first.launch()
    try:
        second = nowhere(tmp_path / "second", state_dir=first.state)
        ended = second.command_line()
        assert ended.returncode == 2
        assert ended.stderr.splitlines()[-2:] == [
            "hivesync-analytics cannot start:",
            f"HIVESYNC_STATE_DIR: {first.state} is in use by another exporter (process {first.pid})",
        ]
        assert first.answers()
        assert (first.state / "control.sock").is_socket()
    finally:
        first.stop()
    second.launch()  # the first has released everything
    assert second.terminate()[0] == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told_to_also_before_its_first_pass(tmp_path: Path, how: signal.Signals) -> None:
    exporter = nowhere(tmp_path)
    exporter.launch()
    exporter.stop_signal = how  # type: ignore[misc]
    status, seconds = exporter.terminate()
    assert status == 0
    assert seconds < patience(STOP_SECONDS)
    assert exporter.events()[-1]["event"] == "service.stopped"
    assert not (exporter.state / "control.sock").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, int(exporter.address.rpartition(":")[2])))


# Restarts --------------------------------------------------------------------------------------------------------


def test_counters_go_on_over_restarts_and_never_fall(
    database: str, valkey: redis.Redis, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    """After SIGTERM and after SIGKILL, with lines, a rotation and a running GPU worker in the meantime."""
    start = time.time() - 100
    exporter = RunningExporter(tmp_path, database_url=database, redis_url=valkey_server.url)
    exporter.ai_log.write_bytes(AI_LINE * 5)
    exporter.preview_log.touch()
    shown: dict[str, float] = {}

    def counted(samples: Samples) -> dict[str, float]:
        counters = some_of(samples, COUNTERS)
        assert not [name for name, value in shown.items() if name in counters and counters[name] < value]
        shown.update(counters)
        return counters

    def is_at(requests: int, joins: int, seconds: float) -> None:
        exporter.wait_for(
            lambda samples: (
                (c := counted(samples)).get(REQUESTED) == requests
                and c.get(JOINED) == joins
                and abs(c.get(GPU_SECONDS, -1) - seconds) < 0.01
            )
        )

    beat(valkey, start)
    exporter.launch()
    try:
        is_at(5, 0, 0)
        beat(valkey, start + 30)
        is_at(5, 0, 30)
        assert exporter.terminate()[0] == 0

        with exporter.ai_log.open("ab") as log:
            log.write(AI_LINE * 2)
        exporter.ai_log.rename(exporter.ai_log.with_name("ai-events.log.1"))
        exporter.ai_log.write_bytes(AI_LINE * 3)
        exporter.preview_log.write_bytes(PREVIEW_LINE)
        beat(valkey, start + 60)
        exporter.launch()
        first = exporter.samples()
        assert set(shown) - {name for name in shown if "queue" in name} <= first.keys()
        counted(first)
        is_at(10, 1, 60)

        exporter.kill()
        with exporter.preview_log.open("ab") as log:
            log.write(PREVIEW_LINE * 4)
        beat(valkey, start + 90)
        exporter.launch()
        counted(exporter.samples())
        is_at(10, 5, 90)
        assert exporter.refreshed()[REQUESTED] == 10
    finally:
        exporter.stop()
