"""An index for the rows that each window reads: found in PostgreSQL's plans of the collectors' own statements.

A plan that has to filter rows by time, or by a session's id, in place of finding them in an index, lacks that index. It
is asked for with sequential scans made unattractive, so that the size of a table does not matter, and the same for
views: their plans name the tables behind them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exporter.collectors import jobs
from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, wrong
from exporter.doctor.installation import Installation
from exporter.doctor.postgres import brief
from exporter.doctor.recording import Refreshed, Statement, record
from exporter.doctor.tables import quoted
from exporter.errors import CollectionFailed
from exporter.sources.postgres import Postgres, Transaction

COLLECTOR_SECONDS = 1.5
"""The longest time for two refreshes of one collector."""

SMALL_BYTES = 8 * 2**20
"""The size of a table up to which its reading as a whole costs next to nothing."""

_LITERAL = r"'[^']*'::timestamp with(?:out)? time zone"
_TIMES = re.compile(rf"^(?P<expression>.+?) (?:>=?|<=?) (?:{_LITERAL}|\$\d+|\(InitPlan|\(.*\)$)")
_ANY_TIME = " >= '2001-01-02'::timestamp with time zone"
_IDS = re.compile(r"^(?P<expression>.+?) = ANY \('\{.*\}'::[^']+\)$")


@dataclass(frozen=True, slots=True)
class Missing:
    """A table, as the plan names it, and the expression by which its rows are looked for."""

    schema: str
    table: str
    expression: str

    @property
    def name(self) -> str:
        """The table's name in SQL."""
        return f"{quoted(self.schema)}.{quoted(self.table)}"


Lacking = dict[Missing, dict[str, float | None]]
"""The duration of a refresh of each collector concerned; None where it did not end in time."""


@check("indexes.windows", seconds=8)
async def windows(installation: Installation) -> Findings:
    """The rows of each window are found by an index, so that a refresh costs the same however large the tables are."""
    refreshed = await _record(installation)
    lacking: Lacking = defaultdict(dict)
    async with brief(installation) as transaction:
        ((now, _),) = await transaction.rows("SELECT now(), set_config('enable_seqscan', 'off', true)")
        explained: dict[str, list[Missing]] = {}
        for each in refreshed:
            for statement in each.statements:
                if statement.query not in explained:
                    explained[statement.query] = await _missing(transaction, statement, now)
                for missing in explained[statement.query]:
                    lacking[missing][each.collector] = each.seconds
        lacking = await _without_index(transaction, lacking)
        sizes = await _sizes(transaction, lacking)
    findings = [
        (wrong if sizes.get(missing, 0) > SMALL_BYTES else look)(
            f"no index for {missing.table} by {missing.expression}: {_cost(collectors)}"
            f" read all {_size(sizes.get(missing))} of it at each refresh",
            f"CREATE INDEX CONCURRENTLY ON {missing.name} ({_column(missing.expression)});",
        )
        for missing, collectors in sorted(lacking.items(), key=lambda item: str(item[0]))
    ]
    if findings:
        return findings
    return [ok(f"an index for every window: {sum(len(each.statements) for each in refreshed)} statements explained")]


@check("indexes.waiting", seconds=4)
async def waiting(installation: Installation) -> Findings:
    """The jobs that wait or run are found by an index, so that they are counted at every refresh."""
    findings: list[Finding] = []
    async with brief(installation) as transaction:
        for table in jobs.TABLES.values():
            try:
                async with transaction.savepoint():
                    statement = await jobs.missing_index(transaction, table)
            except CollectionFailed:
                continue  # a missing table, column or right is a finding of its own
            if statement is not None:
                limits = "absent between rare readings, and the jobs shown as waiting are then the queue's length alone"
                findings.append(
                    look(
                        f"no index of the jobs that wait in {table}: its hivesync_jobs are {limits}",
                        f"{statement};  -- of a view: on the table beneath it",
                    )
                )
    return findings or [ok("waiting jobs are found by an index, or in a small table")]


async def _record(installation: Installation) -> list[Refreshed]:
    url = installation.settings.database_url.get_secret_value()
    return await record(
        installation.build(), lambda now: Postgres(url, now=now), installation.sources, COLLECTOR_SECONDS
    )


def _cost(collectors: Mapping[str, float | None]) -> str:
    known = [seconds for seconds in collectors.values() if seconds is not None]
    late = [name for name, seconds in collectors.items() if seconds is None]
    took = f" (together {sum(known):.2f} s a refresh)" if known and not late else ""
    return f"{listed(collectors)}{took}" + (f" (over {COLLECTOR_SECONDS:g} s a refresh)" if late else "")


