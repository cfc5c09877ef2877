"""HiveSync's tables as the collectors need them: each column with its kind, and the facts that PostgreSQL has of them.

    NEEDED (this) -> rights.py, columns.py, words.py

A test grants a role exactly these columns and runs every collector with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from exporter.doctor.installation import Installation
from exporter.inputs import BY_NAME
from exporter.sources.postgres import Transaction


class Kind(Enum):
    """The content of a column (docs/definitions.md#types-and-words)."""

    ID = "id"
    TIME = "time"
    WORD = "word"
    TEXT = "text"
    TOKENS = "tokens"
    COUNT = "count"
    DAY = "day"


ROLLUP = "usage_analytics_daily"

_JOBS = {
    "id": Kind.ID,
    "user_id": Kind.ID,
    "status": Kind.WORD,
    "error_kind": Kind.WORD,
    "created_at": Kind.TIME,
    "completed_at": Kind.TIME,
}
NEEDED: Mapping[str, Mapping[str, Kind]] = {
    "users": {"id": Kind.ID, "username": Kind.TEXT, "email": Kind.TEXT},
    "subscriptions": {
        "user_id": Kind.ID,
        "plan": Kind.WORD,
        "status": Kind.WORD,
        "trial_ends_at": Kind.TIME,
        "ended_at": Kind.TIME,
    },
    "projects": {},
    "sessions": {
        "id": Kind.ID,
        "user_id": Kind.ID,
        "kind": Kind.WORD,
        "device_type": Kind.WORD,
        "created_at": Kind.TIME,
        "last_heartbeat_at": Kind.TIME,
        "ended_at": Kind.TIME,
    },
    "ai_usage_events": {
        **_JOBS,
        "provider": Kind.TEXT,
        "model": Kind.TEXT,
        "prompt_tokens": Kind.TOKENS,
        "completion_tokens": Kind.TOKENS,
    },
    "preview_jobs": _JOBS,
    ROLLUP: {"date": Kind.DAY, "dau": Kind.COUNT},
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as PostgreSQL has it: its type without domains, the type's category, and whether the role may read
    it."""

    type: str
    category: str
    readable: bool


@dataclass(frozen=True, slots=True)
class KnownTable:
    """A table or view on the search_path, with those of its columns that are needed."""

    name: str
    schema: str
    readable: bool
    """Whether the role may read some column of it."""
    columns: Mapping[str, Column]
    rows: float
    """The planner's estimate of its rows; negative where there is none, as for views."""


_TABLES = """
SELECT names.name, nspname::text, has_any_column_privilege(pg_class.oid, 'SELECT'), reltuples::float8
FROM unnest(%(names)s::text[]) AS names(name)
JOIN pg_class ON pg_class.oid = to_regclass(quote_ident(names.name))
JOIN pg_namespace ON pg_namespace.oid = relnamespace
"""

# A domain may be of another domain: the base type is found step by step.
_COLUMNS = """
WITH RECURSIVE base AS (
  SELECT names.name, attname::text AS attribute, atttypid AS type, attnum, attrelid
  FROM unnest(%(names)s::text[]) AS names(name)
  JOIN pg_attribute ON attrelid = to_regclass(quote_ident(names.name)) AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT base.name, attribute, typbasetype, attnum, attrelid FROM base JOIN pg_type ON pg_type.oid = base.type
  WHERE typtype = 'd'
)
SELECT name, attribute, format_type(pg_type.oid, NULL), typcategory::text,
       has_column_privilege(attrelid, attnum, 'SELECT')
FROM base JOIN pg_type ON pg_type.oid = base.type WHERE typtype <> 'd'
"""


def not_provided(installation: Installation) -> frozenset[str]:
    """Return the inputs that the settings declare as missing."""
    return frozenset(installation.settings.not_provided)


def needed(installation: Installation) -> dict[str, dict[str, Kind]]:
    """Return the needed tables and columns, without those declared as not provided."""
    missing = not_provided(installation)
    return {
        table: {name: kind for name, kind in columns.items() if f"{table}.{name}" not in missing}
        for table, columns in NEEDED.items()
        if table not in missing
    }


def may_be_declared(table: str, column: str) -> bool:
    """Return whether NOT_PROVIDED may name this column."""
    return f"{table}.{column}" in BY_NAME


async def read_tables(transaction: Transaction, names: Iterable[str]) -> dict[str, KnownTable]:
    """Return the tables that the role finds under these names."""
    parameters = {"names": list(names)}
    columns: dict[str, dict[str, Column]] = {}
    for table, attribute, *facts in await transaction.rows(_COLUMNS, parameters):
        columns.setdefault(table, {})[attribute] = Column(*facts)
    return {
        name: KnownTable(name, schema, readable, columns.get(name, {}), rows)
        for name, schema, readable, rows in await transaction.rows(_TABLES, parameters)
    }


async def read_needed(installation: Installation, transaction: Transaction) -> dict[str, KnownTable]:
    """Return the needed tables that the role finds, with the needed columns that it may read."""
    wanted = needed(installation)
    tables = await read_tables(transaction, wanted)
    return {
        name: KnownTable(
            name,
            table.schema,
            table.readable,
            {column: facts for column, facts in table.columns.items() if column in wanted[name] and facts.readable},
            table.rows,
        )
        for name, table in tables.items()
        if table.readable
    }


def quoted(name: str) -> str:
    """Return an identifier in SQL."""
    return name if name.isidentifier() and name == name.lower() else '"' + name.replace('"', '""') + '"'
