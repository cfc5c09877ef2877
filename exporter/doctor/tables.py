"""HiveSync's tables as the collectors need them: each column with its kind, and the facts that PostgreSQL has of them.

    inputs.REQUIRED -> needed (this) -> rights.py, columns.py, words.py

A test grants a role exactly these columns and runs every collector with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from exporter.doctor.installation import Installation
from exporter.inputs import BY_NAME, OF_GPU_WORKERS, WORKERS, not_in_postgres, tables
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


_KINDS = {
    **dict.fromkeys(("id", "user_id", "worker_id"), Kind.ID),
    **dict.fromkeys(("plan", "status", "kind", "device_type", "error_kind", "state", "lifecycle"), Kind.WORD),
    **dict.fromkeys(("username", "email", "provider", "model", "instance_type"), Kind.TEXT),
    "date": Kind.DAY,
    "dau": Kind.COUNT,
}
"""The content of a column by its name, where the end of the name does not tell it."""


def kind_of(column: str) -> Kind:
    """Return the content of a column. Raises KeyError for a column that is not documented."""
    return Kind.TIME if column.endswith("_at") else Kind.TOKENS if column.endswith("_tokens") else _KINDS[column]


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
    """Return the needed tables and columns: those of the collectors' inputs, without those that are not provided."""
    settings = installation.settings
    wanted = tables(not_in_postgres(settings.not_provided, settings.workers_from))
    return {table: {column: kind_of(column) for column in columns} for table, columns in wanted.items()}


def may_be_declared(table: str, column: str) -> bool:
    """Return whether NOT_PROVIDED may name this column."""
    return f"{table}.{column}" in BY_NAME


def may_lack(table: str, column: str) -> bool:
    """Return whether the column may be missing without a declaration."""
    return table == WORKERS and column in OF_GPU_WORKERS


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
    found = await read_tables(transaction, wanted)
    return {
        name: KnownTable(
            name,
            table.schema,
            table.readable,
            {column: facts for column, facts in table.columns.items() if column in wanted[name] and facts.readable},
            table.rows,
        )
        for name, table in found.items()
        if table.readable
    }


def quoted(name: str) -> str:
    """Return an identifier in SQL."""
    return name if name.isidentifier() and name == name.lower() else '"' + name.replace('"', '""') + '"'
