"""HiveSync's database on the embedded PostgreSQL: its tables, its made-up past, and the exporter's role."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import psycopg

from demo.daily import fill_past_days
from demo.history import make_history
from demo.servers import PostgresServer
from demo.tables import insert

DATABASE = "hivesync"
EXPORTER_ROLE = "hivesync_exporter"
SCHEMA = Path(__file__).with_name("schema.sql")

ROLE = f"""
    CREATE ROLE {EXPORTER_ROLE} LOGIN;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO {EXPORTER_ROLE}
"""


def create_database(server: PostgresServer) -> str:
    """The empty database and the exporter's role; returns the owner's connection URL."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    url = server.url_of(DATABASE)
    with psycopg.connect(url) as connection:
        connection.execute(SCHEMA.read_text())
        connection.execute(ROLE)
    return url


def fill_database(url: str, *, users: int, days: int, seed: int) -> int:
    """The made-up past up to now, the database's now; returns the number of rows."""
    with psycopg.connect(url) as connection:
        (now,) = connection.execute("SELECT now()").fetchone() or ()
        assert isinstance(now, datetime)  # noqa: S101  # for mypy: rows have no types
        count = insert(connection, make_history(users, days, seed, now))
        fill_past_days(connection)
    return count
