"""Charts and tables as CSV."""

from __future__ import annotations

import csv
import io

import psycopg
import pytest

from tests.admin.world import CHARTS, TABLES, World


def read_csv(body: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(body.decode(), newline="")))


@pytest.mark.parametrize("path", [*CHARTS, *TABLES])
def test_csv_has_the_numbers_of_the_json(path: str, world: World) -> None:
    answer, content = world.get(f"{path}?format=csv"), world.get(path).json
    assert answer.header("content-type") == "text/csv; charset=utf-8"
    disposition = answer.header("content-disposition") or ""
    assert disposition.startswith('attachment; filename="hivesync-')
    assert disposition.endswith('.csv"')
    head, *rows = read_csv(answer.body)
    if path in TABLES:
        assert head == [column["name"] for column in content["columns"]]
        assert rows == [["" if cell is None else str(cell) for cell in row.values()] for row in content["rows"]]
    else:
        numbers = content["series"][0]["values"]
        assert [float(row[1]) if row[1] else None for row in rows] == numbers
        assert len(rows) == len(content["times"] or content["categories"])
    assert rows


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=cmd|"/c calc"!A1'])
def test_a_name_like_a_formula_becomes_text(name: str, connection: psycopg.Connection, world: World) -> None:
    connection.execute("UPDATE users SET username = %s WHERE username = 'paid'", [name])
    world.refresh()
    rows = read_csv(world.get("/tables/top-users?format=csv").body)
    assert rows[1][1] == f"'{name}"


def test_a_name_with_commas_quotes_and_lines_stays_one_cell(connection: psycopg.Connection, world: World) -> None:
    connection.execute("UPDATE users SET username = %s WHERE username = 'paid'", ['a,"b"\nc'])
    world.refresh()
    assert read_csv(world.get("/tables/top-users?format=csv").body)[1][1] == 'a,"b"\nc'
