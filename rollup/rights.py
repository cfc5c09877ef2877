"""The check that the role has the rights for a run and sees all rows; the error contains the statements that cure
it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from psycopg import AsyncConnection, errors, sql

from rollup.connection import transaction
from rollup.errors import ROW_SECURITY, Refused, hides_rows
from rollup.store import COLUMNS, TABLE

_JOBS = ("user_id", "status", "created_at", "completed_at")
_ACTIVITY: Mapping[str, tuple[str, ...]] = {
    "sessions": ("user_id", "created_at"),
    "ai_usage_events": _JOBS,
    "preview_jobs": _JOBS,
}


class Right(NamedTuple):
    """The right of `kind` (SELECT, ...) on a column, or on the whole table without one."""

    table: str
    column: str
    kind: str


def _select(tables: Mapping[str, tuple[str, ...]]) -> tuple[Right, ...]:
    return tuple(Right(table, column, "SELECT") for table, columns in tables.items() for column in columns)


TO_READ = _select({**_ACTIVITY, TABLE: ("date", "max_queue_depth")})
# A column named in ON CONFLICT ... SET, such as `excluded.dau`, is read.
TO_WRITE = (
    *_select({**_ACTIVITY, TABLE: tuple(COLUMNS)}),
    *(Right(TABLE, column, "INSERT") for column in COLUMNS),
    Right(TABLE, "", "UPDATE"),  # not by column: of the whole table, for its lock
)
FOR_HISTORY = _select(
    {
        **_ACTIVITY,
        "ai_usage_events": (*_JOBS, "error_kind"),
        "users": ("id",),
        "subscriptions": ("user_id", "plan", "status", "started_at", "trial_ends_at", "ended_at"),
    }
)


def for_history(not_provided: Collection[str]) -> tuple[Right, ...]:
    """Return the rights for the history, without those on columns that are not provided."""
    return tuple(right for right in FOR_HISTORY if f"{right.table}.{right.column}" not in not_provided)


# A schema on the search_path that the role may not use is ignored, so its tables do not exist for the role.
_NOT_FOUND = """
SELECT name, (
  SELECT format('GRANT USAGE ON SCHEMA %%I TO %%I', nspname, current_user)
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
  WHERE relname = name AND NOT has_schema_privilege(pg_namespace.oid, 'USAGE')
    AND nspname = ANY(regexp_split_to_array(
      replace(replace(current_setting('search_path'), '"$user"', current_user), '"', ''), '\\s*,\\s*'))
  LIMIT 1)
FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS needed(name, position)
WHERE to_regclass(quote_ident(name)) IS NULL ORDER BY position
"""

_MISSING = """
SELECT format('GRANT %%s ON %%I TO %%I', string_agg(kind, ', ' ORDER BY position), name, current_user) FROM (
  SELECT name, kind, min(position) AS position
  FROM unnest(%(tables)s::text[], %(columns)s::text[], %(kinds)s::text[]) WITH ORDINALITY
    AS needed(name, attribute, kind, position)
  WHERE NOT CASE attribute WHEN '' THEN has_table_privilege(to_regclass(quote_ident(name)), kind)
    ELSE has_column_privilege(to_regclass(quote_ident(name)), attribute, kind) END
  GROUP BY name, kind
) AS missing GROUP BY name ORDER BY min(position)
"""


async def check(connection: AsyncConnection[Any], needed: Iterable[Right]) -> None:
    """Raise Refused unless all tables exist, and the role has these rights and sees all rows. The error names every
    missing GRANT, or every table of which row level security would hide rows."""
    tables, columns, kinds = (list(column) for column in zip(*needed, strict=True))
    async with transaction(connection):
        cursor = await connection.execute(_NOT_FOUND, {"tables": list(dict.fromkeys(tables))})
        not_found: dict[str, str | None] = dict(await cursor.fetchall())
        absent = [name for name, cure in not_found.items() if cure is None]
        if absent == [TABLE]:
            raise Refused(f"there is no table {TABLE}: make it with python -m rollup --migrate")
        if absent:
            raise Refused(
                f"there is no table (or view) {', '.join(absent)} on the search_path: name the schema of"
                " HiveSync's tables in the URL of the database (?options=-csearch_path%3DSCHEMA), or make views of"
                " these names (docs/adapting.md)"
            )
        missing = list(dict.fromkeys(cure for cure in not_found.values() if cure))
        if not missing:
            cursor = await connection.execute(_MISSING, {"tables": tables, "columns": columns, "kinds": kinds})
            missing = [statement for (statement,) in await cursor.fetchall()]
        hidden = [] if missing else await _hidden(connection, dict.fromkeys(tables))
        cursor = await connection.execute("SELECT quote_ident(current_user)")
        ((role,),) = await cursor.fetchall()
    if missing:
        raise Refused("rights are missing:\n  " + ";\n  ".join(missing))
    if hidden:
        cure = f"ALTER ROLE {role} BYPASSRLS, or {ROW_SECURITY}"
        raise Refused(f"row level security would hide rows from {role} ({'; '.join(hidden)}): {cure}")


async def _hidden(connection: AsyncConnection[Any], tables: Iterable[str]) -> list[str]:
    """Return PostgreSQL's refusals to hide rows of these tables, or of those behind these views; each names its table.

    Tested by a query, as views may have row level security checked for the querying role (`security_invoker`).
    """
    refusals = []
    for table in tables:
        try:
            async with connection.transaction():
                await connection.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(sql.Identifier(table)))
        except errors.InsufficientPrivilege as error:
            if not hides_rows(error):
                raise
            refusals.append(error.diag.message_primary or table)
    return list(dict.fromkeys(refusals))
