"""The roll-up's `--every 5m` on a stepped clock: its first run, and the runs of a whole day after that.

The clock is a parameter of the reading, so that a day takes only the time of its runs, and every check of the past is
part of it. Before each run the rows of its five minutes are inserted, and jobs completed, as by live traffic. The
roll-up has a role of its own, by which pg_stat_statements tells its statements from those of the traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from unittest.mock import AsyncMock, patch

import psycopg
from structlog.testing import capture_logs

from bench.data import Database
from bench.measure import StatementClock
from bench.stepped import FINISH
from demo.database import create_role
from exporter.sources.postgres import Postgres
from rollup.__main__ import follow
from rollup.connection import connected
from rollup.daily import Row
from rollup.migrate import Role, migrate
from rollup.queue_depth import QueueDepths
from rollup.window import DayWindow

STEP = timedelta(minutes=5)
RUNS = timedelta(days=1) // STEP
ROLE = "bench_rollup"


@dataclass(frozen=True, slots=True)
class Followed:
    """Database time (ms) of the first run, and of each of the others; the days of the last one."""

    first: float
    steady: Sequence[float]
    rows: Sequence[Row]


async def measure(database: Database) -> Followed:
    """Run the roll-up for a day. The rows inserted, which are ahead of the server's clock, stay."""
    window, depths = DayWindow(), QueueDepths(None, 15)
    times: list[float] = []
    with (
        psycopg.connect(database.url, autocommit=True) as connection,
        closing(StatementClock(database.server.url)) as clock,
        capture_logs(),
    ):
        connection.execute("SET timezone = 'UTC'")
        create_role(connection, ROLE)
        async with connected(database.url) as owner:
            await migrate(owner, [Role("rollup", ROLE)])
        (now,) = connection.execute("SELECT now()").fetchone() or ()
        postgres = Postgres(database.url_as(ROLE), now=now)
        try:
            for _ in range(RUNS + 1):
                with connection.transaction():
                    database.catch_up(connection, now)
                    for finish in FINISH:
                        connection.execute(finish.encode(), {"now": now, "before": now - 2 * STEP})
                before = clock.of(ROLE, database.name)
                postgres.fixed_now = now
                with patch("rollup.store.read_now", AsyncMock(return_value=now)):
                    await follow(database.url_as(ROLE), window, postgres, depths)
                times.append((clock.of(ROLE, database.name) - before).milliseconds)
                now += STEP
            rows = await window.read(postgres)
        finally:
            await postgres.close()
            connection.execute(f"DROP TABLE usage_analytics_daily; DROP OWNED BY {ROLE}; DROP ROLE {ROLE}".encode())
    return Followed(times[0], times[1:], rows)
