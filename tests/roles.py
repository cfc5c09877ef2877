"""Roles of a test's own with SELECT on every table, and no other right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from psycopg import sql

from demo.database import create_role

GRANT_READING = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
GRANT_WRITING_DAYS = "GRANT SELECT, INSERT, UPDATE ON usage_analytics_daily TO {role}"


@contextmanager
def reading_role(connection: psycopg.Connection) -> Iterator[str]:
    """The name of a new role that may log in and read; removed afterwards with all that it owns."""
    name = f"reader_{uuid4().hex}"
    role = sql.Identifier(name)
    create_role(connection, name)
    try:
        connection.execute(sql.SQL(GRANT_READING).format(role=role))
        yield name
    finally:
        connection.execute(sql.SQL("DROP OWNED BY {role}; DROP ROLE {role}").format(role=role))


def run(connection: psycopg.Connection, statements: str, **names: str) -> None:
    """Run statements with `{name}` for identifiers."""
    identifiers = {name: sql.Identifier(value) for name, value in names.items()}
    connection.execute(sql.SQL(statements).format(**identifiers))
