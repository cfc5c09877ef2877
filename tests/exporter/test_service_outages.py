"""The real exporter while its sources crash, hang, lose tables and return: one process through all of it.

Metrics of a source that is down are absent, everything else stays, and the log has one line per change.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from demo.database import DATABASE, EXPORTER_ROLE, create_database
from servers.postgres import PostgresServer
from servers.processes import signal_all
from servers.valkey import ValkeyServer
from tests.running import (
    AI_LINE,
    COUNTERS,
    FED_BY,
    FOR_THE_PAGE,
    PREVIEW_LINE,
    REQUESTED,
    RunningExporter,
    Samples,
    all_there,
    is_up,
    seed_database,
    seed_valkey,
    some_of,
)
from tests.waiting import patience, until

SCRAPE_SECONDS = 1.0
HANG_NOTICED_SECONDS = 15.0
POSTGRES_COLLECTORS = (
    "users",
    "online",
    "activity",
    "ai",
    "previews",
    "latency",
    "jobs",
    "cost",
    "rollup",
    *FOR_THE_PAGE,
)
FED_BY_POSTGRES = FED_BY["postgres"] | FED_BY["both"]
FED_BY_REDIS = FED_BY["redis"] | FED_BY["both"]
SOURCES = frozenset({"postgres", "redis", "ai_events_log", "preview_log"})
EVERYTHING = frozenset().union(*FED_BY.values(), COUNTERS)


@dataclass
class Services:
    """The servers, the exporter on them, and the number of log lines of earlier tests."""

    postgres: PostgresServer
    valkey: ValkeyServer
    exporter: RunningExporter
    owner_url: str
    logged_before: int = 0

    def changes(self, *away: str) -> list[tuple[str, str]]:
        """The changes in the exporter's log since the start of the test, in which these sources were down."""
        return self.exporter.changes(self.logged_before, away=away)

    def restore(self) -> None:
        """Restore all missing servers, keys and files."""
        for server in (self.postgres, self.valkey):
            if not server.is_alive:
                server.start()
        seed_valkey(self.valkey.url)
        for log in (self.exporter.ai_log, self.exporter.preview_log):
            log.touch()

    def wait_until_all_is_well(self) -> dict[str, float]:
        return self.exporter.wait_for(all_is_well)

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            connection.execute(statement.encode())


def all_is_well(samples: Samples) -> bool:
    collectors = [value for name, value in samples.items() if name.startswith("hivesync_collector_up")]
    return all_there(samples, EVERYTHING) and len(collectors) == 19 and min(collectors) == 1


@pytest.fixture(scope="module")
def all_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("outages")
    with PostgresServer(folder / "postgres", in_memory=True) as postgres, ValkeyServer(folder / "valkey") as valkey:
        owner_url = create_database(postgres)
        with psycopg.connect(owner_url, autocommit=True) as connection:
            seed_database(connection)
        seed_valkey(valkey.url)
        exporter = RunningExporter(folder, database_url=postgres.url_of(DATABASE, EXPORTER_ROLE), redis_url=valkey.url)
        exporter.ai_log.write_bytes(AI_LINE)
        exporter.preview_log.write_bytes(PREVIEW_LINE)
        with exporter:
            pid = exporter.pid
            yield Services(postgres, valkey, exporter, owner_url)
            assert exporter.pid == pid
            assert exporter.is_alive, "it was to live through all of it"
        assert exporter.events()[-1]["event"] == "service.stopped"


@pytest.fixture
def services(all_services: Services) -> Services:
    """Everything up, and the lines of the log counted from here."""
    all_services.restore()
    all_services.wait_until_all_is_well()
    all_services.exporter.settle()
    all_services.logged_before = len(all_services.exporter.events())
    return all_services


def lost(services: Services, names: frozenset[str], *down: str) -> Callable[[Samples], bool]:
    """A condition: these sources are down and none of `names` is shown. In every scrape until then all the rest is
    shown, and no counter has fallen."""
    rest, others = EVERYTHING - names, SOURCES - set(down)
    counted = some_of(services.exporter.samples(), COUNTERS)

    def condition(samples: Samples) -> bool:
        assert all_there(samples, rest)
        assert all(is_up(samples, source) for source in others)
        assert not [name for name, value in counted.items() if samples[name] < value]
        return all(is_up(samples, source) is False for source in down) and not some_of(samples, names)

    return condition


# A source is down ------------------------------------------------------------------------------------------------


