"""Whether the peers are asked for the same numbers: their SQL against the definitions, in one transaction."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import psycopg

from bench.peers.queries import MODELS, QUERIES
from exporter.oracle import QUERIES as DEFINITIONS

Samples = dict[tuple[str, ...], float]


def differences(url: str) -> list[str]:
    """What the peers' SQL answers otherwise than the definitions do at the same moment, a line a sample."""
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL timezone = 'UTC'")
        (now,) = connection.execute("SELECT now()").fetchone() or ()
        theirs = _samples(
            (query.metric, row) for query in QUERIES for row in connection.execute(query.sql.encode()).fetchall()
        )
        values = {"now": now, "models": list(MODELS), "connections": [], "users": [], "sessions": [], "devices": []}
        wanted = {query.metric for query in QUERIES}
        defined = _samples(
            (spec.name, row)
            for queries in DEFINITIONS.values()
            for spec, query in queries
            if spec.name in wanted
            for row in connection.execute(
                query.encode(), {name: value for name, value in values.items() if f"%({name})s" in query}
            ).fetchall()
        )
    return [
        f"{' '.join(sample)}: {theirs.get(sample)} in place of {defined.get(sample)}"
        for sample in sorted(theirs.keys() | defined.keys())
        if not math.isclose(theirs.get(sample, math.nan), defined.get(sample, math.nan), rel_tol=1e-9)
    ]


def _samples(rows: Iterable[tuple[str, tuple[Any, ...]]]) -> Samples:
    return {(metric, *map(str, labels)): float(value) for metric, (*labels, value) in rows}
