"""The creation of the table, and the exact GRANTs for the three roles, printed or run (`python -m rollup --migrate`).

Run by a role that may create tables. The files of `migrations/` are plain SQL, in the order of their numbers; each can
be repeated, so that no version has to be recorded. All of it is one transaction. With an adapter, `installation.py`
does it as a part of its own transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import AsyncConnection, sql

from exporter.inputs import REQUIRED
from rollup import lock, store
from rollup.connection import transaction
from rollup.errors import Refused
from rollup.script import statements_of

MIGRATIONS = Path(__file__).with_name("migrations")


@dataclass(frozen=True, slots=True)
class Needs:
    """The exact rights of a role."""

    read: tuple[str, ...]
    write: tuple[str, ...] = ()


_EVENTS = ("sessions", "ai_usage_events", "preview_jobs")

# Of the exporter's tables, those that PostgreSQL does not have with the present settings are left out.
NEEDS: Mapping[str, Needs] = {
    "exporter": Needs(tuple(REQUIRED)),
    "rollup": Needs((*_EVENTS, store.TABLE), write=(store.TABLE,)),
    "grafana": Needs((store.TABLE,)),
}
WRITES = ("INSERT", "UPDATE")


class Role(NamedTuple):
    """A role of the database and its kind: a key of `NEEDS`."""

    kind: str
    name: str


DEFAULT_ROLES = tuple(Role(kind, f"hivesync_{kind}") for kind in NEEDS)

_UNKNOWN = """
SELECT name, quote_ident(name) FROM unnest(%(names)s::text[]) WITH ORDINALITY AS given(name, position)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) ORDER BY position
"""

# A GRANT by a role that has the right, and may not pass it on, is a warning only.
_STILL_MISSING = """
SELECT kind || ' on ' || name FROM unnest(%(tables)s::text[], %(kinds)s::text[]) AS needed(name, kind)
JOIN pg_class ON pg_class.oid = to_regclass(quote_ident(name))
WHERE NOT (has_table_privilege(%(role)s, pg_class.oid, kind) AND has_schema_privilege(%(role)s, relnamespace, 'USAGE'))
UNION ALL SELECT 'CONNECT' WHERE NOT has_database_privilege(%(role)s, current_database(), 'CONNECT')
"""

_TOO_MUCH = """
SELECT string_agg(DISTINCT kind, ', '), oid::regclass::text FROM pg_class,
  unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) AS kind
WHERE relkind IN ('r', 'v', 'm', 'p', 'f') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
  AND (oid, kind) NOT IN (
    SELECT to_regclass(quote_ident(name)), right_to FROM unnest(%(tables)s::text[], %(kinds)s::text[])
      AS needed(name, right_to) WHERE to_regclass(quote_ident(name)) IS NOT NULL)
  AND has_schema_privilege(%(role)s, relnamespace, 'USAGE')
  AND (has_table_privilege(%(role)s, oid, kind)
       OR kind IN ('SELECT', 'INSERT', 'UPDATE') AND has_any_column_privilege(%(role)s, oid, kind))
