"""The installation of an adapter, printed or run (`python -m rollup --migrate --adapter hivesync`).

Roles, schema, views, `usage_analytics_daily` and rights are one transaction: all of it or nothing. Indexes follow, each
by itself, since CREATE INDEX CONCURRENTLY, during which the backend can write, cannot be in a transaction. An
interrupted run leaves an invalid index, which the next run replaces: every run continues where the last one ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import AsyncConnection, DataError, NotSupportedError, ProgrammingError, errors, sql

import grafana
from rollup import lock, migrate, store
from rollup.adapter import Adapter, check_backend, check_views
from rollup.connection import connected, transaction
from rollup.errors import Refused
from rollup.migrate import Role
from rollup.script import statements_of

READER = Path(grafana.__file__).with_name("reader.sql")
"""The limits of Grafana's role, written for a role of this name:"""
READER_NAME = "hivesync_grafana"

_NOT_OWNED = """
SELECT relname, quote_ident(relowner::regrole::text) FROM pg_class
WHERE oid = ANY(SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS name)
  AND NOT pg_has_role(relowner, 'USAGE') ORDER BY relname
"""

_INDEX_IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%(index)s)"


async def install(
    url: str, adapter: Adapter, roles: Sequence[Role], say: Callable[[str], None], lacking: Collection[str]
) -> None:
    """Create all of the adapter, and report each step. Views that are `lacking` (`inputs.not_in_postgres`) are not
    needed, and no role gets a right on them.

    Raises Refused for another backend, for views other than documented, and without the rights: nothing was changed.
    """
    async with connected(url) as connection, lock.key_locked(url, lock.INSTALLATION, connection):
        async with transaction(connection):
            await lock.lock_key(connection, lock.MIGRATION)
            new = await migrate.unknown_roles(connection, roles)
            planned = await plan(connection, adapter, roles, lacking)
            await _check_owner(connection, adapter)
            for statement in planned.creation:
                await _execute(connection, adapter, statement)
            await check_views(connection, adapter, lacking)
            await store.check_shape(connection, await store.read_columns(connection))
            for statement in planned.rights:
                await connection.execute(statement.encode())
            await migrate.check_granted(connection, roles, lacking)
            too_much = {role: await migrate.too_much(connection, role, lacking) for role in roles}
        say(f"{adapter.schema}: {len(adapter.views)} views and {store.TABLE} are there")
        for role in roles:
            say(f"{role.kind}: rights granted to {role.name}")
            if role.name in new:
                say(f"  it was created without a password; set one, in psql: \\password {new[role.name]}")
            for sentence in too_much[role]:
                say(f"  {sentence}")
        async with _without_limits(connection):
            for statement in await index_statements(connection, adapter):
                await connection.execute(statement.encode())
                say(f"done: {' '.join(statement.split())}")
        say(f"{len(adapter.indexes)} indexes are there")


class Plan(NamedTuple):
    """The statements of the transaction."""

    creation: list[str]
    rights: list[str]


async def plan(
    connection: AsyncConnection[Any], adapter: Adapter, roles: Sequence[Role], lacking: Collection[str]
) -> Plan:
    """Return the statements of the transaction, for the roles and the schema that are missing now. Raises Refused for
    another backend. To be called in a transaction."""
    await check_backend(connection, adapter)
    cursor = await connection.execute("SELECT current_database(), to_regnamespace(%s) IS NULL", (adapter.schema,))
    database, schema_is_new = await cursor.fetchone() or ("", True)
    names = list(dict.fromkeys(_quoted(role.name) for role in roles))
    place = f"IN DATABASE {_quoted(database)} SET search_path = {adapter.schema}"
    creation = [
        *(f"CREATE ROLE {name} LOGIN" for name in (await migrate.unknown_roles(connection, roles)).values()),
        *([f"CREATE SCHEMA {adapter.schema}"] if schema_is_new else []),
        f"SET LOCAL search_path = {adapter.schema}",
        *adapter.views,
        *migrate.creation(),
    ]
    rights = [
        *migrate.grants(database, [adapter.schema], roles, lacking),
        *(f"ALTER ROLE {name} {place}" for name in names),
        *(limit for role in roles if role.kind == "grafana" for limit in _reader_limits(role)),
    ]
    return Plan(creation, rights)


async def index_statements(connection: AsyncConnection[Any], adapter: Adapter) -> list[str]:
    """Return the statements for the indexes that are missing or invalid now, none of which can be in a transaction;
    and for the statistics of their expressions, which PostgreSQL collects in ANALYZE alone."""
    found: list[str] = []
    tables: list[str] = []
    for index in adapter.indexes:
        cursor = await connection.execute(_INDEX_IS_VALID, {"index": index.name})
        (is_valid,) = await cursor.fetchone() or (None,)
        if is_valid is False:
            found.append(f"DROP INDEX CONCURRENTLY {index.name}")
        if not is_valid:
            found.append(index.statement)
            tables.append(index.table)
    return [*found, *(f"ANALYZE {table}" for table in dict.fromkeys(tables))]


async def _check_owner(connection: AsyncConnection[Any], adapter: Adapter) -> None:
    """Raise Refused unless this role has the rights of the tables' owner: an index needs them, and views read with the
    rights of their owner."""
    cursor = await connection.execute(_NOT_OWNED, {"tables": list(adapter.tables)})
    not_owned = await cursor.fetchall()
    if not_owned:
        tables, owners = (", ".join(dict.fromkeys(each)) for each in zip(*not_owned, strict=True))
        raise Refused(f"{tables}: run this as their owner ({owners}) or as a superuser; nothing was changed")


async def _execute(connection: AsyncConnection[Any], adapter: Adapter, statement: str) -> None:
    try:
        await connection.execute(statement.encode())
    except (ProgrammingError, DataError, NotSupportedError) as error:
        if statement not in adapter.views:
            raise
        view = statement.partition(" AS")[0]
        remedy = "; correct it in the adapter's folder (docs/adapting.md)"
        if isinstance(error, errors.InvalidTableDefinition):
            name = view.rpartition(" ")[2]
            remedy = f": it exists with other columns; DROP VIEW {adapter.schema}.{name}, and repeat the command"
        message = error.diag.message_primary
        raise Refused(f"views.sql of {adapter.name}: {view}: {message}{remedy}; nothing was changed") from error


@asynccontextmanager
async def _without_limits(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Run the body without the role's time limits, which would end the creation of a large index."""
    names = ("statement_timeout", "lock_timeout")
    for name in names:
        await connection.execute(f"SET {name} = 0".encode())
    yield
    for name in names:
        await connection.execute(f"RESET {name}".encode())


def _reader_limits(role: Role) -> list[str]:
    return [limit.replace(READER_NAME, _quoted(role.name)) for limit in statements_of(READER.read_text())]


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)
