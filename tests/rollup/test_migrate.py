"""`--migrate`: the table and the roles' rights, created once, by any role that may, in one transaction."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from demo.database import create_role
from exporter.collector import Collector
from exporter.collectors.activity import Activity
from exporter.collectors.ai import Ai
from exporter.collectors.latency import Latency
from exporter.collectors.previews import Previews
from exporter.collectors.rollup import Rollup
from exporter.collectors.users import Plans, Users
from rollup import migrate
from rollup.connection import connected
from rollup.migrate import NEEDS, Role
from tests.rollup.rolling import Command, stored
from tests.rows import TABLES, collect, insert, users

SHAPE = """
SELECT attname, format_type(atttypid, NULL), attnotnull FROM pg_attribute
WHERE attrelid = 'usage_analytics_daily'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""

NewRole = Callable[..., str]


@pytest.fixture
def without_table(connection: psycopg.Connection) -> None:
    connection.execute("DROP TABLE usage_analytics_daily")


@pytest.fixture
def new_role(connection: psycopg.Connection, database: str) -> Iterator[NewRole]:
    """A function that creates roles with LOGIN and without rights; removed after the test."""
    made: list[sql.Identifier] = []

    def make(name: str = "", options: str = "LOGIN") -> str:
        name = name or f"role_{uuid4().hex}"
        made.append(sql.Identifier(name))
        create_role(connection, name, options)
        return name

    connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    connection.execute(f'REVOKE ALL ON DATABASE "{conninfo_to_dict(database)["dbname"]}" FROM PUBLIC'.encode())
    yield make
    for role in made:
        connection.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(role, role))


def as_role(database: str, role: str) -> str:
    """The URL of the test's database for another role."""
    return psycopg.conninfo.make_conninfo(database, user=role)


def exists(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT to_regclass('usage_analytics_daily')").fetchone() != (None,)


def rights(connection: psycopg.Connection, role: str) -> set[tuple[str, str]]:
    """The rights of a role on HiveSync's tables."""
    kinds = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
    return {
        (table, kind)
        for table in TABLES
        for kind in kinds
        if connection.execute("SELECT has_table_privilege(%s, %s, %s)", (role, table, kind)).fetchone() == (True,)
    }


@pytest.mark.usefixtures("without_table")
def test_the_table_is_made_with_exactly_the_documented_columns(rollup: Command, connection: psycopg.Connection) -> None:
    ran = rollup("--migrate")
    assert (ran.status, ran.out.splitlines()[0]) == (0, "usage_analytics_daily: made")
    assert connection.execute(SHAPE).fetchall() == [
        ("date", "date", True),
        ("dau", "integer", True),
        ("mau", "integer", True),
        ("ai_requests", "integer", True),
        ("preview_requests", "integer", True),
        ("avg_latency_ms", "double precision", False),
        ("max_queue_depth", "integer", False),
    ]


def test_a_second_migration_changes_nothing(rollup: Command, connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO usage_analytics_daily VALUES ('2026-01-01', 1, 2, 3, 4, 5, 6)")
    before = connection.execute("SELECT 'usage_analytics_daily'::regclass::oid").fetchone()
    ran = rollup("--migrate")
    assert (ran.status, ran.out.splitlines()[0]) == (
        0,
        "usage_analytics_daily: was there already, and is as it should be",
    )
    assert connection.execute("SELECT 'usage_analytics_daily'::regclass::oid").fetchone() == before
    assert len(stored(connection)) == 1


@pytest.mark.usefixtures("without_table")
def test_two_migrations_at_once_make_one_table(database: str, connection: psycopg.Connection) -> None:
    made: list[bool] = []
    together = threading.Barrier(4)

    def run() -> None:
        async def one() -> bool:
            async with connected(database) as mine:
                together.wait()
                return await migrate.migrate(mine)

        made.append(asyncio.run(one()))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, False, False, True]
    assert exists(connection)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("DROP COLUMN mau", "mau should be integer, and is not there"),
        ("ADD COLUMN wau integer", "wau should not be there"),
        ("ALTER COLUMN dau TYPE bigint", "dau should be integer, and is bigint"),
        ("ALTER COLUMN avg_latency_ms TYPE numeric", "avg_latency_ms should be double precision, and is numeric"),
        ("ALTER COLUMN date TYPE timestamptz", "date should be date, and is timestamp with time zone"),
        ("ALTER COLUMN max_queue_depth SET NOT NULL", "max_queue_depth should be allowed to be null"),
        ("DROP CONSTRAINT usage_analytics_daily_pkey", "date should be its primary key"),
        (
            "DROP CONSTRAINT usage_analytics_daily_pkey, ADD PRIMARY KEY (date, dau)",
            "date should be its primary key",
        ),
        (
            "DROP CONSTRAINT usage_analytics_daily_pkey, ADD PRIMARY KEY (date) DEFERRABLE",
            "date should be its primary key",
        ),
    ],
)
def test_a_table_of_another_shape_is_not_touched(
    rollup: Command, connection: psycopg.Connection, change: str, says: str
) -> None:
    connection.execute(f"ALTER TABLE usage_analytics_daily {change}".encode())
    insert(connection, "sessions", created_at="2026-01-01")
    before = connection.execute(SHAPE).fetchall()
    for arguments in (["--migrate"], ["--migrate", "--grant", "grafana=postgres"], [], ["--dry-run"]):
        ran = rollup(*arguments)
        assert ran.status == 2, arguments
        assert says in ran.message
        assert "nothing was changed" in ran.message
    assert connection.execute(SHAPE).fetchall() == before
    assert connection.execute("SELECT count(*) FROM usage_analytics_daily").fetchone() == (0,)


