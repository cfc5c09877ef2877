"""The check that the peers compute the same numbers: their SQL against the definitions, in one transaction."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psycopg

from bench.peers.queries import MODELS, QUERIES
from exporter.collectors import build_collectors
from exporter.definitions import Terms
from exporter.prices import ModelPrice, Prices
from exporter.settings import Settings
from exporter.state import StateFile

Samples = dict[tuple[str, ...], float]


def differences(url: str) -> list[str]:
    """Return the differences between the peers' SQL and the definitions at the same moment, a line per sample."""
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL timezone = 'UTC'")
        (now,) = connection.execute("SELECT now()").fetchone() or ()
        theirs = _samples(
            (query.metric, row) for query in QUERIES for row in connection.execute(query.sql.encode()).fetchall()
        )
        free = ModelPrice(prompt=0, completion=0)
        values = {"now": now, **Terms(Prices(models=dict.fromkeys(MODELS, free))).parameters([])}
        definitions = _definitions()
        defined = _samples(
            (metric, row)
            for metric in dict.fromkeys(query.metric for query in QUERIES)
            for row in connection.execute(definitions[metric].encode(), values).fetchall()
        )
    return [
        f"{' '.join(sample)}: {theirs.get(sample)} in place of {defined.get(sample)}"
        for sample in sorted(theirs.keys() | defined.keys())
        if not math.isclose(theirs.get(sample, math.nan), defined.get(sample, math.nan), rel_tol=1e-9)
    ]


def _definitions() -> Mapping[str, str]:
    """Return the SQL of each metric that has a definition."""
    with tempfile.TemporaryDirectory() as scratch:
        collectors = build_collectors(Settings.model_construct(), lambda name: StateFile(Path(scratch), name))
    specs = {spec for collector in collectors for spec in collector.specs}
    return {spec.name: spec.definition.sql for spec in specs if spec.definition}


def _samples(rows: Iterable[tuple[str, tuple[Any, ...]]]) -> Samples:
    return {(metric, *map(str, labels)): float(value) for metric, (*labels, value) in rows}
