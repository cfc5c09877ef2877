"""The columns that the collectors read: there, of a usable type, filled, and with times that can be true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, wrong
from exporter.doctor.installation import Installation, added
from exporter.doctor.postgres import brief
from exporter.doctor.tables import (
    Column,
    Kind,
    KnownTable,
    may_be_declared,
    may_lack,
    needed,
    not_provided,
    quoted,
    read_needed,
    read_tables,
)
from exporter.errors import CollectionFailed
from exporter.identities import IdType
from exporter.inputs import DAILY, OF_GPU_WORKERS, WORKERS
from exporter.sources.postgres import Transaction

TIMESTAMPTZ, TIMESTAMP = "timestamp with time zone", "timestamp without time zone"
NUMBERS, TEXTS, ENUMS = "N", "S", "E"
"""Categories of types in pg_type.typcategory."""

SAMPLE = 50_000
"""Rows in which a column is looked at first."""

FEWEST_ROWS = 20
"""Rows from which a column that is always NULL is no accident."""

ONLY_FOR = {
    "subscriptions.trial_ends_at": "lower(plan::text) = 'trial'",
    "subscriptions.ended_at": "false",
    "sessions.ended_at": "false",
    "sessions.user_id": "false",
    "users.username": "false",
    "ai_usage_events.error_kind": "lower(status::text) = 'failed'",
    "preview_jobs.error_kind": "lower(status::text) = 'failed'",
    "ai_usage_events.completed_at": "lower(status::text) IN ('succeeded', 'failed')",
    "preview_jobs.completed_at": "lower(status::text) IN ('succeeded', 'failed')",
    "ai_usage_events.prompt_tokens": "lower(status::text) = 'succeeded'",
    "ai_usage_events.completion_tokens": "lower(status::text) = 'succeeded'",
    **{f"{WORKERS}.{column}": "false" for column in OF_GPU_WORKERS},
}
"""The rows that should have a value, for columns of which the others need none."""

AHEAD = timedelta(minutes=5)
EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)
"""Older than any HiveSync: 1970 is the sign of seconds taken for milliseconds."""


@check("columns.there", cheap=True)
async def there(installation: Installation) -> Findings:
    """Every column that the collectors read exists."""
    findings: list[Finding] = []
    async with brief(installation) as transaction:
        found = await read_tables(transaction, needed(installation))
    for name, columns in needed(installation).items():
        if name not in found:
            continue  # rights.tables names it
        table = found[name]
        findings += [
            _missing(installation, table, column, kind)
            for column, kind in columns.items()
            if column not in table.columns and not may_lack(name, column)
        ]
    return findings or [ok(f"{sum(map(len, needed(installation).values()))} columns")]


_SQL_TYPES = {
    Kind.ID: "uuid",
    Kind.TIME: "timestamptz",
    Kind.WORD: "text",
    Kind.TEXT: "text",
    Kind.TOKENS: "bigint",
    Kind.COUNT: "integer",
    Kind.DAY: "date",
}


def _missing(installation: Installation, table: KnownTable, column: str, kind: Kind) -> Finding:
    name = f"{table.name}.{column}"
    if may_be_declared(table.name, column):
        present = tuple(not_provided(installation))
        return wrong(f"there is no column {name}", added("not_provided", sorted(present), name))
    add = f"ALTER TABLE {quoted(table.schema)}.{quoted(table.name)} ADD COLUMN {quoted(column)} {_SQL_TYPES[kind]};"
    return wrong(f"there is no column {name}", f"{add}  -- or add it to the view")


@check("columns.types", cheap=True)
async def types(installation: Installation) -> Findings:
    """Every column has a type that the collectors can read."""
    findings: list[Finding] = []
    async with brief(installation) as transaction:
        tables = await read_needed(installation, transaction)
    wanted = needed(installation)
    for name, table in tables.items():
        for column, facts in table.columns.items():
            finding = _of_type(table, column, wanted[name][column], facts)
            findings += [finding] if finding else []
    findings += _of_ids(tables)
    return findings or [ok("; ".join(_described(tables)))]


def _described(tables: Mapping[str, KnownTable]) -> Sequence[str]:
    return [
        f"{name}: " + ", ".join(f"{column} {facts.type}" for column, facts in table.columns.items())
        for name, table in tables.items()
        if table.columns
    ]


def _of_type(table: KnownTable, column: str, kind: Kind, facts: Column) -> Finding | None:
    name, alter = f"{table.name}.{column}", f"ALTER TABLE {quoted(table.schema)}.{quoted(table.name)}"
    if kind is Kind.TIME and facts.type not in (TIMESTAMPTZ, TIMESTAMP):
        if facts.category == NUMBERS:
            using = f"to_timestamp({quoted(column)} / 1000.0)"
            return wrong(
                f"{name} is a {facts.type}, not a time: a unit of time is not known",
                f"{alter} ALTER COLUMN {quoted(column)} DROP DEFAULT,"
                f" ALTER COLUMN {quoted(column)} TYPE timestamptz USING {using};"
                "  -- milliseconds; without / 1000.0 for seconds; or the same in a view",
            )
        return wrong(
            f"{name} is of type {facts.type}, not a time",
            f"{alter} ALTER COLUMN {quoted(column)} DROP DEFAULT,"
            f" ALTER COLUMN {quoted(column)} TYPE timestamptz USING {quoted(column)}::timestamptz;",
        )
    if kind in (Kind.TOKENS, Kind.COUNT) and facts.category != NUMBERS:
        return wrong(
            f"{name} is of type {facts.type}, not a number",
            f"{alter} ALTER COLUMN {quoted(column)} TYPE bigint USING {quoted(column)}::bigint;",
        )
    if kind is Kind.WORD and facts.category not in (TEXTS, ENUMS):
        return wrong(
            f"{name} is of type {facts.type}, not a word",
            f"replace {table.name} by a view with: CASE {quoted(column)} WHEN ... THEN '...' END AS {quoted(column)}",
        )
    if kind is Kind.ID and not IdType(facts.type).known:
        return look(
            f"{name} is of type {facts.type}: ids are compared as text, and its index is not used",
            f"{alter} ALTER COLUMN {quoted(column)} TYPE text USING {quoted(column)}::text;",
        )
    return None


def _family(facts: Column) -> str:
    return "text" if facts.category == TEXTS else "number" if facts.category == NUMBERS else facts.type


def _of_ids(tables: Mapping[str, KnownTable]) -> list[Finding]:
    """Return the columns whose ids cannot be compared with `users.id`."""
    users = tables["users"].columns.get("id") if "users" in tables else None
    if users is None:
        return []
    return [
        wrong(
            f"{name}.user_id is of type {facts.type}, users.id of type {users.type}: they cannot be compared",
            f"ALTER TABLE {quoted(table.schema)}.{quoted(name)}"
            f" ALTER COLUMN user_id TYPE {users.type} USING user_id::{users.type};",
        )
        for name, table in tables.items()
        if (facts := table.columns.get("user_id")) and _family(facts) != _family(users)
    ]


@check("columns.zones")
async def zones(installation: Installation) -> Findings:
    """Times have a time zone, or are UTC: those without are read as UTC."""
    findings: list[Finding] = []
    async with brief(installation) as transaction:
        ((zone, now),) = await transaction.rows("SELECT reset_val, now() FROM pg_settings WHERE name = 'TimeZone'")
        for name, table in (await read_needed(installation, transaction)).items():
            naive = [column for column, facts in table.columns.items() if facts.type == TIMESTAMP]
            for column in naive:
                newest = await _extreme(transaction, name, column, "max")
                behind = "" if newest is None else f"; the newest is {_difference(newest, now)}"
                target = zone if newest is not None and newest > now + AHEAD else "UTC"
                verdict = wrong if target != "UTC" else look
                findings.append(
                    verdict(
                        f"{name}.{column} has no time zone, and is read as UTC{behind}",
                        f"ALTER TABLE {quoted(table.schema)}.{quoted(name)} ALTER COLUMN {quoted(column)}"
                        f" TYPE timestamptz USING {quoted(column)} AT TIME ZONE '{target}';",
                    )
                )
    return findings or [ok("every time has a time zone")]


def _difference(moment: datetime, now: datetime) -> str:
    minutes = (moment - now).total_seconds() / 60
    unit, number = ("min", abs(minutes)) if abs(minutes) < 600 else ("h", abs(minutes) / 60)
    return f"{number:.0f} {unit} {'ahead of' if minutes > 0 else 'before'} the server's clock"


async def _extreme(transaction: Transaction, table: str, column: str, function: str) -> datetime | None:
    """Return the newest or oldest time in a column; None where there is none, or where it cannot be found quickly."""
    time = f"least(greatest({function}({quoted(column)})::timestamptz, '0001-01-01'), '9999-12-31')"
    try:
        async with transaction.savepoint():
            ((found,),) = await transaction.rows(
                f"SELECT CASE WHEN isfinite({function}({quoted(column)})) THEN {time} END FROM {quoted(table)}"
            )
    except CollectionFailed:
        return None
    return found.astimezone(UTC) if isinstance(found, datetime) else None


@check("columns.units")
async def units(installation: Installation) -> Findings:
    """Times are neither in the future nor before HiveSync: seconds taken for milliseconds are in 1970, and the reverse
    in the year 57000."""
    findings: list[Finding] = []
    async with brief(installation) as transaction:
        ((now,),) = await transaction.rows("SELECT now()")
        for name, table in (await read_needed(installation, transaction)).items():
            for column in ("created_at", "completed_at", "last_heartbeat_at"):
                if column not in table.columns or table.columns[column].type != TIMESTAMPTZ:
                    continue
                newest = await _extreme(transaction, name, column, "max")
                oldest = await _extreme(transaction, name, column, "min")
                findings += _of_times(f"{quoted(table.schema)}.{quoted(name)}", name, column, oldest, newest, now)
    return findings or [ok("no time is in the future, or before 2010")]


def _of_times(
    table: str, name: str, column: str, oldest: datetime | None, newest: datetime | None, now: datetime
) -> list[Finding]:
    quoted_column = quoted(column)
    if newest is not None and newest > now + AHEAD:
        if newest.year > now.year + 50:
            mend = (
                f"UPDATE {table} SET {quoted_column} = to_timestamp(extract(epoch FROM {quoted_column}) / 1000)"
                f" WHERE {quoted_column} > now() + interval '50 years';  -- and write seconds, not milliseconds"
            )
            return [wrong(f"{name}.{column} goes up to the year {newest.year}: milliseconds taken for seconds", mend)]
        mend = (
            f"SELECT count(*) FROM {table} WHERE {quoted_column} > now();  -- correct the clock or zone of their writer"
        )
        return [look(f"{name}.{column}: the newest is {_difference(newest, now)}", mend)]
    if oldest is not None and oldest < EARLIEST:
        mend = (
            f"UPDATE {table} SET {quoted_column} = to_timestamp(extract(epoch FROM {quoted_column}) * 1000)"
            f" WHERE {quoted_column} < '{EARLIEST:%Y-%m-%d}';  -- and write milliseconds / 1000 no more"
        )
        verdict = wrong if newest is not None and newest < EARLIEST else look
        return [verdict(f"{name}.{column} goes back to {oldest.year}: seconds taken for milliseconds", mend)]
    return []


@check("columns.filled")
async def filled(installation: Installation) -> Findings:
    """No column is always NULL: a number made of it would be 0 for ever, and look measured."""
    findings: list[Finding] = []
    skipped: list[str] = []
    async with brief(installation) as transaction:
        for name, table in (await read_needed(installation, transaction)).items():
            if name == DAILY or not table.columns:
                continue
            try:
                async with transaction.savepoint():
                    findings += await _always_null(installation, transaction, table)
            except CollectionFailed as error:
                if error.kind == "statement_timeout":
                    skipped.append(name)  # any other failure is a finding of rights or types
    if skipped:
        findings.append(look(f"not looked at in time: {listed(skipped)}", "see indexes; run the doctor again later"))
    return findings or [ok("every column has values, where there are rows for it")]


async def _always_null(installation: Installation, transaction: Transaction, table: KnownTable) -> list[Finding]:
    conditions = {column: _where(table, column) for column in table.columns}
    counts = ", ".join(
        f"count(*) FILTER (WHERE {where}), count({quoted(column)})" for column, where in conditions.items()
    )
    columns = ", ".join(map(quoted, table.columns))
    rows = f"(SELECT {columns} FROM {quoted(table.name)} LIMIT {SAMPLE}) AS sample"
    ((total, *numbers),) = await transaction.rows(f"SELECT count(*), {counts} FROM {rows}")
    findings = []
    for column, expected, given in zip(conditions, numbers[::2], numbers[1::2], strict=True):
        if given or expected < FEWEST_ROWS:
            continue
        if total == SAMPLE:  # perhaps only in its oldest rows
            exists = f"SELECT EXISTS (SELECT FROM {quoted(table.name)} WHERE {quoted(column)} IS NOT NULL)"
            ((some,),) = await transaction.rows(exists)
            if some:
                continue
        name, number = f"{table.name}.{column}", f"{expected:,}{' or more' if total == SAMPLE else ''} rows"
        if may_be_declared(table.name, column):
            mend = added("not_provided", sorted(not_provided(installation)), name)
            findings.append(look(f"{name} is NULL in all of {number}", mend))
        else:
            mend = f"let HiveSync fill {name}, or map another column to it in a view"
            findings.append(wrong(f"{name} is NULL in all of {number}", mend))
    return findings


def _where(table: KnownTable, column: str) -> str:
    condition = ONLY_FOR.get(f"{table.name}.{column}", "true")
    return (
        condition if all(name in table.columns for name in ("plan", "status") if f"{name}::" in condition) else "true"
    )


CHECKS = (there, types, zones, units, filled)