def test_a_unique_index_and_another_order_of_columns_are_enough(
    rollup: Command, connection: psycopg.Connection
) -> None:
    connection.execute("DROP TABLE usage_analytics_daily")
    connection.execute(
        "CREATE TABLE usage_analytics_daily (mau integer, dau integer, ai_requests integer, preview_requests integer,"
        " max_queue_depth integer, avg_latency_ms float8, date date UNIQUE)"
    )
    insert(connection, "sessions", created_at="now")
    assert rollup("--migrate").status == 0
    assert rollup().status == 0
    assert connection.execute("SELECT ai_requests FROM usage_analytics_daily").fetchall() == [(0,)]


@pytest.mark.usefixtures("without_table")
def test_who_may_not_make_tables_is_told_so(
    rollup: Command, connection: psycopg.Connection, database: str, new_role: NewRole
) -> None:
    role = new_role()
    name = conninfo_to_dict(database)["dbname"]
    connection.execute(f'GRANT CONNECT ON DATABASE "{name}" TO {role}; GRANT USAGE ON SCHEMA public TO {role}'.encode())
    ran = rollup("--migrate", database_url=as_role(database, role))
    assert (ran.status, ran.out) == (2, "")
    assert ran.message == "hivesync-analytics: PostgreSQL: permission denied for schema public"
    connection.execute(f"REVOKE USAGE ON SCHEMA public FROM {role}".encode())
    ran = rollup("--migrate", database_url=as_role(database, role))
    assert (ran.status, ran.message) == (2, "hivesync-analytics: PostgreSQL: no schema has been selected to create in")
    assert not exists(connection)


def test_without_grant_the_exact_statements_are_printed(
    rollup: Command, connection: psycopg.Connection, new_role: NewRole
) -> None:
    """The printed statements run unchanged, and grant the roles their rights and no others."""
    roles = {kind: new_role() for kind in NEEDS}
    printed = rollup("--migrate").out.partition(":\n\n")[2]
    assert printed.count(";\n") >= 3 * len(NEEDS)
    for kind, role in roles.items():
        printed = printed.replace(f'"hivesync_{kind}"', role)
    connection.execute(printed.encode())
    assert_rights(connection, roles)


def assert_rights(connection: psycopg.Connection, roles: dict[str, str]) -> None:
    events = {(table, "SELECT") for table in ("sessions", "ai_usage_events", "preview_jobs", "usage_analytics_daily")}
    assert rights(connection, roles["exporter"]) == {(table, "SELECT") for table in TABLES}
    assert rights(connection, roles["rollup"]) == events | {
        ("usage_analytics_daily", "INSERT"),
        ("usage_analytics_daily", "UPDATE"),
    }
    assert rights(connection, roles["grafana"]) == {("usage_analytics_daily", "SELECT")}