def _size(number: int | None) -> str:
    return "blocks" if number is None else f"{number / 2**20:,.1f} MB"


def _column(expression: str) -> str:
    return expression if re.fullmatch(r'\w+|"[^"]+"', expression) else f"({expression})"


_FIRST_KEYS = """
SELECT pg_get_indexdef(indexrelid, 1, false) FROM pg_index
WHERE indrelid = to_regclass(%(table)s) AND indisvalid AND indpred IS NULL
"""


async def _without_index(transaction: Transaction, lacking: Lacking) -> Lacking:
    """Return those without an index that begins with their expression. Where one exists, the planner preferred another
    index, for the order of its rows."""
    found: Lacking = {}
    for missing, collectors in lacking.items():
        rows = await transaction.rows(_FIRST_KEYS, {"table": missing.name})
        if missing.expression not in {_unbracketed(" ".join(first.split())) for (first,) in rows}:
            found[missing] = collectors
    return found


async def _sizes(transaction: Transaction, missing: Iterable[Missing]) -> dict[Missing, int]:
    found = {}
    for each in missing:
        ((size,),) = await transaction.rows(
            "SELECT pg_total_relation_size(to_regclass(%(table)s))", {"table": each.name}
        )
        if size is not None:
            found[each] = int(size)
    return found


async def _missing(transaction: Transaction, statement: Statement, now: datetime) -> list[Missing]:
    """Return the indexes that the plan of a statement lacks."""
    query = statement.query
    names = set(re.findall(r"%\((\w+)\)s", query))
    parameters = {name: value for name, value in statement.at(now).items() if name in names}
    try:
        async with transaction.savepoint():
            ((plan,),) = await transaction.rows(f"EXPLAIN (FORMAT JSON, VERBOSE) {query}", parameters)
    except CollectionFailed:
        return []  # a statement that fails is a finding of its own, by its collector
    return list(dict.fromkeys(each for node in _nodes(plan[0]["Plan"]) for each in _of_node(node)))


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


def _of_node(node: Mapping[str, Any]) -> Iterator[Missing]:
    if "Relation Name" not in node or node.get("Schema", "").startswith("pg_"):
        return
    alias = node.get("Alias", node["Relation Name"])
    by_index = {_expression(part, alias) for name in ("Index Cond", "Recheck Cond") for part in _parts(node.get(name))}
    for part in _parts(node.get("Filter")):
        expression = _expression(part, alias)
        if expression is not None and expression not in by_index:
            yield Missing(node["Schema"], node["Relation Name"], expression)


def _expression(part: str, alias: str) -> str | None:
    """Return the expression that a condition compares with a time, or with a list of ids; without the table's alias.

    Of `a >= b OR a IS NULL` it is `a`, as one index finds both. Any other OR has none.
    """
    branches = _parts(part, " OR ")
    if len(branches) > 1:
        found_in = {
            _expression(branch.removesuffix(" IS NULL") + _ANY_TIME, alias)
            if branch.endswith(" IS NULL")
            else _expression(branch, alias)
            for branch in branches
        }
        return found_in.pop() if len(found_in) == 1 else None
    found = _TIMES.match(part) or _IDS.match(part)
    if found is None:
        return None
    expression = found["expression"]
    for prefix in (f"{alias}.", f'"{alias}".'):
        expression = expression.replace(prefix, "")
    return expression.strip()


def _parts(condition: str | None, between: str = " AND ") -> Sequence[str]:
    """Return the parts of a condition in PostgreSQL's form, `((a > 1) AND (b <= 2))`, without their brackets."""
    if not condition:
        return []
    inner = _unbracketed(condition)
    parts, depth, quoted, start, index = [], 0, False, 0, 0
    while index < len(inner):
        letter = inner[index]
        quoted ^= letter == "'"
        depth += 0 if quoted else (letter == "(") - (letter == ")")
        if not quoted and depth == 0 and inner.startswith(between, index):
            parts.append(inner[start:index])
            start = index = index + len(between)
            continue
        index += 1
    parts.append(inner[start:])
    return [_unbracketed(part) for part in parts]


def _unbracketed(text: str) -> str:
    """Return the text without a pair of brackets around all of it."""
    text = text.strip()
    while text.startswith("(") and text.endswith(")"):
        depth = 0
        for index, letter in enumerate(text):
            depth += (letter == "(") - (letter == ")")
            if depth == 0 and index < len(text) - 1:
                return text
        text = text[1:-1]
    return text


CHECKS = (windows, waiting)
