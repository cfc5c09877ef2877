"""Measurements from outside: wrk's report, processes, database time."""

from __future__ import annotations

import os

import psycopg
import pytest

from bench.measure import NotMeasured, StatementClock, cpu_seconds, memory_mb, percentile, read_wrk
from demo.database import create_role
from servers.postgres import PostgresServer
from tests.waiting import patience

WRK = """\
Running 2s test @ http://127.0.0.1:10177/metrics
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   412.50us  250.11us  12.01ms   95.21%
    Req/Sec    40.02k     2.10k   44.10k    70.00%
  Latency Distribution
     50%  370.00us
     75%  455.00us
     90%    0.91ms
     99%    1.20s
  80123 requests in 2.00s, 1.60GB read
Requests/sec:  40061.12
Transfer/sec:    820.33MB
"""


def test_wrk_is_read_in_milliseconds_whatever_the_unit() -> None:
    load = read_wrk(WRK)
    assert load.requests_per_second == 40061.12
    assert load.p50_ms == pytest.approx(0.37)
    assert load.p99_ms == pytest.approx(1200)
    assert load.errors == 0


def test_answers_that_are_none_are_counted() -> None:
    trouble = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\nRequests/sec"
    assert read_wrk(WRK.replace("Requests/sec", trouble)).errors == 15


def test_what_is_no_account_of_wrk_is_no_measurement() -> None:
    with pytest.raises(NotMeasured, match="unable to connect"):
        read_wrk("unable to connect to 127.0.0.1:1 Connection refused")


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile(range(100, 0, -1), share) == value


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(NotMeasured):
        percentile([], 0.99)


def test_a_process_has_used_time_and_memory() -> None:
    now, peak = memory_mb(os.getpid())
    assert 1 < now <= peak
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) < before + 0.02:
        pass


def test_database_time_is_told_apart_by_role_and_database(postgres_server: PostgresServer, database: str) -> None:
    name = database.rpartition("/")[2]
    clock = StatementClock(postgres_server.url)
    try:
        before = clock.of("hivesync_bench_sleeper", name)
        with psycopg.connect(database, autocommit=True) as connection:
            create_role(connection, "hivesync_bench_sleeper")
            connection.execute("SELECT pg_sleep(0.3)")  # time of the superuser, not of the role
        with psycopg.connect(postgres_server.url_of(name, "hivesync_bench_sleeper"), autocommit=True) as connection:
            connection.execute("SELECT pg_sleep(0.05)")
        took = clock.of("hivesync_bench_sleeper", name) - before
        assert took.statements == 1
        assert 50 <= took.milliseconds < patience(300)
        assert clock.of("hivesync_bench_sleeper", "postgres").statements == 0
    finally:
        clock.close()
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            connection.execute("DROP ROLE hivesync_bench_sleeper")
