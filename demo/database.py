"""HiveSync's database on the embedded PostgreSQL: its tables, its made-up past, and the roles of its readers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from demo.history import make_history
from demo.tables import insert
from rollup.migrate import MIGRATIONS

if TYPE_CHECKING:  # the image has no embedded servers, and feed.py needs none
    from servers.postgres import PostgresServer

DATABASE = "hivesync"
EXPORTER_ROLE = "hivesync_exporter"
ROLLUP_ROLE = "hivesync_rollup"
GRAFANA_ROLE = "hivesync_grafana"
SCHEMA = Path(__file__).with_name("schema.sql")

READING = f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {EXPORTER_ROLE}"
"""The exporter's rights; the roll-up's own `--migrate --grant` gives those of all roles, as in an installation."""


def create_database(server: PostgresServer) -> str:
    """Create the empty database and the roles; return the owner's connection URL."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    url = server.url_of(DATABASE)
    with psycopg.connect(url) as connection:
        connection.execute(tables().encode())
        for role in (EXPORTER_ROLE, ROLLUP_ROLE, GRAFANA_ROLE):
            create_role(connection, role)
        connection.execute(READING)
    return url


def create_role(connection: psycopg.Connection, name: str, options: str = "LOGIN") -> None:
    """Create a role without rights, with the password of this connection: that of its server (`url_of`)."""
    connection.execute(
        sql.SQL("CREATE ROLE {} PASSWORD {} {}").format(
            sql.Identifier(name), sql.Literal(connection.info.password), sql.SQL(options)
        )
    )


def tables() -> str:
    """Return the SQL for HiveSync's tables and the roll-up's."""
    return "\n".join(file.read_text() for file in (SCHEMA, *sorted(MIGRATIONS.glob("*.sql"))))


def fill_database(url: str, *, users: int, days: int, seed: int) -> int:
    """Insert the made-up past up to the database's now; return the number of rows."""
    with psycopg.connect(url) as connection:
        (now,) = connection.execute("SELECT now()").fetchone() or ()
        assert isinstance(now, datetime)  # noqa: S101  # for mypy: rows have no types
        return insert(connection, make_history(users, days, seed, now))
