"""Makes the table, and says or runs the exact GRANTs for the three roles (`python -m rollup --migrate`).

Run by whoever may create tables. The files of `migrations/` are plain SQL, in the order of their numbers; each can be
run again and again, so that there is nothing to keep account of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection, sql

from rollup import store
from rollup.errors import Refused

MIGRATIONS = Path(__file__).with_name("migrations")

LOCK = store.LOCK + 1
"""The key of the advisory lock under which the table is made: two migrations at once wait for each other."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a role may do, and nothing else."""

    read: tuple[str, ...]
    write: tuple[str, ...] = ()


NEEDS: Mapping[str, Needs] = {
    "exporter": Needs(
        ("users", "subscriptions", "projects", "sessions", "ai_usage_events", "preview_jobs", store.TABLE)
    ),
    "rollup": Needs((*store.READ_TABLES, store.TABLE), write=(store.TABLE,)),
    "grafana": Needs((store.TABLE,)),
}
DEFAULT_ROLES = {kind: f"hivesync_{kind}" for kind in NEEDS}

_FOREIGN = """
SELECT name FROM unnest(%(names)s::text[]) AS name
WHERE to_regclass(name) IS NOT NULL AND has_any_column_privilege(%(role)s, to_regclass(name), 'SELECT') ORDER BY name
"""


async def migrate(connection: AsyncConnection[Any]) -> bool:
    """Makes the table unless it is there; whether it was made. Raises Refused when it is there and of another shape."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        before = await store.read_columns(connection)
        if before:
            await store.check_shape(connection, before)
            return False
        for file in sorted(MIGRATIONS.glob("*.sql")):
            await connection.execute(file.read_bytes())
        await store.check_shape(connection, await store.read_columns(connection))
    return True


async def statements(connection: AsyncConnection[Any], roles: Mapping[str, str]) -> list[str]:
    """The GRANTs for these roles (kind: name), one statement each."""
    cursor = await connection.execute("SELECT current_database(), current_schemas(false)")
    database, schemas = await cursor.fetchone() or ("", [])
    found = []
    for kind, role in roles.items():
        needs = NEEDS[kind]
        found += [
            _grant("CONNECT", "DATABASE", [database], role),
            *(_grant("USAGE", "SCHEMA", [schema], role) for schema in schemas),
            _grant("SELECT", "TABLE", needs.read, role),
        ]
        if needs.write:
            found.append(_grant("INSERT, UPDATE", "TABLE", needs.write, role))
    return found


async def grant(connection: AsyncConnection[Any], roles: Mapping[str, str]) -> list[str]:
    """Runs the GRANTs, all or none; what else a role can read that it need not, as sentences.

    Raises Refused when there is no such role.
    """
    cursor = await connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)",
        (list(roles.values()),),
    )
    unknown = [name for (name,) in await cursor.fetchall()]
    if unknown:
        raise Refused(f"there is no role {', '.join(unknown)}: CREATE ROLE {unknown[0]} LOGIN PASSWORD '…'")
    async with connection.transaction():
        for statement in await statements(connection, roles):
            await connection.execute(statement.encode())
    return [sentence for kind, role in roles.items() for sentence in await _too_much(connection, kind, role)]


async def _too_much(connection: AsyncConnection[Any], kind: str, role: str) -> list[str]:
    every = {name for needs in NEEDS.values() for name in needs.read}
    others = sorted(every.difference(NEEDS[kind].read))
    cursor = await connection.execute(_FOREIGN, {"names": others, "role": role})
    readable = [name for (name,) in await cursor.fetchall()]
    return [f"{role} can also read {', '.join(readable)}, and need not"] if readable else []


def _grant(rights: str, what: str, names: Sequence[str], role: str) -> str:
    listed = ", ".join(sql.Identifier(name).as_string(None) for name in names)
    return f"GRANT {rights} ON {what} {listed} TO {sql.Identifier(role).as_string(None)}"
