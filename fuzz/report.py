"""The table of a run: on the terminal, and as Markdown between the markers of docs/reliability.md.

campaigns of the workers -> report (this) -> docs/reliability.md, of which it replaces its own section alone
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from faults.report import replaced
from fuzz.campaign import Tally
from fuzz.target import ByteTarget, MachineTarget

HEADINGS = ("target", "engine", "executions", "executions/s", "new findings")
TARGETS_BEGIN, TARGETS_END = "<!-- targets: begin -->", "<!-- targets: end -->"
BEGIN, END = "<!-- fuzz: begin -->", "<!-- fuzz: end -->"


def cells(tally: Tally) -> tuple[str, ...]:
    """Return the cells of a campaign."""
    pace = tally.executions / tally.seconds if tally.seconds else 0.0
    return (tally.target, tally.engine, f"{tally.executions:,}", f"{pace:,.0f}", str(len(tally.findings)))


def line(tally: Tally) -> str:
    """Return a campaign for the terminal, with its findings below."""
    target, engine, executions, pace, findings = cells(tally)
    first = f"{target:<18} {engine:<9} {executions:>10} {pace:>8}/s  seed {tally.seed:<6} {findings} new"
    return "\n".join(
        (
            first,
            *(f"    {each.error} at {each.where}: fuzz/corpus/{tally.target}/{each.entry}" for each in tally.findings),
        )
    )


def promises(targets: Iterable[ByteTarget | MachineTarget]) -> str:
    """Return every target with its promise as Markdown."""
    rows = (f"| {each.name} | {each.promise} |" for each in targets)
    return "\n".join(("| target | promise |", "|---|---|", *rows))


def results(tallies: Sequence[Tally], conditions: Mapping[str, str]) -> str:
    """Return conditions and table as Markdown."""
    lines = ["| condition | |", "|---|---|", *(f"| {name} | {value} |" for name, value in conditions.items()), ""]
    executions, findings = (
        sum(each.executions for each in tallies),
        sum(len(each.findings) for each in tallies),
    )
    lines += [f"{executions:,} executions, {findings} new findings.", ""]
    lines += [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    lines += [f"| {' | '.join(cells(each))} |" for each in tallies]
    return "\n".join(lines)


def write(path: Path, tallies: Sequence[Tally], conditions: Mapping[str, str]) -> None:
    """Write the results into the page; a page without the markers gets them at its end."""
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if BEGIN not in page:
        page = f"{page}\n{BEGIN}{END}\n"
    path.write_text(replaced(page, BEGIN, END, results(tallies, conditions)), encoding="utf-8")
