"""A table that is rewritten in the moment before it is read looks empty: the run fails, and writes nothing of it."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from rollup.connection import connected, transaction
from rollup.errors import RunFailed
from tests.rows import user


async def read(database: str, connection: psycopg.Connection, change: str) -> Any:
    async with connected(database) as opened, transaction(opened, read_only=True):
        connection.execute(change.encode())
        cursor = await opened.execute("SELECT count(*) FROM users")
        return await cursor.fetchall()


def test_a_rewritten_table_fails_the_run(database: str, connection: psycopg.Connection) -> None:
    user(connection, "ada")
    with pytest.raises(RunFailed, match="users was rewritten while it was read"):
        asyncio.run(read(database, connection, "ALTER TABLE users ALTER username TYPE varchar(40)"))


def test_a_change_without_a_rewrite_fails_nothing(database: str, connection: psycopg.Connection) -> None:
    user(connection, "ada")
    assert asyncio.run(read(database, connection, "ALTER TABLE users ADD COLUMN more text")) == [(1,)]
