"""Tables and charts as CSV, for a spreadsheet that must not take what users are called for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from admin.documents.models import Chart, Incidents, TopUsers

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that a spreadsheet would compute."""


def of_table(table: TopUsers | Incidents) -> bytes:
    """The columns' names, and the rows."""
    names = [column.name for column in table.columns]
    return _written([names, *([getattr(row, name) for name in names] for row in table.rows)])


def of_chart(chart: Chart) -> bytes:
    """A row a time, in ISO 8601, or a category; a column a series."""
    keys: Sequence[str]
    if chart.categories is None:
        head, keys = "time", [_iso(time) for time in chart.times or ()]
    else:
        head, keys = "category", chart.categories
    columns = [series.values for series in chart.series]
    rows = ([key, *values] for key, *values in zip(keys, *columns, strict=True))
    return _written([[head, *(series.name for series in chart.series)], *rows])


def _written(rows: Iterable[Sequence[object]]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue().encode()


def _cell(value: object) -> object:
    """A text that begins as a formula does is given an apostrophe, which spreadsheets take for "text"."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _iso(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
