"""The tables of results: on the terminal, and as Markdown between the markers of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from crash.calls import ERRORS, FAULTS, KILL, Call
from crash.days import Killed
from crash.points import Struck
from faults.report import replaced

BEGIN, END = "<!-- crash: begin -->", "<!-- crash: end -->"
CALLS = ("file", "call", *FAULTS, "verdict", "wrong")
STATEMENTS = ("statement", "killed", "verdict", "wrong")
STATEMENT_CHARACTERS = 70
MOST_SHOWN = 3

Conditions = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that a run found. `ordinary`: the findings in the run without a fault."""

    struck: Sequence[Struck]
    killed: Sequence[Killed]
    ordinary: Sequence[str] = ()

    @property
    def broken(self) -> list[str]:
        """Each finding with its place."""
        return [
            *self.ordinary,
            *(f"{name(each)}: {wrong}" for each in self.struck for wrong in each.wrong),
            *(f"statement {each.number} ({each.statement}): {wrong}" for each in self.killed for wrong in each.wrong),
            *(f"{call.name} on {call.kind}: {fault} never struck" for call, fault in never_struck(self.struck)),
        ]


def name(struck: Struck) -> str:
    """Return a point in words."""
    point = struck.point
    return f"{point.call.name} on {point.call.kind}, {point.fault} at occurrence {point.occurrence}"


def never_struck(struck: Iterable[Struck]) -> list[tuple[Call, str]]:
    """Return the calls and faults of which no point was reached."""
    reached: dict[tuple[Call, str], int] = {}
    for each in struck:
        key = each.point.call, each.point.fault
        reached[key] = reached.get(key, 0) + each.faults
    return [key for key, faults in reached.items() if not faults]


def line(struck: Struck) -> str:
    """Return a point for the terminal, with the findings below it."""
    verdict = "NOT HELD" if struck.wrong else "held" if struck.faults else "not reached"
    return "\n    ".join((f"{name(struck):<70} {struck.faults:>3}  {verdict}", *struck.wrong))


def summary(result: Result) -> str:
    """Return the numbers of points and findings, in words."""
    reached = sum(bool(each.faults) for each in result.struck)
    return (
        f"{len(result.struck)} points at system calls, {reached} reached; {len(result.killed)} kills of the roll-up;"
        f" {len(result.broken)} findings."
    )


def results(result: Result, conditions: Conditions) -> str:
    """Return conditions and tables as Markdown."""
    lines = ["| condition | |", "|---|---|", *(f"| {key} | {_escaped(value)} |" for key, value in conditions.items())]
    lines += ["", summary(result), "", *_table(CALLS, _calls(result.struck))]
    lines += ["", *_table(STATEMENTS, _statements(result.killed))]
    if result.ordinary:
        lines += ["", f"Wrong without a fault: {_escaped('; '.join(result.ordinary))}"]
    return "\n".join(lines)


def write(path: Path, result: Result, conditions: Conditions) -> None:
    """Write the results into the page; a page without markers, or none, becomes the results alone."""
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if BEGIN not in page:
        page = f"{BEGIN}{END}\n"
    path.write_text(replaced(page, BEGIN, END, results(result, conditions)), encoding="utf-8")


def _calls(struck: Sequence[Struck]) -> Iterable[tuple[str, ...]]:
    missed = set(never_struck(struck))
    for call, group in groupby(sorted(struck, key=lambda each: each.point.call), key=lambda each: each.point.call):
        of_call = list(group)
        possible = {*ERRORS[call.name], KILL}
        cells = []
        for fault in FAULTS:
            of_fault = [each for each in of_call if each.point.fault == fault]
            reached = sum(bool(each.faults) for each in of_fault)
            cells.append(f"{reached} of {len(of_fault)}" if fault in possible and of_fault else "-")
        wrong = list(dict.fromkeys(each for one in of_call for each in one.wrong))
        wrong += [f"{fault} never struck" for fault in FAULTS if (call, fault) in missed]
        yield (call.kind, f"`{call.name}`", *cells, *_verdict(wrong))


def _statements(killed: Sequence[Killed]) -> Iterable[tuple[str, ...]]:
    texts = dict.fromkeys(each.statement for each in killed)
    for text in texts:
        of_text = [each for each in killed if each.statement == text]
        wrong = list(dict.fromkeys(each for one in of_text for each in one.wrong))
        shown = text if len(text) <= STATEMENT_CHARACTERS else f"{text[:STATEMENT_CHARACTERS]}..."
        yield (f"`{shown}`", str(len(of_text)), *_verdict(wrong))


def _verdict(wrong: Sequence[str]) -> tuple[str, str]:
    return ("NOT HELD" if wrong else "held", "; ".join(wrong[:MOST_SHOWN]) or "nil")


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return lines + [f"| {' | '.join(map(_escaped, row))} |" for row in rows]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
