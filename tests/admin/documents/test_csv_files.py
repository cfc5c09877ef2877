"""Charts and tables as CSV."""

from __future__ import annotations

import csv
import io
import re

import psycopg
import pytest

from admin.documents.csv_files import of_table
from admin.documents.tables import Column, TopUser, TopUsers
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
    assert rows[1][1].startswith("'")
    assert rows[1][1].replace("'", "") == name


FORMULA = re.compile(r"[\s\"]*[=+\-@\uff0b\uff0d\uff1d\uff20]")
"""A cell that a spreadsheet computes, read without Python's csv."""


@pytest.mark.parametrize("separator", [";", "\t", "\r", "\n", "\r\n", "; ", ';"', ";;"])
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_cell_is_a_formula_whatever_the_spreadsheet_splits_at(separator: str, sign: str) -> None:
    for name in (f"{sign}1+1", f"a{separator}{sign}1+1", f"{separator}{sign}1+1", f"a;b{separator}{sign}1;c"):
        row = TopUser(user_id="7", user=name, plan="free", last_seen=None, ai_requests_7d=1)
        columns = [Column(name=name, label=name, type="text", status="ok", input=None) for name in TopUser.model_fields]
        table = TopUsers(title="x", status="ok", sources=["postgres"], as_of=None, columns=columns, rows=[row])
        written = of_table(table).decode()
        cells = [cell for line in re.split(r"[\r\n]", written) for cell in re.split(r"[;\t]", line)]
        cells += [cell for line in read_csv(written.encode()) for cell in line]
        assert [cell for cell in cells if FORMULA.match(cell)] == [], name


@pytest.mark.parametrize("name", ["ada-lovelace", "a+b@example.org", "x = 1", "a;b", "caf\u00e9"])
def test_a_name_that_is_no_formula_is_unchanged(name: str, connection: psycopg.Connection, world: World) -> None:
    connection.execute("UPDATE users SET username = %s WHERE username = 'paid'", [name])
    world.refresh()
    assert read_csv(world.get("/tables/top-users?format=csv").body)[1][1] == name


def test_a_name_with_commas_quotes_and_lines_stays_one_cell(connection: psycopg.Connection, world: World) -> None:
    connection.execute("UPDATE users SET username = %s WHERE username = 'paid'", ['a,"b"\nc'])
    world.refresh()
    assert read_csv(world.get("/tables/top-users?format=csv").body)[1][1] == 'a,"b"\nc'
