"""`python -m exporter verify`: the windows of an exporter that runs, and those of none, against the definitions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import redis

from demo.database import fill_database
from demo.servers import ValkeyServer
from tests.rows import NO_DATABASE, insert, user
from tests.running import RunningExporter

COLLECTED = ('hivesync_collector_up{collector="previews"}', 'hivesync_collector_up{collector="activity"}')
RUNNING = "The windows of the exporter that is running:"


@pytest.fixture
def exporter(
    database: str, valkey: redis.Redis, valkey_server: ValkeyServer, tmp_path: Path
) -> Iterator[RunningExporter]:
    """On three days of made-up history, with somebody on a WebSocket; not started."""
    fill_database(database, users=60, days=3, seed=5)
    valkey.hset("ws_sessions:1", mapping={"user_id": "42", "device_type": "phone"})
    exporter = RunningExporter(tmp_path, database_url=database, redis_url=valkey_server.url, refresh_seconds=0.2)
    try:
        yield exporter
    finally:
        exporter.stop()


@contextmanager
def traffic(database: str) -> Iterator[list[int]]:
    """Somebody who inserts, updates and commits late for as long as this is open; the list grows with every round."""
    rounds: list[int] = []
    stop = threading.Event()

    def work() -> None:
        with psycopg.connect(database) as connection:
            while not stop.is_set():
                number = len(rounds)
                who = user(connection, f"newcomer-{number}")
                plan = {"plan": "trial", "trial_ends_at": "now"} if number % 2 else {"plan": "pro"}
                insert(connection, "subscriptions", user_id=who, **plan)
                insert(connection, "sessions", user_id=who, device_type="ipad", kind="live_view")
                jobs = [
                    insert(connection, table, user_id=who, project_id=insert(connection, "projects", name="p"))
                    for table in ("ai_usage_events", "preview_jobs")
                ]
                connection.commit()
                connection.execute(
                    "UPDATE ai_usage_events SET status = 'succeeded', completed_at = clock_timestamp(),"
                    " model = 'gpt-4.1', prompt_tokens = 100, completion_tokens = 10 WHERE id = %s",
                    [jobs[0]],
                )
                status = "failed" if number % 3 else "succeeded"
                connection.execute(
                    "UPDATE preview_jobs SET status = %s, completed_at = now() WHERE id = %s", [status, jobs[1]]
                )
                connection.execute(
                    "UPDATE ai_usage_events SET status = 'failed', error_kind = 'timeout', completed_at = now()"
                    " WHERE id = (SELECT id FROM ai_usage_events WHERE status = 'succeeded'"
                    " AND completed_at > now() - interval '1 minute' LIMIT 1)"
                )
                connection.execute(
                    "UPDATE sessions SET last_heartbeat_at = now() WHERE id IN (SELECT id FROM sessions LIMIT 5)"
                )
                if stop.wait(0.01 * (number % 4)):
                    connection.rollback()
                else:
                    connection.commit()
                rounds.append(number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield rounds
    finally:
        stop.set()
        thread.join(30)


def test_while_rows_come_and_change_the_difference_is_nil(exporter: RunningExporter, database: str) -> None:
    with exporter, traffic(database) as rounds:
        for _ in range(3):
            before = len(rounds)
            verified = exporter.command_line("verify")
            assert (verified.returncode, verified.stderr) == (0, ""), verified.stdout
            lines = verified.stdout.splitlines()
            assert lines[0] == RUNNING
            samples = len(lines) - 5  # what runs, a blank line, the head; a blank line, the verdict
            assert samples > 40
            assert lines[-1] == f"{samples} samples, difference: nil"
            assert len(rounds) - before > 3, "nothing was written meanwhile"
        exporter.refreshed(times=1)
        assert [
            event for event in exporter.events() if event["event"].endswith("degraded") and "collector" in event
        ] == []


def test_rows_deleted_behind_its_back_show_as_a_difference(
    exporter: RunningExporter, database: str, connection: psycopg.Connection
) -> None:
    """What is over five minutes old is read once an hour: until then only `verify` knows."""
    (now,) = connection.execute("SELECT now()").fetchone() or (None,)
    assert now is not None
    who = user(connection, "gone")
    for minutes in range(10, 20):
        created = now - timedelta(minutes=minutes)
        insert(connection, "preview_jobs", user_id=who, status="queued", created_at=created)
    with exporter:
        exporter.wait_for(lambda samples: all(samples.get(name) == 1 for name in COLLECTED))
        connection.execute("DELETE FROM preview_jobs WHERE user_id = %s", [who])
        exporter.refreshed(times=1)
        verified = exporter.command_line("verify")
    assert (verified.returncode, verified.stderr) == (1, "")
    differing = [line.split() for line in verified.stdout.splitlines() if line.endswith("<-- differs")]
    assert {words[0] for words in differing} == {
        'hivesync_preview_requests_in_window{window="1h"}',
        'hivesync_preview_requests_in_window{window="24h"}',
        'hivesync_active_users{window="24h",plan="free"}',
        'hivesync_active_users{window="30d",plan="free"}',
    }
    for words in differing:
        incremental, from_scratch, difference = map(float, words[1:4])
        assert difference == incremental - from_scratch == (10 if "requests" in words[0] else 1)
    assert verified.stdout.splitlines()[-1].startswith("4 of ")


def test_without_an_exporter_it_fills_windows_of_its_own(exporter: RunningExporter, database: str) -> None:
    with traffic(database):
        verified = exporter.command_line("verify")
    assert verified.returncode == 0, verified.stdout
    lines = verified.stdout.splitlines()
    assert lines[0].startswith(f"No exporter is running on {exporter.state}")
    assert lines[-1].endswith(" samples, difference: nil")
    assert not exporter.state.exists()


def test_a_killed_exporter_leaves_a_socket_that_nobody_is_fooled_by(exporter: RunningExporter) -> None:
    exporter.launch()
    exporter.kill()
    assert (exporter.state / "control.sock").exists()
    assert exporter.command_line("verify").stdout.startswith("No exporter is running on ")
    exporter.launch()
    exporter.wait_for(lambda samples: "hivesync_projects" in samples)
    assert exporter.command_line("verify").stdout.startswith(RUNNING)


def test_with_postgres_down_it_says_so_in_a_line(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    exporter = RunningExporter(tmp_path, database_url=NO_DATABASE, redis_url=valkey_server.url)
    verified = exporter.command_line("verify")
    assert verified.returncode == 1
    assert verified.stderr == "hivesync-analytics: postgres: refused\n"
