"""Rows as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields

from rollup.daily import Row


def render(rows: Sequence[Row]) -> str:
    """Return a line per day under a line of headings, with a dash for an unknown value."""
    headings = [field.name for field in fields(Row)]
    cells = [headings, *([_cell(value) for value in astuple(row)] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(headings))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join(lines) if rows else "no day is due"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
