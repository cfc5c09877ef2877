"""The collectors of PostgreSQL twice on one database, with row versions and without, on a stepped clock.

Each side has a role of its own, by which pg_stat_statements tells them apart; both refresh in turn at the same
instants. The clock is a parameter of every transaction, so that half an hour takes only the time of its refreshes. Rows
are created and completed at each step, as by live traffic.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import psycopg

from bench.data import Database
from bench.measure import DatabaseTime, StatementClock
from bench.product import REFRESH_SECONDS
from demo.database import create_role
from exporter.collector import Collector, Sources
from exporter.collectors import build_collectors
from exporter.settings import Settings
from exporter.sources.jsonl import JsonlLog
from exporter.sources.postgres import Postgres, Transaction
from exporter.sources.redis import Redis
from exporter.spec import Sample
from exporter.state import StateFile
from exporter.windows import Part
from exporter.windows.versions import PartState, RowVersions

WITH, WITHOUT = "bench_with_versions", "bench_without_versions"

FINISH = (
    """
    UPDATE ai_usage_events SET completed_at = %(now)s, prompt_tokens = 700, completion_tokens = 400,
        status = 'succeeded'
    WHERE created_at > %(before)s AND completed_at IS NULL
    """,
    """
    UPDATE preview_jobs SET completed_at = %(now)s, status = 'succeeded'
    WHERE created_at > %(before)s AND completed_at IS NULL
    """,
)
"""SQL that completes the jobs created since `before`, as live traffic would."""


class _NoVersions(RowVersions):
    """Row versions that are never read: every part is re-read at its turn."""

    async def filled(self, transaction: Transaction) -> None:
        del transaction

    async def check(self, transaction: Transaction) -> None:
        del transaction

    async def look(self, transaction: Transaction, part: Part, known: int | None) -> tuple[bool, PartState]:
        del part, known
        return True, PartState(transaction.oldest_running)


class Difference(Exception):
    """The two sides have shown different values."""


def measure(database: Database, refreshes: int) -> Mapping[str, DatabaseTime]:
    """Measure the database time of each side's steady running, by role. Raises Difference when their samples differ."""
    clock = StatementClock(database.server.url)
    try:
        with psycopg.connect(database.url, autocommit=True) as connection, _roles(connection):
            return asyncio.run(_measure(database, refreshes, connection, clock))
    finally:
        clock.close()


async def _measure(
    database: Database, refreshes: int, connection: psycopg.Connection, clock: StatementClock
) -> Mapping[str, DatabaseTime]:
    (now,) = connection.execute("SELECT now()").fetchone() or ()
    async with AsyncExitStack() as stack:
        sides = {}
        for role, versions in ((WITH, RowVersions), (WITHOUT, _NoVersions)):
            sources = await stack.enter_async_context(_opened(database.url_as(role), now))
            sides[role] = _collectors(versions), sources
        before: dict[str, DatabaseTime] = {}
        for number in range(refreshes + 1):
            with connection.transaction():
                database.catch_up(connection, now)
                for finish in FINISH:
                    connection.execute(finish.encode(), {"now": now, "before": now - timedelta(minutes=10)})
            shown = {}
            for role in (WITH, WITHOUT) if number % 2 else (WITHOUT, WITH):
                shown[role] = await _refresh(*sides[role], now, number)
            if shown[WITH] != shown[WITHOUT]:
                raise Difference(str(set(shown[WITH]) ^ set(shown[WITHOUT])))
            now += timedelta(seconds=REFRESH_SECONDS)
            if number == 0:
                before = {role: clock.of(role, database.name) for role in sides}
        return {role: clock.of(role, database.name) - before[role] for role in sides}


async def _refresh(collectors: Sequence[Collector], sources: Sources, now: datetime, number: int) -> list[Sample]:
    sources.postgres.fixed_now = now
    samples: list[Sample] = []
    for collector in collectors:
        if number % collector.periods == 0:
            samples += await collector.refresh(sources)
    return samples


def _collectors(versions: type[RowVersions]) -> Sequence[Collector]:
    """Return the collectors whose only source is PostgreSQL."""
    with patch("exporter.windows.history.RowVersions", versions):
        every = build_collectors(Settings.model_construct(), lambda name: StateFile(Path("/nonexistent"), name))
    return [collector for collector in every if collector.sources == ("postgres",)]


@asynccontextmanager
async def _opened(url: str, now: datetime) -> AsyncIterator[Sources]:
    """Provide the sources of one side: PostgreSQL alone is reachable."""
    nowhere = Path("/nonexistent")
    sources = Sources(
        postgres=Postgres(url, now=now),
        redis=Redis("redis://127.0.0.1:1"),
        ai_events_log=JsonlLog("ai_events_log", nowhere),
        preview_log=JsonlLog("preview_log", nowhere),
    )
    try:
        yield sources
    finally:
        await sources.postgres.close()


@contextmanager
def _roles(connection: psycopg.Connection) -> Iterator[None]:
    for role in (WITH, WITHOUT):
        create_role(connection, role)
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}".encode())
    try:
        connection.execute("SET timezone = 'UTC'")
        connection.execute("SET session_replication_role = replica")
        yield
    finally:
        for role in (WITH, WITHOUT):
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
