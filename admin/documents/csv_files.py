"""Tables and charts as CSV; no cell is a formula to a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from admin.documents.charts import Chart
from admin.documents.tables import Incidents, TopUsers

FORMULA = re.compile(r"(?:^|(?<=[;\t\r\n]))(?=[\s\"']*[=+\-@\uff0b\uff0d\uff1d\uff20])|^(?=[\t\r\n])")
"""The places in a text where a spreadsheet would find a formula: its start, and, as some take other separators than the
comma and ignore quotes there, after a semicolon, a TAB or a line break. Excel also takes the full-width signs of East
Asian scripts."""


def of_table(table: TopUsers | Incidents) -> bytes:
    """The names of the columns, and the rows."""
    names = [column.name for column in table.columns]
    return _written([names, *([getattr(row, name) for name in names] for row in table.rows)])


def of_chart(chart: Chart) -> bytes:
    """A row per time (ISO 8601) or category, a column per series."""
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
    """A text that is like a formula gets an apostrophe there, which spreadsheets read as "text"."""
    return FORMULA.sub("'", value) if isinstance(value, str) else value


def _iso(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
