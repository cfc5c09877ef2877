"""Fail-over between real servers: the next refresh after it equals plain SQL, and one event says why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from structlog.testing import capture_logs

from demo.database import tables
from exporter import recount
from exporter.collector import SKIPPED, Collector, Presenting, Sources
from exporter.collectors import build_collectors
from exporter.definitions import Terms, read_definitions
from exporter.errors import SourceUnavailable
from exporter.snapshot import Snapshot
from exporter.state import StateFile
from servers.ports import LOOPBACK
from servers.postgres import PostgresServer
from servers.proxy import Proxy
from tests.rows import NOON, by_name, insert, sources, user
from tests.scenario import seed_postgres, settings_for
from tests.waiting import until

STEP = timedelta(seconds=15)


COLLECTORS = [
    *("users", "activity", "growth", "ai", "previews", "latency", "cost", "rollup", "charts", "incidents", "top_users")
]
"""All collectors of PostgreSQL alone."""


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[PostgresServer]:
    """A server with HiveSync's tables and a row for every metric."""
    with PostgresServer(tmp_path / "primary", in_memory=True) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(tables().encode())
            seed_postgres(connection)
        yield server


@pytest.fixture
def standby(primary: PostgresServer, tmp_path: Path) -> Iterator[PostgresServer]:
    """A standby of the primary that is behind: its replay is paused, and the primary goes on."""
    with PostgresServer(tmp_path / "standby", in_memory=True, primary=primary) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("SELECT pg_wal_replay_pause()")
            until(lambda: paused(connection), "a paused replay")
        go_on(primary, "later")
        yield server


