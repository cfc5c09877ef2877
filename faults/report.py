"""The table of results: on the terminal, and as Markdown between the markers of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from faults.promises import PROMISES
from faults.run import Row
from faults.table import Fault

HEADINGS = ("fault", "answers", "median, slowest", "control", "degraded", "recovered", "left in PostgreSQL", "verdict")
PROMISES_BEGIN, PROMISES_END = "<!-- promises: begin -->", "<!-- promises: end -->"
RESULTS_BEGIN, RESULTS_END = "<!-- results: begin -->", "<!-- results: end -->"

Conditions = Mapping[str, str]


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row."""
    if row.obstacle:
        return (row.name, *[""] * (len(HEADINGS) - 2), row.verdict)
    return (
        row.name,
        f"{row.answered} of {row.answered + row.missing}",
        f"{_milliseconds(row.typical)}, {_milliseconds(row.slowest)}",
        f"{_milliseconds(row.control_typical)}, {_milliseconds(row.control_slowest)}",
        _seconds(row.degraded_after),
        _seconds(row.recovered_after),
        "-" if row.connections is None else str(row.connections),
        row.verdict,
    )


def line(row: Row) -> str:
    """Return a row for the terminal, with what was wrong below it."""
    name, *others = cells(row)
    return "\n    ".join((f"{name:<40} " + "  ".join(filter(None, others)), *row.wrong))


def summary(rows: Sequence[Row]) -> str:
    """Return the number of rows of each verdict, in words."""
    tried = [row for row in rows if not row.obstacle]
    broken = sum(bool(row.wrong) for row in tried)
    not_tried = len(rows) - len(tried)
    return f"{len(rows)} faults and pairs: {len(tried) - broken} held, {broken} not held, {not_tried} not tried."


def results(rows: Sequence[Row], conditions: Conditions) -> str:
    """Return conditions and table as Markdown."""
    lines = ["| condition | |", "|---|---|"]
    lines += [f"| {name} | {escaped(value)} |" for name, value in conditions.items()]
    lines += ["", summary(rows), "", f"| {' | '.join(HEADINGS)} | wrong |", f"|{'---|' * (len(HEADINGS) + 1)}"]
    lines += [
        f"| {' | '.join(map(escaped, (*cells(row), '; '.join(row.wrong) or ('' if row.obstacle else 'nil'))))} |"
        for row in rows
    ]
    return "\n".join(lines)


def promises(faults: Iterable[Fault]) -> str:
    """Return every promise with the faults that check it, as Markdown."""
    every = list(faults)
    lines: list[str] = []
    for name, text in PROMISES.items():
        lines += [f"**{name.capitalize()}.** {text}", "", "| fault | strikes | meaning |", "|---|---|---|"]
        lines += [f"| {each.name} | {each.strikes} | {escaped(each.about)} |" for each in every if each.promise == name]
        lines.append("")
    return "\n".join(lines).rstrip()


def replaced(page: str, begin: str, end: str, text: str) -> str:
    """Return the page with another text between two markers."""
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def write(path: Path, rows: Sequence[Row], conditions: Conditions) -> None:
    """Write the results into the page."""
    write_section(path, RESULTS_BEGIN, RESULTS_END, results(rows, conditions))


def write_section(path: Path, begin: str, end: str, text: str) -> None:
    """Write the text between two markers of the page, and leave the rest; a page without them gets them at its end."""
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin not in page:
        page += f"{begin}{end}\n"
    path.write_text(replaced(page, begin, end, text), encoding="utf-8")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def escaped(text: str) -> str:
    """Return a text for the cell of a table in Markdown."""
    return text.replace("|", "\\|").replace("\n", " ")
