"""Changes of a table, by PostgreSQL's counters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from demo.database import create_role
from exporter.changes import Changes, read_changes
from exporter.sources.postgres import Postgres
from servers.postgres import PostgresServer
from tests.rows import counted, insert, user


def changes(url: str, *tables: str) -> Changes | None:
    """The counters of these tables; fails unless the transaction works after the query."""

    async def ask() -> Changes | None:
        postgres = Postgres(url)
        try:
            async with postgres.transaction() as transaction:
                answer = await read_changes(transaction, tables)
                assert await transaction.rows("SELECT 1") == [(1,)]
                return answer
        finally:
            await postgres.close()

    return asyncio.run(ask())


def test_every_way_of_changing_a_table_moves_its_counters(database: str, connection: psycopg.Connection) -> None:
    somebody = user(connection, "somebody")
    for statement in (
        "INSERT INTO projects (name) VALUES ('one'), ('two')",
        "UPDATE projects SET name = 'three' WHERE name = 'one'",
        "DELETE FROM projects WHERE name = 'two'",
        "TRUNCATE projects CASCADE",
    ):
        counted(connection)
        before = changes(database, "projects", "users")
        assert before is not None
        assert before == changes(database, "projects", "users")
        connection.execute(statement.encode())
        counted(connection)
        after = changes(database, "projects", "users")
        assert after is not None
        assert before["projects"] != after["projects"], statement
        assert before["users"] == after["users"], statement
    insert(connection, "subscriptions", user_id=somebody, plan="pro")
    counted(connection)
    before = changes(database, "users", "subscriptions")
    connection.execute("DELETE FROM users")
    counted(connection)
    after = changes(database, "users", "subscriptions")
    assert before is not None
    assert after is not None
    assert [after[table].deleted - before[table].deleted for table in ("users", "subscriptions")] == [1, 1]


@pytest.fixture
def reader(postgres_server: PostgresServer, database: str, connection: psycopg.Connection) -> Iterator[str]:
    """The URL of a role with SELECT on the tables, and no other right."""
    name = f"r{uuid4().hex}"
    create_role(connection, name)
    connection.execute(f"GRANT SELECT ON users, projects TO {name}".encode())
    yield postgres_server.url_of(str(conninfo_to_dict(database)["dbname"]), name)
    connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def test_a_role_that_may_only_select_may_read_the_counters(reader: str, connection: psycopg.Connection) -> None:
    user(connection, "somebody")
    counted(connection)
    read = changes(reader, "users")
    assert read is not None
    assert read["users"].inserted == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE projects CASCADE",
        "ALTER TABLE projects RENAME TO things; CREATE VIEW projects AS SELECT * FROM things",
        "ALTER TABLE projects RENAME TO things; CREATE MATERIALIZED VIEW projects AS SELECT * FROM things",
        "CREATE TABLE more_projects () INHERITS (projects)",
        "DROP TABLE projects CASCADE; CREATE TABLE projects (id int) PARTITION BY RANGE (id)",
        "ALTER ROLE postgres IN DATABASE {database} SET track_counts = off",
        "REVOKE SELECT ON projects FROM {role}",
        "REVOKE EXECUTE ON FUNCTION pg_stat_get_tuples_inserted FROM PUBLIC; GRANT SELECT ON projects TO {role}",
    ],
    ids=[
        "no table",
        "a view",
        "a materialized view",
        "inheritance",
        "partitions",
        "not counted",
        "no rights",
        "no statistics",
    ],
)
def test_where_nothing_is_counted_for_us_changes_are_unknown(
    statement: str, reader: str, database: str, connection: psycopg.Connection
) -> None:
    role = str(conninfo_to_dict(reader)["user"])
    url = reader if "{role}" in statement else database
    assert changes(url, "users", "projects") is not None
    connection.execute(statement.format(database=conninfo_to_dict(database)["dbname"], role=role).encode())
    assert changes(url, "users", "projects") is None


def test_tables_are_found_by_the_search_path(database: str, connection: psycopg.Connection) -> None:
    connection.execute(
        "CREATE SCHEMA other; CREATE TABLE other.projects (id int); INSERT INTO other.projects VALUES (1)"
    )
    counted(connection)
    here, there = (changes(f"{database}{path}", "projects") for path in ("", "?options=-csearch_path%3Dother"))
    assert here is not None
    assert there is not None
    assert (here["projects"].inserted, there["projects"].inserted) == (0, 1)