def paused(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT pg_get_wal_replay_pause_state() = 'paused'").fetchone() == (True,)


def go_on(server: PostgresServer, name: str) -> None:
    """More of everything, in the far past too, which no refresh reads again by itself."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        who = user(connection, name)
        insert(connection, "subscriptions", user_id=who, plan="pro")
        insert(connection, "projects", owner_id=who, name=name)
        for hours in (0.2, 3, 20, 60, 200, 400):
            ended = {"created_at": NOON - timedelta(hours=hours), "completed_at": NOON - timedelta(hours=hours - 0.05)}
            for status in ("succeeded", "failed"):
                insert(connection, "preview_jobs", user_id=who, status=status, **ended)
                for _ in range(3):
                    tokens = {"model": "gpt-4.1", "prompt_tokens": 1_000, "completion_tokens": 100}
                    insert(connection, "ai_usage_events", user_id=who, status=status, **ended, **tokens)


def delete_one(server: PostgresServer) -> None:
    """Delete one old request of each kind, which the tables' counters show."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        for table in ("ai_usage_events", "preview_jobs"):
            connection.execute(f"DELETE FROM {table} WHERE created_at = (SELECT min(created_at) FROM {table})".encode())


class Following:
    """The exporter's collectors, refreshed every quarter of a minute, compared with plain SQL and with new ones."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder
        self.now = NOON
        self.collectors = self._build()

    async def __aenter__(self) -> Following:
        self._opened = sources(self._url, now=self.now)
        self.sources: Sources = await self._opened.__aenter__()
        self.snapshot = Snapshot(self.collectors, self.sources, 15)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.__aexit__(None, None, None)

    async def matches(self, step: timedelta = STEP) -> dict[str, Any]:
        """Refresh, and check every value and content against those of the server that answers now."""
        self.now += step
        self.sources.postgres.fixed_now = self.now
        values = await self.refresh()
        assert values == pytest.approx(await self._plain_sql(), rel=1e-12)
        contents, others = _contents(self.collectors), self._build()
        for collector in others:
            await collector.refresh(self.sources)
        assert contents == _contents(others)
        return values

    async def refresh(self) -> dict[str, Any]:
        """Refresh `users` last, so that its plans are read by those that share them."""
        in_order = sorted(self.collectors, key=lambda collector: collector.name == "users")
        return by_name([s for c in in_order for s in await c.refresh(self.sources) if s.spec != SKIPPED])

    async def _plain_sql(self) -> dict[str, Any]:
        terms = Terms(self._settings().prices(), self._settings().free_plans)
        async with self.sources.postgres.transaction() as transaction:
            specs = [spec for collector in self.collectors for spec in collector.specs]
            return by_name(await read_definitions(specs, transaction, terms))

    def filled(self) -> int:
        """The number of whole windows read so far."""
        counters = [s for c in self.collectors if hasattr(c, "counters") for s in c.counters()]
        return sum(int(s.value) for s in counters if s.spec.name == "hivesync_resyncs_total" and "filled" in s.labels)

    def _settings(self) -> Any:
        return settings_for(self._url, "redis://127.0.0.1:1/0", self._folder, collectors=COLLECTORS)

    def _build(self) -> Sequence[Collector]:
        return build_collectors(self._settings(), lambda name: StateFile(self._folder, name))


def _contents(collectors: Sequence[Collector]) -> dict[str, Any]:
    made = {}
    for collector in collectors:
        if isinstance(collector, Presenting):
            content: Any = collector.content
            is_hours = collector.name == "charts"
            made[collector.name] = (
                (content.requests_per_hour(60, 168), content.latency_seconds(60, 168)) if is_hours else content
            )
    return made


@asynccontextmanager
async def following(url: str, folder: Path, changes: Sequence[str]) -> AsyncIterator[Following]:
    """Follow a server; at the end, exactly these changes must have been logged, by reason."""
    with capture_logs() as logged:
        async with Following(url, folder) as opened:
            yield opened
    assert [line["reason"] for line in logged if line["event"] == "source.changed"] == list(changes)
    assert opened.sources.postgres.reachability.changes == len(changes)


@pytest.fixture(autouse=True)
def a_pause_between_readings_of_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause of a large installation, so that plans and projects are kept too."""
    monkeypatch.setattr(recount, "READ_ALWAYS", 0)
    monkeypatch.setattr(recount, "ROWS_A_MINUTE", 1)


def test_numbers_equal_plain_sql_on_an_older_standby_and_back(
    primary: PostgresServer, standby: PostgresServer, tmp_path: Path
) -> None:
    async def there_and_back() -> None:
        url = make_conninfo(primary.url, port=proxy.port)
        async with following(url, tmp_path, ["recovery", "recovery"]) as follower:
            at_first = await follower.matches()
            proxy.switch(standby.port)
            behind = await follower.matches()
            await asyncio.to_thread(go_on, primary, "meanwhile")
            delete_one(primary)
            proxy.switch(primary.port)
            at_last = await follower.matches()
            await follower.matches()
            for name in ("hivesync_active_users{24h,paid}", "hivesync_projects", "hivesync_ai_requests_in_window{24h}"):
                assert behind[name] < at_first[name] < at_last[name], name
            filled = follower.filled()
            for _ in range(3):
                await follower.matches(timedelta(minutes=40))
            assert follower.filled() == filled, "the counters of the former server were taken for this one's"

    with Proxy(primary.port) as proxy:
        asyncio.run(there_and_back())


@pytest.mark.parametrize("wanted", ["read-write", "any"])
def test_numbers_equal_plain_sql_after_a_promotion(
    wanted: str, primary: PostgresServer, standby: PostgresServer, tmp_path: Path
) -> None:
    hosts = f"{LOOPBACK}:{primary.port},{LOOPBACK}:{standby.port}"
    url = f"postgresql://postgres:{primary.password}@{hosts}/postgres?target_session_attrs={wanted}"
    reasons = ["timeline"] if wanted == "read-write" else ["recovery", "recovery"]

    async def fail_over() -> None:
        async with following(url, tmp_path, reasons) as follower:
            at_first = await follower.matches()
            await asyncio.to_thread(primary.kill)
            if wanted == "read-write":
                with pytest.raises(SourceUnavailable):
                    await follower.refresh()
            else:
                await follower.matches()
            await asyncio.to_thread(standby.promote)
            assert await follower.matches() != at_first
            await follower.matches()

    asyncio.run(fail_over())


def test_a_restart_of_the_same_server_refills_nothing(primary: PostgresServer, tmp_path: Path) -> None:
    async def restart() -> None:
        async with following(primary.url, tmp_path, []) as follower:
            await follower.matches()
            filled = follower.filled()
            await asyncio.to_thread(primary.kill)
            await asyncio.to_thread(primary.start)
            await follower.matches()
            assert follower.filled() == filled

    asyncio.run(restart())
