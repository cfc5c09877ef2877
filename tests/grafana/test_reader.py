"""The limits of Grafana's role (`grafana/reader.sql`) that SQL in place of a panel cannot lift, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from demo.database import create_role, tables
from rollup.script import statements_of
from servers.postgres import PostgresServer
from tests.exporter.test_service_freshness import InstalledPostgres

SCRIPT = (Path(__file__).parents[2] / "grafana" / "reader.sql").read_text()
READER = "hivesync_grafana"
ODD = "an 'odd' \"role\""

LIFTED = (
    "SET default_transaction_read_only = off",
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
)
"""The limits that a session can lift."""

FIRM = (
    "CREATE TEMPORARY TABLE filling AS SELECT generate_series(1, 10)",
    "CREATE TABLE public.filling ()",
    "SELECT lo_create(0)",
    "SELECT lo_creat(-1)",
    "SELECT lo_from_bytea(0, 'a')",
    "SET temp_file_limit = -1",
    "ALTER ROLE CURRENT_USER SET temp_file_limit = -1",
    "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1",
    "INSERT INTO usage_analytics_daily VALUES ('2020-01-01', 1, 1, 1, 1, 1, 1)",
    "SELECT * FROM users",
)


@pytest.fixture(params=[PostgresServer, pytest.param(InstalledPostgres, marks=pytest.mark.postgresql)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PostgresServer]:
    """A server without other roles, of the package from PyPI and of Debian, which is older."""
    with request.param(tmp_path / "server", {"shared_preload_libraries": ""}, in_memory=True) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(tables().encode())
        yield server


@pytest.fixture
def owner(server: PostgresServer) -> Iterator[psycopg.Connection]:
    """The superuser's connection."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        yield connection


def as_role(server: PostgresServer, name: str) -> psycopg.Connection:
    return psycopg.connect(make_conninfo(server.url, user=name), autocommit=True)


@pytest.mark.parametrize("name", [READER, ODD])
def test_a_session_that_lifts_its_limits_still_has_the_firm_ones(
    server: PostgresServer, owner: psycopg.Connection, name: str
) -> None:
    """Statement by statement, as an installation of an adapter runs them, for a role of any name."""
    create_role(owner, name)
    for statement in statements_of(SCRIPT):
        owner.execute(statement.replace(READER, sql.Identifier(name).as_string(None)).encode())
    owner.execute(sql.SQL("GRANT SELECT ON usage_analytics_daily TO {}").format(sql.Identifier(name)))
    with as_role(server, name) as reader:
        for lifting in LIFTED:
            reader.execute(lifting.encode())
        for statement in FIRM:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement.encode())
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="temp_file_limit"):
            reader.execute(
                "SELECT count(*) FROM (SELECT FROM generate_series(1, 5000000) AS g ORDER BY random()) AS all_"
            )
        assert reader.execute("SELECT count(*) FROM usage_analytics_daily").fetchone() == (0,)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(as_role(server, name))
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            as_role(server, name)


def test_a_right_that_another_application_may_need_is_left_and_named(
    server: PostgresServer, owner: psycopg.Connection
) -> None:
    noticed: list[str] = []
    owner.add_notice_handler(lambda notice: noticed.append(notice.message_primary or ""))
    for name in (READER, "hivesync_exporter", "hivesync_rollup"):
        create_role(owner, name)
    owner.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")  # the default before PostgreSQL 15
    create_role(owner, "backend")
    owner.execute("SELECT lo_create(0)")
    owner.execute(SCRIPT.encode())
    with as_role(server, "backend") as backend:
        backend.execute("CREATE TEMPORARY TABLE needed ()")
        backend.execute("DROP TABLE pg_temp.needed")  # else it is there until the process of the session has ended
        backend.execute("CREATE TABLE needed_too ()")
        backend.execute("SELECT lo_create(0)")
    assert {notice.partition(": REVOKE ")[2] for notice in noticed} == {
        "TEMPORARY ON DATABASE postgres FROM PUBLIC",
        "CREATE ON SCHEMA public FROM PUBLIC",
        "EXECUTE ON FUNCTION lo_creat(integer) FROM PUBLIC",
        "EXECUTE ON FUNCTION lo_create(oid) FROM PUBLIC",
        "EXECUTE ON FUNCTION lo_from_bytea(oid,bytea) FROM PUBLIC",
    }
    owner.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    owner.execute("DROP TABLE needed_too; DROP ROLE backend")
    noticed.clear()
    owner.execute(SCRIPT.encode())
    assert noticed == []
    for right in ("TEMPORARY", "CREATE"):
        allowed = "SELECT has_database_privilege('public', current_database(), %s)"
        assert owner.execute(allowed, [right]).fetchone() == (False,)
    assert owner.execute("SELECT has_schema_privilege('public', 'public', 'CREATE')").fetchone() == (False,)


def test_a_creator_without_further_rights_sets_all_but_two_and_is_told(
    server: PostgresServer, owner: psycopg.Connection
) -> None:
    create_role(owner, "creator", "LOGIN CREATEROLE")
    noticed: list[str] = []
    with as_role(server, "creator") as creator:
        creator.add_notice_handler(lambda notice: noticed.append(notice.message_primary or ""))
        create_role(creator, READER)
        creator.execute(SCRIPT.encode())
    assert "temp_file_limit is not set: only a superuser can set it" in noticed
    assert any("REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC" in notice for notice in noticed)
    with as_role(server, READER) as reader:
        shown = reader.execute(
            "SELECT current_setting('statement_timeout'), rolconnlimit FROM pg_roles WHERE rolname = user"
        )
        assert shown.fetchone() == ("5s", 5)