def test_a_killed_postgres_takes_its_and_the_shared_metrics_and_brings_them_back(services: Services) -> None:
    services.postgres.kill()
    services.exporter.wait_for(lost(services, FED_BY_POSTGRES, "postgres"))
    samples = services.exporter.wait_for(
        lambda samples: not any(samples[f'hivesync_collector_up{{collector="{name}"}}'] for name in POSTGRES_COLLECTORS)
    )
    assert samples['hivesync_source_last_success_timestamp_seconds{source="postgres"}'] > time.time() - 60
    services.restore()
    after = services.wait_until_all_is_well()
    assert after['hivesync_users{plan="free"}'] == 1
    assert after['hivesync_refresh_failures_total{collector="users"}'] >= 1
    assert services.changes("postgres") == [("degraded", "postgres"), ("recovered", "postgres")]


def test_a_killed_valkey_takes_its_metrics_and_the_shared_ones_and_brings_them_back(services: Services) -> None:
    before = services.exporter.samples()
    services.valkey.kill()
    samples = services.exporter.wait_for(lost(services, FED_BY_REDIS, "redis"))
    assert samples['hivesync_queue_processing_seconds_sum{queue="ai"}'] == 90.5
    assert some_of(samples, COUNTERS) == some_of(before, COUNTERS)
    services.restore()
    depth = 'hivesync_queue_depth{name="default",queue="ai"}'
    services.exporter.wait_for(lambda samples: all_is_well(samples) and samples[depth] == 2)
    assert services.changes("redis") == [("degraded", "redis"), ("recovered", "redis")]


def test_a_valkey_that_comes_back_empty_has_no_workers_and_empty_queues(services: Services) -> None:
    services.valkey.stop()
    services.valkey.start()
    samples = services.exporter.wait_for(
        lambda samples: (
            samples.get('hivesync_queue_depth{name="default",queue="ai"}') == 0
            and not some_of(samples, {"hivesync_worker_healthy"})
            and is_up(samples, "redis")
        )
    )
    assert some_of(samples, {"hivesync_gpu_instance_seconds_total"})


@pytest.mark.parametrize("source", ["ai_events_log", "preview_log"])
def test_a_log_that_is_removed_is_missed_and_read_on_when_it_is_there_again(services: Services, source: str) -> None:
    exporter = services.exporter
    path, line, counter = {
        "ai_events_log": (exporter.ai_log, AI_LINE, REQUESTED),
        "preview_log": (
            exporter.preview_log,
            PREVIEW_LINE,
            'hivesync_preview_log_events_total{event="live_view.joined"}',
        ),
    }[source]
    before = exporter.samples()[counter]
    path.unlink()
    exporter.wait_for(lost(services, FED_BY[source], source))
    path.write_bytes(line * 3)
    exporter.wait_for(lambda samples: samples[counter] == before + 3)
    services.wait_until_all_is_well()
    assert services.changes(source) == [("degraded", source), ("recovered", source)]


# A source hangs --------------------------------------------------------------------------------------------------


def test_a_postgres_that_hangs_is_noticed_and_never_blocks_a_scrape(services: Services) -> None:
    scrapes: list[float] = []
    condition = lost(services, FED_BY_POSTGRES, "postgres")

    def timed(samples: Samples) -> bool:
        started = time.monotonic()
        assert services.exporter.answers()
        scrapes.append(time.monotonic() - started)
        return is_up(samples, "postgres") is False

    signal_all(services.postgres.pid, signal.SIGSTOP)
    try:
        services.exporter.wait_for(timed, within=HANG_NOTICED_SECONDS)
        services.exporter.wait_for(
            lambda samples: timed(samples) and condition(samples) and len(scrapes) > 20, within=60
        )
    finally:
        signal_all(services.postgres.pid, signal.SIGCONT)
    assert max(scrapes) < patience(SCRAPE_SECONDS)
    services.wait_until_all_is_well()
    assert services.changes("postgres") == [("degraded", "postgres"), ("recovered", "postgres")]


def test_a_valkey_that_hangs_is_noticed_and_never_blocks_a_scrape(services: Services) -> None:
    condition = lost(services, FED_BY_REDIS, "redis")
    os.kill(services.valkey.pid, signal.SIGSTOP)
    try:
        services.exporter.wait_for(condition)
    finally:
        os.kill(services.valkey.pid, signal.SIGCONT)
    services.wait_until_all_is_well()
    assert services.changes("redis") == [("degraded", "redis"), ("recovered", "redis")]


