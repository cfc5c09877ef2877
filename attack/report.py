"""The table of a run: attack, answer, verdict.

suite -> report (this) -> standard output
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence

from attack.findings import Verdict
from attack.suite import Outcome

LEAST_WIDTH = 100
VERDICT_WIDTH = len(Verdict.NOT_APPLICABLE)


def table(rows: Sequence[Outcome]) -> str:
    """All rows under their subjects."""
    width = max(LEAST_WIDTH, shutil.get_terminal_size((140, 24)).columns)
    attacks = max((len(row.attack.name) for row in rows), default=0)
    attack_width = min(attacks, (width - VERDICT_WIDTH) // 2)
    lines: list[str] = []
    subject = ""
    for row in rows:
        if row.attack.subject != subject:
            subject = row.attack.subject
            lines += ["", subject.upper()]
        name, answer = _cut(row.attack.name, attack_width), _printable(row.finding.answer)
        rest = _cut(answer, width - attack_width - VERDICT_WIDTH - 6)
        lines.append(f"  {name:<{attack_width}}  {row.finding.verdict:<{VERDICT_WIDTH}}  {rest}")
    return "\n".join(lines)


def summary(rows: Sequence[Outcome], seconds: float) -> str:
    """The numbers, and the attacks that were not held once more."""
    count = Counter(row.finding.verdict for row in rows)
    lines = [
        "",
        f"{len(rows)} attacks in {seconds:.0f} s: "
        + ", ".join(f"{count[verdict]} {verdict.lower()}" for verdict in Verdict),
    ]
    lines += [
        f"NOT HELD  {row.attack.subject}: {row.attack.name}: {_printable(row.finding.answer)}"
        for row in rows
        if row.finding.verdict is Verdict.NOT_HELD
    ]
    return "\n".join(lines)


def _printable(text: str) -> str:
    """A text of the instance, without characters that control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _cut(text: str, width: int) -> str:
    printable = _printable(text)
    return printable if len(printable) <= width else f"{printable[: width - 3]}..."
