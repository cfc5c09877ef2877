"""Findings as a table for people, in colour at a terminal, and as JSON for programs."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TextIO

import orjson

from exporter.doctor.findings import Finding, Verdict

COLOURS = {Verdict.OK: 32, Verdict.LOOK: 33, Verdict.WRONG: 31}
WIDTH = 110
INDENT = " " * 8


def wants_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether to write in colour: to a terminal, unless NO_COLOR is set and not empty (no-color.org)."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def worst(findings: Sequence[Finding]) -> Verdict:
    """Return the worst verdict."""
    return max((each.verdict for each in findings), key=list(Verdict).index, default=Verdict.OK)


def as_table(findings: Sequence[Finding], *, colour: bool) -> str:
    """Return the findings by subject, each with its mend, and their number by verdict."""
    lines: list[str] = []
    for subject, group in groupby(findings, lambda each: each.check.partition(".")[0]):
        lines += ["", subject]
        for each in group:
            mark = f"{each.verdict:<5}"
            mark = f"\033[{COLOURS[each.verdict]}m{mark}\033[0m" if colour else mark
            name = each.check.partition(".")[2]
            first, *rest = textwrap.wrap(f"{name}: {each.found}", WIDTH, break_long_words=False) or [name]
            lines += [f"  {mark} {first}", *(INDENT + line for line in rest)]
            # Never wrapped: it is to be pasted.
            lines += [f"{INDENT}-> {line}" if not at else f"{INDENT}   {line}" for at, line in _lines(each.mend)]
    counts = Counter(each.verdict for each in findings)
    return "\n".join([*lines[1:], "", ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)])


def _lines(mend: str) -> Sequence[tuple[int, str]]:
    return list(enumerate(mend.splitlines()))


def as_json(findings: Sequence[Finding]) -> str:
    """Return one JSON object: the worst verdict, the number by verdict, and every finding."""
    counts = Counter(each.verdict for each in findings)
    content = {
        "verdict": worst(findings),
        "counts": {verdict.value: counts[verdict] for verdict in Verdict},
        "findings": [asdict(each) for each in findings],
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()
