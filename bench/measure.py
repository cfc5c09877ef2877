"""Measurements from outside: database time by role, a process' time and memory, the report of wrk."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg

T = TypeVar("T")

POLL_SECONDS = 0.02

_TIME = """
SELECT coalesce(sum(total_exec_time + total_plan_time), 0)::float8, coalesce(sum(calls), 0)::bigint
FROM pg_stat_statements
WHERE userid = (SELECT oid FROM pg_roles WHERE rolname = %s) AND dbid = (SELECT oid FROM pg_database WHERE datname = %s)
"""


class NotMeasured(Exception):
    """A measurement that was not possible; its message is the reason shown in the table."""


@dataclass(frozen=True, slots=True)
class DatabaseTime:
    """Time (ms, planning and execution) of a role's statements so far, and their number."""

    milliseconds: float
    statements: int

    def __sub__(self, earlier: DatabaseTime) -> DatabaseTime:
        return DatabaseTime(self.milliseconds - earlier.milliseconds, self.statements - earlier.statements)


class StatementClock:
    """A reader of pg_stat_statements, with a connection of its own."""

    def __init__(self, url: str) -> None:
        """`url` is a superuser's. Raises NotMeasured when the server keeps no statistics of statements."""
        self._connection = psycopg.connect(url, autocommit=True)
        try:
            self._connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            self._connection.execute("SELECT FROM pg_stat_statements LIMIT 1")
        except psycopg.Error as error:
            self._connection.close()
            raise NotMeasured("this PostgreSQL has no pg_stat_statements") from error

    def of(self, role: str, database: str) -> DatabaseTime:
        """Return the time of a role's statements in a database since the start of the server."""
        row = self._connection.execute(_TIME, (role, database)).fetchone() or (0.0, 0)
        return DatabaseTime(row[0], row[1])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def cpu_seconds(pid: int) -> float:
    """Return the user and system time (seconds) of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process in MB (10^6 bytes): now, and at its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, peak = (
        int(match[1]) * 1024 / 1e6 if (match := re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)) else 0.0
        for name in ("VmRSS", "VmHWM")
    )
    return now, peak


def until(condition: Callable[[], T], what: str, within: float) -> T:
    """Wait for a condition and return its first true value. Raises NotMeasured when there is none in time (seconds)."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise NotMeasured(f"not within {within:g} s: {what}")
        time.sleep(POLL_SECONDS)
    return value


@dataclass(frozen=True, slots=True)
class Load:
    """Results of wrk: requests per second, latencies in milliseconds, number of failed requests."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def read_wrk(output: str) -> Load:
    """Parse the report of wrk (`--latency`). Raises NotMeasured when the text is no such report."""
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", output, re.MULTILINE)
    latencies = {
        int(share): float(value) * _MILLISECONDS[unit]
        for share, value, unit in re.findall(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    }
    if rate is None or not {50, 99} <= latencies.keys():
        raise NotMeasured(f"wrk said: {output.strip()[-200:]}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    count = sum(map(int, errors.groups())) if errors else 0
    return Load(float(rate[1]), latencies[50], latencies[99], count + (int(refused[1]) if refused else 0))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values do not exceed. Raises NotMeasured without
    values."""
    if not values:
        raise NotMeasured("nothing was measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
