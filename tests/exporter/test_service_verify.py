"""`python -m exporter verify`: values and windows of a running exporter, and windows without one, against the
definitions."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import orjson
import psycopg
import pytest
import redis

from demo.database import fill_database
from exporter.collectors.users import Users
from exporter.control import SOCKET, VERIFY
from exporter.verify import Comparison, render
from servers.valkey import ValkeyServer
from tests.rows import NO_DATABASE, insert, user
from tests.running import RunningExporter
from tests.waiting import until

COLLECTED = ('hivesync_collector_up{collector="previews"}', 'hivesync_collector_up{collector="activity"}')
RUNNING = "The exporter that is running, served and refreshed:"
REFRESH_SECONDS = 3.0


@pytest.fixture
def exporter(
    database: str, valkey: redis.Redis, valkey_server: ValkeyServer, tmp_path: Path
) -> Iterator[RunningExporter]:
    """An exporter on three days of made-up history, with a user on a WebSocket; not started."""
    fill_database(database, users=60, days=3, seed=5)
    valkey.hset("ws_sessions:1", mapping={"user_id": "42", "device_type": "phone"})
    exporter = RunningExporter(
        tmp_path, database_url=database, redis_url=valkey_server.url, refresh_seconds=REFRESH_SECONDS
    )
    try:
        yield exporter
    finally:
        exporter.stop()


def verdict(said: str) -> str:
    """The line below the table."""
    return said.partition("\n\n")[2].partition("\n\n")[2].splitlines()[0]


@contextmanager
def traffic(database: str) -> Iterator[list[int]]:
    """A client that inserts, updates and commits late for the duration of the context; the list grows with every
    round."""
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
            table = lines[3 : lines.index("", 3)]
            assert len(table) > 40
            assert verdict(verified.stdout).startswith(f"{len(table)} samples, difference: nil")
            assert len(rounds) - before > 3, "nothing was written meanwhile"
        exporter.refreshed(times=1)
        assert [
            event for event in exporter.events() if event["event"].endswith("degraded") and "collector" in event
        ] == []


def test_rows_deleted_behind_its_back_show_as_a_difference(
    exporter: RunningExporter, database: str, connection: psycopg.Connection
) -> None:
    """Rows older than five minutes are re-read once per hour: until then only `verify` shows the difference."""
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
        "hivesync_active_users_month_to_date",
    }
    for words in differing:
        served, fresh, from_scratch, difference = (float(words[column]) for column in (1, 4, 5, 6))
        assert served - fresh in (0, 1)  # a row may leave the window in between
        assert difference == fresh - from_scratch == (10 if "requests" in words[0] else 1)
    assert verdict(verified.stdout).startswith("5 of ")


def test_what_is_served_longer_than_promised_is_a_difference(
    exporter: RunningExporter, connection: psycopg.Connection
) -> None:
    """An exporter that was stopped while users were added, queried before its next refresh."""
    promised = 5 * REFRESH_SECONDS
    with exporter:
        served = exporter.wait_for(lambda samples: samples.get("hivesync_projects"))["hivesync_projects"]
        os.kill(exporter.pid, signal.SIGSTOP)
        try:
            stopped = time.monotonic()
            insert(connection, "projects", name="new")
            until(lambda: time.monotonic() > stopped + promised, "a reading older than promised", 10 * promised)
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(60)
            client.connect(str(exporter.state / SOCKET))
            client.sendall(f"{VERIFY}\n".encode())
        finally:
            os.kill(exporter.pid, signal.SIGCONT)
        with client, client.makefile("rb") as answer:
            found = [Comparison(**each) for each in orjson.loads(answer.read())["answer"]]
    (projects,) = (each for each in found if each.metric == "hivesync_projects")
    assert (projects.served, projects.fresh, projects.from_scratch) == (served, served + 1, served + 1)
    assert projects.promised_age == promised < (projects.age or 0)
    assert not projects.nil
    assert f"<-- served is older than {promised:.0f} s" in render(found)


def test_what_changed_just_now_is_within_its_age(
    exporter: RunningExporter, database: str, connection: psycopg.Connection
) -> None:
    slow = RunningExporter(
        exporter.directory,
        database_url=database,
        redis_url=exporter.variables["HIVESYNC_REDIS_URL"],
        refresh_seconds=600,
    )
    with slow:
        slow.wait_for(lambda samples: "hivesync_projects" in samples)
        insert(connection, "projects", name="new")
        verified = slow.command_line("verify")
    assert verified.returncode == 0, verified.stdout
    (projects,) = [line for line in verified.stdout.splitlines() if line.startswith("hivesync_projects ")]
    assert projects.endswith(" -1  within its age")


def test_a_collector_that_serves_nothing_and_could_is_a_difference(
    exporter: RunningExporter, database: str, connection: psycopg.Connection
) -> None:
    connection.execute("ALTER TABLE projects RENAME TO elsewhere")
    slow = RunningExporter(
        exporter.directory,
        database_url=database,
        redis_url=exporter.variables["HIVESYNC_REDIS_URL"],
        refresh_seconds=600,
    )
    with slow:
        slow.wait_for(lambda samples: samples.get('hivesync_collector_up{collector="users"}') == 0)
        connection.execute("ALTER TABLE elsewhere RENAME TO projects")
        verified = slow.command_line("verify")
    assert verified.returncode == 1, verified.stdout
    missing = {line.split("{")[0].split()[0] for line in verified.stdout.splitlines() if line.endswith("not served")}
    assert missing == {spec.name for spec in Users.specs if spec.definition}


def test_it_says_what_it_does_not_prove(exporter: RunningExporter) -> None:
    said = exporter.command_line("verify").stdout
    for subject in ("views", "Redis", "logs"):
        assert subject in said.partition("Not proved:")[2]


def test_without_an_exporter_it_fills_windows_of_its_own(exporter: RunningExporter, database: str) -> None:
    with traffic(database):
        verified = exporter.command_line("verify")
    assert verified.returncode == 0, verified.stdout
    lines = verified.stdout.splitlines()
    assert lines[0].startswith(f"No exporter is running on {exporter.state}, so nothing served is compared")
    assert "served" not in lines[2]
    assert verdict(verified.stdout).endswith(" samples, difference: nil")
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
