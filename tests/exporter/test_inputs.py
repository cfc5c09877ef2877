"""The tables and columns of PostgreSQL: one list, which the manual repeats and every reader takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.doctor.tables import kind_of
from exporter.inputs import INPUTS, OF_GPU_WORKERS, REQUIRED, WORKERS, not_in_postgres, source_of, tables
from rollup import store
from rollup.migrate import NEEDS

PAGE = (Path(__file__).parents[2] / "docs" / "definitions.md").read_text()
SECTION = PAGE.partition("\n## PostgreSQL\n")[2].partition("\n### ")[0]
ROWS = re.findall(r"^\| `(\w+)` \| (.*) \|$", SECTION, re.MULTILINE)


def test_the_manual_has_each_table_with_the_columns_that_are_read() -> None:
    named = {table: set(re.findall(r"`([a-z_]+)`", text)) for table, text in ROWS}
    assert named == {table: set(columns) for table, columns in tables(()).items()}


def test_the_manual_names_each_column_that_may_be_missing() -> None:
    optional = SECTION.partition("may be missing if")[2]
    assert "of `users`, of which no value is made" in optional
    named = {
        f"{table}.{column}"
        for columns, table in re.findall(r"((?:`\w+`(?:, |\s+and\s+)?)+)\s+of\s+`(\w+)`", optional)
        for column in re.findall(r"`(\w+)`", columns)
    }
    assert named == {each.name for each in INPUTS if each.type}


def test_the_kind_of_every_column_is_known() -> None:
    for columns in tables(()).values():
        for column in columns:
            kind_of(column)


def test_a_column_is_required_or_an_input_and_never_both() -> None:
    for each in INPUTS:
        table, _, column = each.name.partition(".")
        assert bool(column) == bool(each.type)
        assert column not in REQUIRED.get(table, ())
    assert set(OF_GPU_WORKERS).isdisjoint(REQUIRED[WORKERS])


def test_the_roles_need_no_other_tables() -> None:
    assert set(NEEDS["exporter"].read) == set(REQUIRED)
    assert set(NEEDS["rollup"].read) < set(REQUIRED)
    assert set(REQUIRED[store.TABLE]) < set(store.COLUMNS)


@pytest.mark.parametrize(
    ("not_provided", "workers_from", "is_read"),
    [((), "redis", False), ((), "postgres", True), ((WORKERS,), "postgres", False), ((WORKERS,), "redis", False)],
)
def test_the_table_workers_is_read_where_the_heartbeats_are_in_it(
    not_provided: tuple[str, ...], workers_from: str, is_read: bool
) -> None:
    assert (WORKERS in tables(not_in_postgres(not_provided, workers_from))) == is_read


def test_the_source_of_the_workers_is_that_of_the_setting() -> None:
    assert [source_of(WORKERS, chosen) for chosen in ("redis", "postgres")] == ["redis", "postgres"]
    assert source_of("projects", "redis") == "postgres"