def test_sigterm_ends_it_in_time_while_sources_hang_and_clients_hold_on(services: Services, tmp_path: Path) -> None:
    """Both servers stopped during refreshes, a `verify` waiting, and clients of every bad kind."""
    exporter = RunningExporter(
        tmp_path, database_url=services.exporter.variables["HIVESYNC_DATABASE_URL"], redis_url=services.valkey.url
    )
    host, _, port = exporter.address.partition(":")
    clients: list[socket.socket] = []

    def connect(*sent: bytes) -> None:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        clients.append(client)
        client.setblocking(False)
        try:
            for part in sent:
                client.sendall(part)
        except BlockingIOError:
            pass  # the exporter reads no more from this client, which reads nothing

    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
    with exporter:
        signal_all(services.postgres.pid, signal.SIGSTOP)
        os.kill(services.valkey.pid, signal.SIGSTOP)
        asking = subprocess.Popen(
            [sys.executable, "-m", "exporter", "verify"],
            cwd=tmp_path,
            env=exporter.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            connect()  # sends nothing
            connect(request)  # sends half a request
            connect(request + b"\r\n")  # keeps the connection
            connect(*[request + b"\r\n"] * 2_000)  # requests a lot and reads nothing
            until(lambda: exporter.samples()['hivesync_collector_up{collector="queues"}'] == 0, "Valkey found hanging")
            status, seconds = exporter.terminate()
        finally:
            signal_all(services.postgres.pid, signal.SIGCONT)
            os.kill(services.valkey.pid, signal.SIGCONT)
            said, _ = asking.communicate(timeout=patience())
            for client in clients:
                client.close()
    assert status == 0
    assert seconds < patience(5)
    assert asking.returncode in {0, 1}, said
    assert b"Traceback" not in said


# A table is missing ----------------------------------------------------------------------------------------------


def test_a_missing_table_fails_its_collectors_only_with_one_line_each_that_names_it(services: Services) -> None:
    """A rename is the same to the exporter, and keeps the rows."""
    needing_it = {"activity", "previews", "latency", "jobs", "incidents"}
    shown_by_them = frozenset(
        {
            "hivesync_active_users",
            "hivesync_preview_requests_in_window",
            "hivesync_job_latency_average_seconds",
            "hivesync_jobs",
            "hivesync_oldest_waiting_job_timestamp_seconds",
            'hivesync_skipped_values{collector="latency",reason="negative_latency"}',
        }
    )
    condition = lost(services, shown_by_them)
    services.sql("ALTER TABLE preview_jobs RENAME TO elsewhere")
    try:
        services.exporter.wait_for(condition)
        samples = services.exporter.refreshed()
        failing = {name for name, value in samples.items() if name.startswith("hivesync_collector_up") and not value}
        assert failing == {f'hivesync_collector_up{{collector="{collector}"}}' for collector in needing_it}
    finally:
        services.sql("ALTER TABLE elsewhere RENAME TO preview_jobs")
    services.wait_until_all_is_well()
    logged = [
        event for event in services.exporter.events(services.logged_before) if event.get("kind") == "undefined_table"
    ]
    assert {event["collector"] for event in logged} == needing_it
    assert len(logged) == 5
    for event in logged:
        assert event["event"] == "system.analytics.degraded"
        assert event["source"] == "postgres"
        assert event["detail"] == 'relation "preview_jobs" does not exist'
    recovered = [who for what, who in services.changes() if what == "recovered"]
    assert set(recovered) == needing_it


def test_a_privilege_that_is_missing_is_said_with_the_name_of_the_table(services: Services) -> None:
    services.sql(f"REVOKE SELECT ON projects FROM {EXPORTER_ROLE}")
    try:
        services.exporter.wait_for(lost(services, frozenset({"hivesync_users", "hivesync_projects"})))
    finally:
        services.sql(f"GRANT SELECT ON projects TO {EXPORTER_ROLE}")
    services.wait_until_all_is_well()
    assert services.changes() == [("degraded", "users"), ("recovered", "users")]
    degraded, recovered = (event for event in services.exporter.events(services.logged_before) if "collector" in event)
    assert (degraded["collector"], degraded["kind"]) == ("users", "insufficient_privilege")
    assert degraded["detail"] == "permission denied for table projects"
    assert (recovered["event"], recovered["collector"]) == ("system.analytics.recovered", "users")


def test_a_table_that_is_locked_fails_its_collectors_for_as_long_and_blocks_nobody(services: Services) -> None:
    with psycopg.connect(services.owner_url) as connection:
        connection.execute("LOCK TABLE usage_analytics_daily")
        name = "hivesync_rollup_latest_day_timestamp_seconds"
        services.exporter.wait_for(lost(services, frozenset({name})))
    services.wait_until_all_is_well()
    assert services.changes() == [("degraded", "rollup"), ("recovered", "rollup")]
