"""The roll-up killed at every statement: after each kill, every day of its table is as before the run or as after it,
and a following run makes all days equal to their definition (docs/definitions.md#daily-roll-up)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

import psycopg

from crash.definition import PLAINLY
from crash.wire import KillingProxy
from demo.database import DATABASE, ROLLUP_ROLE, create_database, fill_database
from demo.exporting import PROJECT
from demo.rolling_up import Rollup
from rollup.daily import Row
from rollup.days import RECENT_DAYS
from servers.bound import slowness
from servers.postgres import PostgresServer

USERS, DAYS, SEED = 60, 36, 7
MISSING_DAYS = (9,)
"""Days before today that the table lacks before a run, beside those that every run rewrites."""

RUN_SECONDS = 60.0
OLD_DEPTH = 7
"""A queue's depth that no run lowers."""


@dataclass(frozen=True, slots=True)
class Killed:
    """A kill at a statement, by its number in the run, and the findings after it."""

    statement: str
    number: int
    wrong: tuple[str, ...]


class RollupDatabase:
    """A database with activity and an incomplete, outdated daily table, within a `with` block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server = PostgresServer(directory / "postgresql", in_memory=True)

    def __enter__(self) -> Self:
        self._server.__enter__()
        try:
            self._owner = create_database(self._server)
            fill_database(self._owner, users=USERS, days=DAYS, seed=SEED)
            variables = {"HIVESYNC_DATABASE_URL": self._owner}
            Rollup(self._directory / "rights", owner_url=self._owner, variables=variables).grant_rights()
            self.run_to_its_end()
            with self._connected() as connection:
                connection.execute(
                    "UPDATE usage_analytics_daily SET dau = dau + 1000, mau = mau + 1000, ai_requests = 0,"
                    " avg_latency_ms = NULL, max_queue_depth = %s WHERE date >= current_date - %s",
                    (OLD_DEPTH, RECENT_DAYS),
                )
                connection.execute(
                    "DELETE FROM usage_analytics_daily WHERE (now() AT TIME ZONE 'UTC')::date - date = ANY(%s)",
                    (list(MISSING_DAYS),),
                )
                connection.execute("CREATE TABLE before_the_run AS SELECT * FROM usage_analytics_daily")
            self.before = self.table()
        except BaseException:
            self._server.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def statements(self) -> list[str]:
        """Return the statements of a whole run."""
        self._restore()
        with KillingProxy(self._server.port, lambda: None) as proxy:
            process = self._start(proxy.port)
            process.wait(RUN_SECONDS * slowness())
        return proxy.statements

    def kill(self, statement: str, number: int) -> Killed:
        """Kill a run at a statement, look at the table, and run to the end."""
        self._restore()
        process: subprocess.Popen[bytes] | None = None

        def kill() -> None:
            if process is not None:
                process.kill()
                process.wait()

        with KillingProxy(self._server.port, kill, at=number) as proxy:
            process = self._start(proxy.port)
            status = process.wait(RUN_SECONDS * slowness())
        wrong = [] if status == -signal.SIGKILL else [f"not killed: exit status {status}"]
        wrong += self._halves()
        if problem := self.run_to_its_end():
            wrong.append(problem)
        wrong += self._differences()
        return Killed(statement, number, tuple(wrong))

    def run_to_its_end(self) -> str:
        """Run the roll-up. Return its error, or ""."""
        process = self._start(self._server.port)
        status = process.wait(RUN_SECONDS * slowness())
        return "" if status == 0 else f"the following run ended with exit status {status}"

    def table(self) -> dict[date, Row]:
        """Return the rows of the table."""
        with self._connected() as connection:
            rows = connection.execute("SELECT * FROM usage_analytics_daily ORDER BY date").fetchall()
        return {row[0]: Row(*row) for row in rows}

    def _restore(self) -> None:
        with self._connected() as connection:
            connection.execute("DELETE FROM usage_analytics_daily")
            connection.execute("INSERT INTO usage_analytics_daily SELECT * FROM before_the_run")

    def _halves(self) -> list[str]:
        """Return the days that are neither as before the run nor as after it."""
        found = self.table()
        after = self._by_definition([*found, *self.before])
        return [
            f"half a day: {day}"
            for day in {*found, *self.before}
            if not _same(found.get(day), self.before.get(day)) and not _same(found.get(day), after[day])
        ]

    def _differences(self) -> list[str]:
        """Return the days that differ from their definition."""
        found, days = self.table(), self._all_days()
        expected = self._by_definition(days)
        return [f"{day} differs after the following run" for day in days if not _same(found.get(day), expected[day])]

    def _all_days(self) -> list[date]:
        with self._connected() as connection:
            rows = connection.execute(
                "SELECT generate_series(min(date), (now() AT TIME ZONE 'UTC')::date, interval '1 day')::date"
                " FROM before_the_run GROUP BY ()"
            ).fetchall()
        return [day for (day,) in rows]

    def _by_definition(self, days: list[date]) -> dict[date, Row]:
        with self._connected() as connection:
            rows = connection.execute(PLAINLY, {"days": days}).fetchall()
        known = {day: row.max_queue_depth for day, row in self.before.items()}
        return {
            day: Row(
                day, dau, mau, ai, previews, None if latency is None else float(latency), max_queue_depth=known.get(day)
            )
            for day, dau, mau, ai, previews, latency in rows
        }

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self._owner, autocommit=True, options="-c TimeZone=UTC") as connection:
            yield connection

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        url = self._server.url_of(DATABASE, ROLLUP_ROLE).replace(f":{self._server.port}/", f":{port}/")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
        variables = {"PYTHONPATH": str(PROJECT), "HIVESYNC_DATABASE_URL": f"{url}?sslmode=disable&gssencmode=disable"}
        with (self._directory / "roll-up.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "rollup"],
                env={**inherited, **variables},
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def _same(one: Row | None, other: Row | None) -> bool:
    if one is None or other is None:
        return one is other
    latencies = one.avg_latency_ms, other.avg_latency_ms
    near = None in latencies or abs((latencies[0] or 0) - (latencies[1] or 0)) <= 1e-6 * abs(latencies[1] or 0)
    return near and (None in latencies) == (latencies == (None, None)) and _plain(one) == _plain(other)


def _plain(row: Row) -> tuple[Any, ...]:
    return (row.date, row.dau, row.mau, row.ai_requests, row.preview_requests, row.max_queue_depth)
