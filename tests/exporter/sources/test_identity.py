"""The recognition of PostgreSQL's server: the same, restarted, or another one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from demo.database import create_role
from exporter.sources.identity import DatabaseServer, Identity, Known, Lineage, Sighting
from exporter.sources.postgres import Postgres
from servers.postgres import PostgresServer
from servers.proxy import Proxy
from tests.waiting import patience

SEEN = Sighting(datetime(2026, 3, 17, tzinfo=UTC), in_recovery=False, database="5", oldest_running=1_000)
RESTARTED = replace(SEEN, started=SEEN.started + timedelta(hours=1), oldest_running=1_001)
LINEAGE = Lineage(7, "00000001")


class Seen:
    """An identity after one transaction on SEEN."""

    def __init__(self, lineage: Lineage | None = LINEAGE) -> None:
        self.identity = Identity()
        self.see(SEEN, lineage)

    def see(self, sighting: Sighting, lineage: Lineage | None = LINEAGE) -> tuple[DatabaseServer, str | None]:
        return self.see_from(self.identity.known, sighting, lineage)

    def see_from(
        self, before: Known | None, sighting: Sighting, lineage: Lineage | None = LINEAGE
    ) -> tuple[DatabaseServer, str | None]:
        async def read() -> Lineage | None:
            return lineage

        return asyncio.run(self.identity.of(sighting, before, read))


def test_the_first_server_is_no_change() -> None:
    async def read() -> Lineage | None:
        return LINEAGE

    assert asyncio.run(Identity().of(SEEN, None, read)) == (DatabaseServer(1, 1), None)


def test_the_same_server_later_is_the_same() -> None:
    assert Seen().see(replace(SEEN, oldest_running=2_000)) == (DatabaseServer(1, 1), None)


def test_a_restart_is_a_new_run_of_the_same_server() -> None:
    assert Seen().see(RESTARTED) == (DatabaseServer(1, 2), None)


@pytest.mark.parametrize(
    ("sighting", "lineage", "reason"),
    [
        (replace(SEEN, in_recovery=True), None, "recovery"),
        (replace(RESTARTED, in_recovery=True), None, "recovery"),
        (RESTARTED, replace(LINEAGE, system=8), "system_identifier"),
        (RESTARTED, replace(LINEAGE, timeline="00000002"), "timeline"),
        (RESTARTED, None, "server_start"),
        (replace(SEEN, database="6"), LINEAGE, "database"),
        (replace(SEEN, oldest_running=999), LINEAGE, "transaction_id"),
        (replace(RESTARTED, oldest_running=999), LINEAGE, "transaction_id"),
    ],
)
def test_another_server_is_known_by_each_sign(sighting: Sighting, lineage: Lineage | None, reason: str) -> None:
    assert Seen().see(sighting, lineage) == (DatabaseServer(2, 2), reason)


def test_a_standby_that_was_restarted_may_be_another_one() -> None:
    seen = Seen()
    seen.see(replace(SEEN, in_recovery=True))
    assert seen.see(replace(RESTARTED, in_recovery=True)) == (DatabaseServer(3, 3), "server_start")


def test_answers_that_arrive_in_another_order_are_no_change() -> None:
    """A transaction id shows that rows are missing only where the question was asked after it was known."""
    seen = Seen()
    before = seen.identity.known
    seen.see_from(before, replace(SEEN, oldest_running=1_002))
    assert seen.see_from(before, replace(SEEN, oldest_running=1_001)) == (DatabaseServer(1, 1), None)
    assert seen.see(replace(SEEN, oldest_running=1_001)) == (DatabaseServer(2, 2), "transaction_id")


def test_a_change_is_found_once_and_by_the_first_of_several() -> None:
    seen = Seen()
    before = seen.identity.known
    other = replace(RESTARTED, in_recovery=True)
    assert seen.see_from(before, other) == (DatabaseServer(2, 2), "recovery")
    assert seen.see_from(before, other) == (DatabaseServer(2, 2), None)
    assert seen.see_from(before, SEEN) == (DatabaseServer(1, 1), None), "a transaction that began on the former server"


@pytest.fixture
def plain(postgres_server: PostgresServer, database: str) -> Iterator[str]:
    """The URL of a role without any right, for the test's database."""
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        create_role(connection, "plain")
        yield make_conninfo(database, user="plain")
        connection.execute("DROP ROLE plain")