GROUP BY oid ORDER BY 2
"""


async def migrate(connection: AsyncConnection[Any], roles: Sequence[Role] = (), lacking: Collection[str] = ()) -> bool:
    """Create the table unless it exists, and grant these roles their rights: all of it or nothing. No role needs a
    right on a table that is `lacking` (`inputs.not_in_postgres`).

    Returns whether the table was created. Raises Refused when it exists in another shape, when a role does not exist,
    or when the rights cannot be granted by this role.
    """
    async with transaction(connection):
        await lock.lock_key(connection, lock.MIGRATION)
        before = await store.read_columns(connection)
        if not before:
            for statement in creation():
                await connection.execute(statement.encode())
        await store.check_shape(connection, await store.read_columns(connection))
        await _grant_all(connection, roles, lacking)
    return not before


def creation() -> list[str]:
    """Return the statements that create the table in the first schema of the search_path, unless it exists."""
    return [statement for file in sorted(MIGRATIONS.glob("*.sql")) for statement in statements_of(file.read_text())]


async def statements(connection: AsyncConnection[Any], roles: Sequence[Role], lacking: Collection[str]) -> list[str]:
    """Return the GRANTs for these roles, one statement each."""
    cursor = await connection.execute("SELECT current_database(), current_schemas(false)")
    database, schemas = await cursor.fetchone() or ("", [])
    return grants(database, schemas, roles, lacking)


def grants(database: str, schemas: Sequence[str], roles: Sequence[Role], lacking: Collection[str]) -> list[str]:
    """Return the GRANTs for these roles, for tables in these schemas, one statement each."""
    found = []
    for kind, role in roles:
        needs = NEEDS[kind]
        found += [
            _grant("CONNECT", "DATABASE", [database], role),
            *(_grant("USAGE", "SCHEMA", [schema], role) for schema in schemas),
            _grant("SELECT", "TABLE", [name for name in needs.read if name not in lacking], role),
        ]
        if needs.write:
            found.append(_grant(", ".join(WRITES), "TABLE", needs.write, role))
    return found


async def too_much(connection: AsyncConnection[Any], role: Role, lacking: Collection[str]) -> list[str]:
    """Return the rights of a role on tables beyond its needs, as sentences."""
    cursor = await connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", (role.name,))
    if (await cursor.fetchone() or (False,))[0]:
        return [f"{role.name} is a superuser: it may do everything"]
    cursor = await connection.execute(_TOO_MUCH, {"role": role.name, **_needed(role, lacking)})
    return [f"{role.name} may also {kinds} {table}, and need not" for kinds, table in await cursor.fetchall()]


async def unknown_roles(connection: AsyncConnection[Any], roles: Sequence[Role]) -> dict[str, str]:
    """Return the roles that do not exist: by name, the name as it is written in SQL."""
    cursor = await connection.execute(_UNKNOWN, {"names": list(dict.fromkeys(role.name for role in roles))})
    return dict(await cursor.fetchall())


async def check_granted(connection: AsyncConnection[Any], roles: Sequence[Role], lacking: Collection[str]) -> None:
    """Raise Refused unless the roles have their rights on the tables of the search_path."""
    for role in roles:
        cursor = await connection.execute(_STILL_MISSING, {"role": role.name, **_needed(role, lacking)})
        missing = [right for (right,) in await cursor.fetchall()]
        if missing:
            raise Refused(
                f"{role.name} cannot be given {', '.join(missing)} by this role; nothing was changed: run"
                " this as the owner of the tables and the database, or as a superuser"
            )


async def _grant_all(connection: AsyncConnection[Any], roles: Sequence[Role], lacking: Collection[str]) -> None:
    unknown = await unknown_roles(connection, roles)
    if unknown:
        make = ";\n  ".join(f"CREATE ROLE {name} LOGIN PASSWORD '…'" for name in unknown.values())
        raise Refused(f"there is no such role, and nothing was changed:\n  {make}")
    for statement in await statements(connection, roles, lacking):
        await connection.execute(statement.encode())
    await check_granted(connection, roles, lacking)


def _needed(role: Role, lacking: Collection[str]) -> dict[str, list[str]]:
    needs = NEEDS[role.kind]
    rights = [(name, "SELECT") for name in needs.read if name not in lacking]
    rights += [(name, kind) for name in needs.write for kind in WRITES]
    return {"tables": [name for name, _ in rights], "kinds": [kind for _, kind in rights]}


def _grant(rights: str, what: str, names: Sequence[str], role: str) -> str:
    listed = ", ".join(sql.Identifier(name).as_string(None) for name in names)
    return f"GRANT {rights} ON {what} {listed} TO {sql.Identifier(role).as_string(None)}"