@pytest.mark.usefixtures("without_table")
def test_grant_gives_each_role_what_it_needs_whatever_its_name(
    rollup: Command, connection: psycopg.Connection, database: str, new_role: NewRole
) -> None:
    roles = {
        "exporter": new_role(f'od"d; role % {uuid4().hex}'),
        "rollup": new_role(f"Röllup-=-{uuid4().hex}"),
        "grafana": new_role(f"select {uuid4().hex}"),
    }
    given = [f"{kind}={role}" for kind, role in roles.items()]
    ran = rollup("--migrate", "--grant", *given)
    assert (ran.status, ran.out.splitlines()) == (
        0,
        ["usage_analytics_daily: made", *(f"{kind}: rights granted to {role}" for kind, role in roles.items())],
    )
    assert_rights(connection, roles)
    assert rollup("--migrate", "--grant", *given).status == 0
    assert_rights(connection, roles)


def test_grafanas_role_sees_nothing_but_the_table(
    rollup: Command, connection: psycopg.Connection, database: str, new_role: NewRole
) -> None:
    role = new_role()
    connection.execute("INSERT INTO usage_analytics_daily VALUES ('2026-01-01', 1, 2, 3, 4, 5, 6)")
    assert rollup("--migrate", "--grant", f"grafana={role}").status == 0
    with psycopg.connect(as_role(database, role), autocommit=True) as theirs:
        assert len(stored(theirs)) == 1
        for table in TABLES[:-1]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                theirs.execute(f"SELECT FROM {table}".encode())
        for statement in (
            "UPDATE usage_analytics_daily SET dau = 0",
            "DELETE FROM usage_analytics_daily",
            "INSERT INTO usage_analytics_daily VALUES ('2026-01-02', 1, 2, 3, 4, 5, 6)",
            "CREATE TABLE mine ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                theirs.execute(statement.encode())


def test_the_exporters_role_feeds_every_collector_that_asks_postgresql(
    rollup: Command, connection: psycopg.Connection, database: str, new_role: NewRole
) -> None:
    role = new_role()
    assert rollup("--migrate", "--grant", f"exporter={role}").status == 0
    insert(connection, "sessions", user_id=users(connection, 1)[0])
    connection.execute("INSERT INTO usage_analytics_daily VALUES ('2026-01-01', 1, 2, 3, 4, 5, 6)")
    plans = Plans()
    collectors: list[Collector] = [Users(plans), Activity(plans), Ai(), Previews(), Latency(), Rollup()]
    url = as_role(database, role)
    values = {name: value for collector in collectors for name, value in collect(collector, url).items()}
    assert values["hivesync_users{free}"] == values["hivesync_active_users{24h,free}"] == 1
    assert values["hivesync_rollup_latest_day_timestamp_seconds"] == 1767225600


def test_the_rollups_role_can_do_a_run_and_no_history(
    rollup: Command, connection: psycopg.Connection, database: str, new_role: NewRole
) -> None:
    role = new_role()
    assert rollup("--migrate", "--grant", f"rollup={role}").status == 0
    insert(connection, "sessions", user_id=users(connection, 1)[0])
    rollup.settings = {"HIVESYNC_ROLLUP_DATABASE_URL": as_role(database, role)}
    for _ in range(2):
        assert rollup().status == 0
    assert [row.dau for row in stored(connection)] == [1]
    refused = rollup("--history", "-")
    assert (refused.status, refused.out) == (2, "")
    assert f"GRANT SELECT ON subscriptions TO {role}" in refused.message


@pytest.mark.usefixtures("without_table")
def test_a_role_that_is_not_there_is_refused_and_nothing_is_made(
    rollup: Command, connection: psycopg.Connection, new_role: NewRole
) -> None:
    there = new_role()
    ran = rollup("--migrate", "--grant", f"grafana={there}", "exporter=no such", "rollup=nobody")
    assert (ran.status, ran.out) == (2, "")
    assert "CREATE ROLE \"no such\" LOGIN PASSWORD '…';\n  CREATE ROLE nobody LOGIN" in ran.message
    assert not exists(connection)
    assert rights_on_schema(connection, there) == (False,)


def rights_on_schema(connection: psycopg.Connection, role: str) -> tuple[object, ...] | None:
    return connection.execute("SELECT has_schema_privilege(%s, 'public', 'USAGE')", (role,)).fetchone()


def test_rights_that_are_not_ours_to_give_are_not_said_to_be_given(
    rollup: Command, connection: psycopg.Connection, database: str, new_role: NewRole
) -> None:
    """PostgreSQL only warns a role that may not grant a right of its own."""
    giver, role = new_role(), new_role()
    name = conninfo_to_dict(database)["dbname"]
    connection.execute(
        f'GRANT CONNECT ON DATABASE "{name}" TO {giver} WITH GRANT OPTION;'
        f"GRANT ALL ON SCHEMA public TO {giver} WITH GRANT OPTION;"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {giver}".encode()
    )
    ran = rollup("--migrate", "--grant", f"grafana={role}", database_url=as_role(database, giver))
    assert (ran.status, ran.out) == (2, "")
    assert f"{role} cannot be given SELECT on usage_analytics_daily by this role" in ran.message
    assert "run this as the owner of the tables and the database, or as a superuser" in ran.message
    assert rights_on_schema(connection, role) == (False,)


def test_what_a_role_may_do_besides_is_said(rollup: Command, connection: psycopg.Connection, new_role: NewRole) -> None:
    role = new_role()
    connection.execute("CREATE TABLE api_keys (key text)")
    connection.execute(f"GRANT SELECT ON api_keys, users TO {role}; GRANT DELETE ON sessions TO {role}".encode())
    connection.execute(f"GRANT UPDATE (dau) ON usage_analytics_daily TO {role}".encode())
    ran = rollup("--migrate", "--grant", f"grafana={role}", "grafana=postgres")
    assert (ran.status, ran.out.splitlines()[2:]) == (
        0,
        [
            f"{role} may also SELECT api_keys, and need not",
            f"{role} may also DELETE sessions, and need not",
            f"{role} may also UPDATE usage_analytics_daily, and need not",
            f"{role} may also SELECT users, and need not",
            "grafana: rights granted to postgres",
            "postgres is a superuser: it may do everything",
        ],
    )


def test_grant_wants_a_kind_and_a_role(rollup: Command) -> None:
    for given in ("", "exporter", "exporter=", "=role", "admin=role", "Exporter=role"):
        ran = rollup("--migrate", "--grant", given)
        assert ran.status == 2
        assert "should be exporter=ROLE, rollup=ROLE, grafana=ROLE" in ran.message


def test_several_roles_of_a_kind_are_all_given_their_rights(
    rollup: Command, connection: psycopg.Connection, new_role: NewRole
) -> None:
    one, two, three = new_role(), new_role(), new_role()
    ran = rollup("--migrate", "--grant", f"grafana={one}", f"grafana={two}", "--grant", f"grafana={three}")
    assert ran.status == 0
    for role in (one, two, three):
        assert rights(connection, role) == {("usage_analytics_daily", "SELECT")}


def test_tables_in_another_schema_are_granted_with_it(
    rollup: Command, connection: psycopg.Connection, database: str, new_role: NewRole
) -> None:
    role = new_role()
    connection.execute("CREATE SCHEMA analytics")
    for table in TABLES:
        connection.execute(f"ALTER TABLE {table} SET SCHEMA analytics".encode())
    url = f"{database}?options=-csearch_path%3Danalytics"
    assert rollup("--migrate", "--grant", f"rollup={role}", database_url=url).status == 0
    theirs = as_role(url, role)
    assert rollup(database_url=theirs).status == 0


def test_every_kind_of_role_is_known() -> None:
    assert list(migrate.DEFAULT_ROLES) == [
        Role("exporter", "hivesync_exporter"),
        Role("rollup", "hivesync_rollup"),
        Role("grafana", "hivesync_grafana"),
    ]