def test_a_restored_copy_of_the_disk_is_another_server(tmp_path: Path) -> None:
    """It has the system identifier and the timeline of the original."""

    async def restore() -> None:
        with (
            PostgresServer(tmp_path / "original", in_memory=True) as original,
            PostgresServer(tmp_path / "copy", in_memory=True, primary=original) as copy,
        ):
            copy.stop()
            copy.forget_standby()
            with psycopg.connect(original.url, autocommit=True) as connection:
                for _ in range(20):
                    connection.execute("SELECT pg_current_xact_id()")
            copy.start()
            assert await reasons_of_a_switch(original, copy) == ["transaction_id"]

    asyncio.run(restore())


def test_a_role_without_the_right_to_the_control_data_reads_all_the_same(plain: str, database: str) -> None:
    """The right is taken from all roles in this database alone."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")

    async def read() -> tuple[DatabaseServer, Lineage | None]:
        postgres = Postgres(plain)
        async with postgres.transaction() as transaction:
            assert await transaction.rows("SELECT 1") == [(1,)]
            known = postgres._identity.known
            assert known is not None
        await postgres.close()
        return transaction.server, known.lineage

    assert asyncio.run(read()) == (DatabaseServer(1, 1), None)


def test_a_database_that_takes_the_name_of_another_is_another(postgres_server: PostgresServer, tmp_path: Path) -> None:
    async def replace_it() -> list[str]:
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            for name in ("replaced", "restored"):
                connection.execute(f"CREATE DATABASE {name}".encode())
            postgres = Postgres(postgres_server.url_of("replaced"))
            reasons: list[str] = []
            postgres.reachability.watch(lambda _, reason: reasons.append(reason))
            try:
                async with postgres.transaction():
                    pass
                connection.execute("DROP DATABASE replaced WITH (FORCE)")
                connection.execute("ALTER DATABASE restored RENAME TO replaced")
                async with postgres.transaction():
                    pass
            finally:
                await postgres.close()
                connection.execute("DROP DATABASE replaced WITH (FORCE)")
        return reasons

    assert asyncio.run(replace_it()) == ["database"]


async def reasons_of_a_switch(original: PostgresServer, other: PostgresServer) -> list[str]:
    reasons: list[str] = []
    with Proxy(original.port) as proxy:
        postgres = Postgres(make_conninfo(original.url, port=proxy.port))
        postgres.reachability.watch(lambda _, reason: reasons.append(reason))
        for _ in range(2):
            async with postgres.transaction():
                pass
            proxy.switch(other.port)
        await postgres.close()
    return reasons


def test_connections_to_the_former_server_are_not_used_again(tmp_path: Path) -> None:
    """A proxy that keeps connections to a server that still answers."""

    async def switch() -> list[int]:
        one, two = (PostgresServer(tmp_path / name, in_memory=True) for name in ("one", "two"))
        two.password = one.password
        with one, two, Proxy(one.port) as proxy:
            postgres = Postgres(make_conninfo(one.url, port=proxy.port))
            servers = []
            async with postgres.transaction() as early, postgres.transaction():
                proxy.switch(two.port, cut=False)
                async with postgres.transaction() as later:
                    servers += [early.server.number, later.server.number]
            for _ in range(4):
                async with postgres.transaction() as one_of_many, postgres.transaction() as another:
                    servers += [one_of_many.server.number, another.server.number]
            await postgres.close()
        return servers

    assert asyncio.run(asyncio.wait_for(switch(), patience(60))) == [1] + [2] * 9
