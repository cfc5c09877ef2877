"""The table: on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.figures import Figure

Conditions = Mapping[str, str]

HEADINGS = ("figure", "value", "measured", "target", "verdict")


def number(value: float | None, unit: str = "") -> str:
    """Format a value for people: three significant digits, thousands separated."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f} {unit}".strip()


def cells(figure: Figure) -> tuple[str, ...]:
    """Return the cells of a row: name, value, range, target, result."""
    spread = ""
    if len(figure.samples) > 1:
        spread = f"{number(min(figure.samples))} to {number(max(figure.samples))} ({len(figure.samples)})"
    target = f"{figure.target.kind} {figure.target.bound:g}" if figure.target else ""
    return (figure.name, number(figure.value, figure.unit), spread, target, figure.verdict)


def as_text(figures: Sequence[Figure], conditions: Conditions) -> str:
    """Render the table for a terminal, with notes under their rows."""
    rows = [cells(figure) for figure in figures]
    widths = [max(len(row[column]) for row in (HEADINGS, *rows)) for column in range(len(HEADINGS))]
    lines = [f"{name}: {value}" for name, value in conditions.items()]
    part = ""
    for figure, row in zip(figures, rows, strict=True):
        if figure.part != part:
            part = figure.part
            lines += ["", part, _padded(HEADINGS, widths), _padded(["-" * width for width in widths], widths)]
        lines.append(_padded(row, widths))
        if figure.note:
            lines.append(f"    {figure.note}")
    return "\n".join((*lines, "", summary(figures)))


def as_markdown(figures: Sequence[Figure], conditions: Conditions, title: str) -> str:
    """Render the table as a Markdown page."""
    lines = [f"# {title}", "", "| condition | |", "|---|---|"]
    lines += [f"| {name} | {_escaped(value)} |" for name, value in conditions.items()]
    part = ""
    for figure in figures:
        if figure.part != part:
            part = figure.part
            lines += ["", f"## {part}", "", f"| {' | '.join(HEADINGS)} | note |", "|---|--:|---|---|---|---|"]
        lines.append(f"| {' | '.join(map(_escaped, (*cells(figure), figure.note)))} |")
    return "\n".join((*lines, "", summary(figures), ""))


def as_json(figures: Sequence[Figure], conditions: Conditions) -> str:
    """Render all figures and conditions as JSON."""
    document: dict[str, Any] = {
        "conditions": dict(conditions),
        "figures": [asdict(figure) | {"verdict": figure.verdict} for figure in figures],
    }
    return json.dumps(document, indent=2) + "\n"


def summary(figures: Sequence[Figure]) -> str:
    """Return the number of met targets, in words."""
    verdicts = [figure.verdict for figure in figures if figure.target]
    counts = {verdict: verdicts.count(verdict) for verdict in ("met", "not met", "not measured")}
    return f"Targets: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}."


def write(directory: Path, name: str, figures: Sequence[Figure], conditions: Conditions, title: str) -> None:
    """Write `NAME.json` and `NAME.md` into the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(as_json(figures, conditions))
    (directory / f"{name}.md").write_text(as_markdown(figures, conditions, title))


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
