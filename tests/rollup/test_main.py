"""The command: refusals, messages, and exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rollup import days, table
from rollup.daily import Row
from servers.postgres import PostgresServer
from servers.processes import signal_all
from tests.rollup.rolling import DAY, Command, end, plainly, stored, today
from tests.rollup.test_run import seed, waiting
from tests.rows import NO_DATABASE, insert
from tests.waiting import patience, until

# ---- refusals ----


REFUSED: Sequence[tuple[list[str], str]] = [
    (["--from", "2026-02-01", "--to", "2026-01-31"], "--from 2026-02-01 is after --to 2026-01-31"),
    (["--from", "2026-02-30"], "'2026-02-30' is no day of the calendar"),
    (["--to", "yesterday"], "should be a day, as in 2026-01-31, not 'yesterday'"),
    (["--to", ""], "should be a day"),
    (["--every", "5"], "should be a duration from 10s to 24h"),
    (["--every", "5m", "--from", "2026-01-01"], "--from and --to cannot be used with --every"),
    (["--migrate", "--to", "2026-01-01"], "--from and --to cannot be used with --migrate"),
    (["--every", "5m", "--dry-run"], "exclude each other"),
    (["--dry-run", "--history", "-"], "exclude each other"),
    (["--grant", "grafana=postgres"], "--grant requires --migrate"),
    (["--migrate", "--grant"], "expected at least one argument"),
    (["--history"], "expected one argument"),
    (["--history", ""], "should be a file, or - for standard output"),
    (["today"], "unrecognized arguments"),
    (["--fr", "2026-01-01"], "unrecognized arguments"),
    (["--env-file", "nowhere.env"], "--env-file: nowhere.env is not there"),
]


def test_arguments_that_cannot_be_are_refused_and_nothing_is_written(
    rollup: Command, connection: psycopg.Connection
) -> None:
    insert(connection, "sessions", created_at="2026-01-15")
    for arguments, says in REFUSED:
        ran = rollup(*arguments)
        assert (ran.status, ran.out) == (2, ""), arguments
        assert says in ran.message
        assert "Traceback" not in ran.err
    assert stored(connection) == []


def test_days_that_have_not_begun_by_the_databases_clock_are_refused(
    rollup: Command, connection: psycopg.Connection
) -> None:
    insert(connection, "sessions", created_at="2026-01-15")
    now = today(connection)
    for arguments in (["--from", str(now + DAY)], ["--to", str(now + DAY)], ["--from", "9999-12-31"]):
        for what in ([], ["--dry-run"]):
            ran = rollup(*arguments, *what)
            assert (ran.status, ran.out) == (2, "")
            assert f"{arguments[1]} has not begun: today is {now}" in ran.message
    ran = rollup("--history", "-", "--to", str(now + DAY))
    assert (ran.status, ran.out) == (2, "")
    assert stored(connection) == []


def test_days_before_the_first_activity_are_not_known_of(rollup: Command, connection: psycopg.Connection) -> None:
    insert(connection, "sessions", created_at="2026-01-15 12:00Z")
    ran = rollup("--from", "2025-01-01", "--to", "2026-01-14")
    assert (ran.status, stored(connection)) == (2, [])
    assert "the first activity there is was on 2026-01-15" in ran.message
    assert rollup("--from", "2025-01-01", "--to", "2026-01-16").status == 0
    assert [str(row.date) for row in stored(connection)] == ["2026-01-15", "2026-01-16"]


def test_a_range_of_nothing_at_all_is_refused(rollup: Command) -> None:
    ran = rollup("--from", "2026-01-01")
    assert ran.status == 2
    assert "no activity at all, and so nothing to write: repeat this once users have logged in" in ran.message


def test_a_range_that_ends_before_the_first_activity_that_it_begins_with_is_refused(
    rollup: Command, connection: psycopg.Connection
) -> None:
    insert(connection, "sessions", created_at="2026-01-15 12:00Z")
    assert rollup("--to", "2026-01-14").status == 2


# ---- settings ----


def test_the_roll_up_needs_a_database_and_nothing_else(rollup: Command, database: str) -> None:
    rollup.settings = {}
    ran = rollup()
    assert (ran.status, ran.message) == (
        2,
        "hivesync-analytics: HIVESYNC_ROLLUP_DATABASE_URL: is not set, nor is HIVESYNC_DATABASE_URL",
    )
    for name in ("database_url", "rollup_database_url"):
        assert rollup(**{name: database}).status == 0
    assert rollup(database_url=NO_DATABASE, rollup_database_url=database).status == 0


def test_the_url_may_be_in_a_file_or_in_an_environment_file(rollup: Command, database: str, tmp_path: Path) -> None:
    rollup.settings = {}
    (tmp_path / "secret").write_text(f"{database}\n")
    assert rollup(rollup_database_url_file=str(tmp_path / "secret")).status == 0
    (tmp_path / "some.env").write_text(f"HIVESYNC_DATABASE_URL={database}\n")
    assert rollup("--env-file", str(tmp_path / "some.env")).status == 0
    (tmp_path / ".env").write_text(f"HIVESYNC_DATABASE_URL={database}\n")
    assert rollup().status == 0


def test_settings_that_cannot_be_are_named(rollup: Command) -> None:
    ran = rollup(database_url="mysql:secret", refresh_seconds="often", prometheus_url="prometheus:9090")
    assert ran.status == 2
    for name in ("DATABASE_URL", "REFRESH_SECONDS", "PROMETHEUS_URL"):
        assert f"HIVESYNC_{name}: " in ran.message
    assert "secret" not in ran.err


def test_no_password_is_ever_printed(rollup: Command, database: str) -> None:
    """An unreachable server, a wrong role and an unknown database have exit status 1, as a later run may succeed."""
    here = make_conninfo(database, password="s3cret")
    urls = {
        "postgresql://anna:s3cret@127.0.0.1:1/db": "refused",
        "postgresql://anna:s3cret@no-such-host.invalid/db": "unknown_host",
        make_conninfo(here, user="no_such_role"): "authentication",
        make_conninfo(database, dbname="no_such_database"): "unknown_database",
    }
    for url, kind in urls.items():
        ran = rollup(database_url=url, prometheus_url="http://anna:s3cret@127.0.0.1:1")
        assert (ran.status, ran.message) == (1, f"hivesync-analytics: PostgreSQL cannot be reached: {kind}")
        for password in ("s3cret", str(conninfo_to_dict(database)["password"])):
            assert password not in ran.err + ran.out


def test_a_limit_in_the_url_is_kept(rollup: Command, database: str) -> None:
    assert rollup(database_url=f"{database}?application_name=mine&connect_timeout=2").status == 0


# ---- dry runs ----


def test_a_dry_run_prints_the_rows_and_writes_nothing(rollup: Command, connection: psycopg.Connection) -> None:
    seed(connection, 5)
    ran = rollup("--dry-run")
    assert (ran.status, stored(connection)) == (0, [])
    now = today(connection)
    lines = ran.out.splitlines()
    assert lines[0].split() == [
        "date",
        "dau",
        "mau",
        "ai_requests",
        "preview_requests",
        "avg_latency_ms",
        "max_queue_depth",
    ]
    expected = plainly(connection, days.span(now - 5 * DAY, now))
    assert [tuple(line.split()[:5]) for line in lines[1:]] == [
        tuple(map(str, (row.date, row.dau, row.mau, row.ai_requests, row.preview_requests))) for row in expected
    ]
    assert lines[-1].split()[5:] == ["500.0", "-"]
    assert len({len(line) for line in lines}) == 1
    assert rollup("--dry-run", "--from", str(now), "--to", str(now)).out.splitlines()[1:] == [lines[-1]]


def test_a_dry_run_of_nothing_says_so(rollup: Command) -> None:
    assert rollup("--dry-run").out == "no day is due\n"


def test_a_table_shows_what_is_not_known_as_a_dash() -> None:
    day = today_row(None, None)
    assert table.render([day]).splitlines()[1].split() == ["2026-03-17", "1", "2", "3", "4", "-", "-"]
    assert table.render([today_row(1234.56, 0)]).split()[-2:] == ["1234.6", "0"]


def today_row(latency: float | None, depth: int | None) -> Row:
    return Row(days.parse_day("2026-03-17"), 1, 2, 3, 4, latency, depth)


@pytest.mark.parametrize("arguments", [["--dry-run"], ["--history", "-"]])
def test_a_reader_that_goes_away_is_no_traceback(
    rollup: Command, connection: psycopg.Connection, arguments: list[str]
) -> None:
    insert(connection, "sessions", created_at=f"{today(connection) - 20 * DAY} 12:00Z")
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "rollup", *arguments],
        env=rollup.environment(),
        cwd=rollup.log.parent,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=patience(60),
        check=False,
    )
    os.close(writing)
    assert ended.returncode == 1
    assert b"Error" not in ended.stderr
    assert b"Broken" not in ended.stderr


def test_a_disk_that_is_full_is_said_to_be_so(rollup: Command, connection: psycopg.Connection) -> None:
    insert(connection, "sessions", created_at="now")
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "rollup", "--dry-run"],
            env=rollup.environment(),
            cwd=rollup.log.parent,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=patience(60),
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        b"hivesync-analytics: cannot write to standard output: No space left on device"
    )


# ---- repeated runs ----


def test_every_keeps_running_on_the_clocks_multiples_and_stops_when_asked(
    rollup: Command, connection: psycopg.Connection
) -> None:
    seed(connection, 3)
    process = rollup.start("--every", "10s")
    try:
        until(lambda: rollup.said("rollup.finished"), "a first run, at once")
        insert(connection, "ai_usage_events", created_at="now")
        until(lambda: len(rollup.said("rollup.finished")) > 1, "a second one")
        second = rollup.said("rollup.finished")[1]["timestamp"]
        assert int(second[17:19]) % 10 <= patience(2)
        assert stored(connection)[-1].ai_requests == 2
        process.terminate()
        assert process.wait(patience(2)) == 0
        assert rollup.events()[-1]["event"] == "service.stopped"
    finally:
        end([process])


def test_every_survives_that_postgresql_is_away_and_says_so_once(
    rollup: Command, connection: psycopg.Connection, postgres_server: PostgresServer
) -> None:
    """PostgreSQL is away in the sense that it allows no connections to the database."""
    seed(connection, 3)

    def connections(allowed: bool) -> None:
        with psycopg.connect(postgres_server.url, autocommit=True) as elsewhere:
            elsewhere.execute(f'ALTER DATABASE "{connection.info.dbname}" ALLOW_CONNECTIONS {allowed}'.encode())

    runner = (
        "import rollup.__main__ as command\n"
        "command.seconds_until_next = lambda now, every: print('again', flush=True) or 0.1\n"
        "raise SystemExit(command.main(['--every', '10s']))\n"
    )
    connections(False)
    runs = rollup.log.with_name("runs")
    with rollup.log.open("ab") as log, runs.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", runner], env=rollup.environment(), cwd=rollup.log.parent, stdout=out, stderr=log
        )

    def a_few_more_runs() -> None:
        done = runs.stat().st_size
        until(lambda: runs.stat().st_size > done + 3 * len("again\n"), "a few more runs")

    try:
        a_few_more_runs()
        connections(True)
        a_few_more_runs()
        connections(False)
        a_few_more_runs()
        connections(True)
        a_few_more_runs()
        connection.execute("ALTER TABLE sessions RENAME TO moved")
        a_few_more_runs()
        connection.execute("ALTER TABLE moved RENAME TO sessions")
        a_few_more_runs()
        process.terminate()
        assert process.wait(patience()) == 0
    finally:
        process.kill()
        process.wait()
    changes = [event for event in rollup.events() if event.get("source") == "postgres"]
    assert [event["event"].rpartition(".")[2] for event in changes] == ["degraded", "recovered"] * 3
    assert str(changes[4]["detail"]).startswith("there is no table (or view) sessions on the search_path: name the")
    assert len(rollup.said("system.analytics.degraded")) == 3 + 1  # and one for the missing Prometheus
    assert len(rollup.said("rollup.finished")) > 3


def test_every_does_not_go_on_with_what_can_never_work(rollup: Command, connection: psycopg.Connection) -> None:
    connection.execute("DROP TABLE usage_analytics_daily")
    assert rollup("--every", "5m").status == 2


@pytest.mark.parametrize(("arguments", "status"), [(["--every", "5m"], 0), ([], 1), (["--dry-run"], 1)])
def test_asked_to_stop_it_stops_in_the_middle_of_a_statement(
    rollup: Command, connection: psycopg.Connection, database: str, arguments: list[str], status: int
) -> None:
    seed(connection, 3)
    with psycopg.connect(database) as ours:
        ours.execute("LOCK TABLE preview_jobs")
        process = rollup.start(*arguments)
        try:
            until(lambda: waiting(connection, "preview_jobs"), "it waits for our lock")
            process.terminate()
            assert process.wait(patience(5)) == status  # the statement would wait forever
        finally:
            end([process])
        until(
            lambda: (
                connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hivesync-analytics-rollup'"
                ).fetchone()
                == (0,)
            ),
            "nothing of it is left in PostgreSQL",
        )
    assert rollup.events()[-1]["event"] == "service.stopped"
    assert stored(connection) == []


def test_a_server_that_hangs_does_not_keep_it_from_stopping(
    rollup: Command, connection: psycopg.Connection, database: str, postgres_server: PostgresServer
) -> None:
    seed(connection, 3)
    with psycopg.connect(database) as ours:
        ours.execute("LOCK TABLE preview_jobs")
        process = rollup.start("--every", "5m")
        try:
            until(lambda: waiting(connection, "preview_jobs"), "it waits for our lock")
            signal_all(postgres_server.pid, signal.SIGSTOP)
            try:
                process.terminate()
                assert process.wait(patience(4)) == 0
            finally:
                signal_all(postgres_server.pid, signal.SIGCONT)
        finally:
            end([process])
