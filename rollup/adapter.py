"""An adapter, as its folder describes it, and the check of the backend that it is for (docs/adapting.md).

    adapter.toml   the schema of the views; the backend's tables and columns that they use, with their types
    views.sql      the views, one statement each
    indexes.sql    CREATE INDEX CONCURRENTLY IF NOT EXISTS ... ON schema.table, one statement each

`installation.py` creates all of it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import adapters
from exporter.inputs import REQUIRED
from rollup import store
from rollup.errors import Refused
from rollup.script import statements_of

FOLDER = Path(adapters.__file__).parent
"""The folder of the adapters that come with this project."""

_NAME = r"[a-z_][a-z0-9_]*"

_INDEX = re.compile(
    rf"CREATE INDEX CONCURRENTLY IF NOT EXISTS (?P<name>{_NAME})\s+ON\s+(?P<table>(?P<schema>{_NAME})\.{_NAME})\s"
)

TIME = "timestamp with time zone"
NUMBERS = ("smallint", "integer", "bigint", "numeric", "double precision", "real")


_REMEDY_OF_BACKEND = (
    "Name the database of that backend in HIVESYNC_ROLLUP_DATABASE_URL; or, where the backend has changed, copy the"
    " adapter's folder, change adapter.toml and views.sql, and name the folder with --adapter (docs/adapting.md)"
)
_REMEDY_OF_VIEWS = (
    "Complete views.sql (docs/adapting.md); a table that this HiveSync does not have is named in HIVESYNC_NOT_PROVIDED"
)


class Description(BaseModel):
    """The content of adapter.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: str = Field("analytics", alias="schema", pattern=rf"^{_NAME}$")
    tables: dict[str, dict[str, str]] = Field(min_length=1)
    """Columns and their types, by `schema.table`."""

    enums: dict[str, list[str]] = Field(default_factory=dict)
    """Labels, in any order, by `schema.type`."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index on a table of the backend's; `name` with its schema."""

    name: str
    table: str
    statement: str


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter; statements without their semicolons."""

    name: str
    schema: str
    tables: Mapping[str, Mapping[str, str]]
    enums: Mapping[str, frozenset[str]]
    views: tuple[str, ...]
    indexes: tuple[Index, ...]


def shipped() -> list[str]:
    """Return the names of the adapters that come with this project."""
    return sorted(path.parent.name for path in FOLDER.glob("*/adapter.toml"))


def read_adapter(given: str) -> Adapter:
    """Read a shipped adapter by its name, or an adapter's folder by a path with a slash. Raises Refused."""
    folder = Path(given) if "/" in given else FOLDER / given
    if "/" not in given and given not in shipped():
        known = ", ".join(shipped())
        raise Refused(f"--adapter: there is no adapter {given!r}: {known}, or the path of a folder (./{given})")
    described = _describe(folder / "adapter.toml")
    return Adapter(
        name=folder.name,
        schema=described.schema_,
        tables=described.tables,
        enums={name: frozenset(labels) for name, labels in described.enums.items()},
        views=tuple(statements_of(_read(folder / "views.sql"))),
        indexes=tuple(_indexes(folder / "indexes.sql")),
    )


async def check_backend(connection: AsyncConnection[Any], adapter: Adapter) -> None:
    """Raise Refused unless the tables, columns, types and labels are those of the adapter; the error names each
    difference. To be called in a transaction."""
    await connection.execute("SET LOCAL search_path = ''")  # so that PostgreSQL shows the schema of each type
    wrong: list[str] = []
    for table, columns in adapter.tables.items():
        kind, found = await _columns(connection, table)
        if kind != "table":
            wrong.append(f"{table} should be a table, and is {kind or 'not there'}")
            continue
        wrong += [
            f"{table}.{name} should be {type_}, and is {found.get(name, 'not there')}"
            for name, type_ in columns.items()
            if found.get(name) != type_
        ]
    for enum, labels in adapter.enums.items():
        cursor = await connection.execute(
            "SELECT enumlabel FROM pg_enum WHERE enumtypid = to_regtype(%s) ORDER BY enumsortorder", (enum,)
        )
        if (has := [label for (label,) in await cursor.fetchall()]) and set(has) != labels:
            wrong.append(f"{enum} should have the labels {', '.join(sorted(labels))}, and has {', '.join(sorted(has))}")
        elif not has:
            wrong.append(f"{enum} should be an enum, and is not there")
    if wrong:
        raise Refused(
            f"this is not the backend of the adapter {adapter.name}; nothing was changed:\n  "
            + "\n  ".join(wrong)
            + f"\n{_REMEDY_OF_BACKEND}"
        )


async def check_views(connection: AsyncConnection[Any], adapter: Adapter, lacking: Collection[str]) -> None:
    """Raise Refused unless all documented views exist with the columns that none may lack, of a right type: all but
    those that are `lacking` (`inputs.not_in_postgres`). To be called in the transaction that created them."""
    wrong: list[str] = []
    views = {name: columns for name, columns in REQUIRED.items() if name not in (store.TABLE, *lacking)}
    for view, needed in views.items():
        kind, columns = await _columns(connection, f"{adapter.schema}.{view}")
        if not kind:
            wrong.append(f"{view} is not there")
            continue
        wrong += [f"{view}.{name} is not there" for name in needed if name not in columns]
        wrong += [
            f"{view}.{name} should be {' or '.join(allowed)}, and is {found}"
            for name, found in columns.items()
            if (allowed := _allowed(name)) and found not in allowed
        ]
    if wrong:
        raise Refused(
            f"the views of the adapter {adapter.name} are not as documented; nothing was changed:\n  "
            + "\n  ".join(wrong)
            + f"\n{_REMEDY_OF_VIEWS}"
        )


def _allowed(column: str) -> tuple[str, ...]:
    """Return the types of a column by its name; none where any type is right."""
    if column.endswith("_tokens"):
        return NUMBERS
    return (TIME,) if column.endswith("_at") else ()


async def _columns(connection: AsyncConnection[Any], table: str) -> tuple[str, Mapping[str, str]]:
    """Return the kind of a relation, empty where there is none, and its columns with their types."""
    cursor = await connection.execute(
        "SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'a view' WHEN 'p' THEN 'a partitioned table'"
        " ELSE 'of another kind' END FROM pg_class WHERE oid = to_regclass(%s)",
        (table,),
    )
    ((kind,),) = await cursor.fetchall() or (("",),)
    return kind, await store.read_columns(connection, table)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(f"--adapter: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"--adapter: {path} is not UTF-8") from None


def _describe(path: Path) -> Description:
    try:
        return Description.model_validate(tomllib.loads(_read(path)))
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors())
        raise Refused(f"--adapter: {path}: {'; '.join(problems)}") from None
    except RecursionError:
        raise Refused(f"--adapter: {path} is not valid TOML: values are nested too deeply") from None
    except ValueError as error:  # also of a number with thousands of digits
        raise Refused(f"--adapter: {path} is not valid TOML: {error}") from None


def _indexes(path: Path) -> Iterator[Index]:
    for statement in statements_of(_read(path)):
        found = _INDEX.match(statement)
        if found is None:
            first = statement.partition("\n")[0]
            form = "CREATE INDEX CONCURRENTLY IF NOT EXISTS name ON schema.table (...)"
            raise Refused(f"--adapter: {path}: should be {form}, not: {first}")
        yield Index(f"{found['schema']}.{found['name']}", found["table"], statement)
