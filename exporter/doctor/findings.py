"""Findings and checks: the two concepts of the doctor.

    a check (a function beside its subject) -> findings -> run.py (limits, failures) -> printing.py, or events

A finding has the exact mend: a statement, a line of a configuration file, or a setting, ready to be pasted.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.doctor.installation import Installation

SECONDS = 2.0
"""The time limit of a check without a limit of its own."""

_ORDINARY = re.compile(r"[A-Za-z0-9 ._:/{}*?\-]{1,60}")


class Verdict(StrEnum):
    """`ok`; `look`: possibly intended; `wrong`: a number is missing or wrong, or a door is open."""

    OK = "ok"
    LOOK = "look"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check: `check` is its name (`postgres.version`), `mend` is empty where nothing is to be done."""

    check: str
    verdict: Verdict
    found: str
    mend: str = ""


Findings = Iterable[Finding]
Run = Callable[["Installation"], "Findings | Awaitable[Findings]"]
"""The function of a check. An ordinary function may block: it is run in a thread."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check. After a `gate` that finds something wrong, the further checks of its subject are left out. A `cheap`
    check is also made at the start of the service."""

    name: str
    run: Run
    seconds: float
    gate: bool
    cheap: bool

    @property
    def meaning(self) -> str:
        """Its description, for the documentation."""
        return " ".join((self.run.__doc__ or "").split())


def check(name: str, *, seconds: float = SECONDS, gate: bool = False, cheap: bool = False) -> Callable[[Run], Check]:
    """Make a check of a function."""
    return lambda run: Check(name, run, seconds, gate, cheap)


def ok(found: str) -> Finding:
    """Return a finding without a mend; the name of its check is added when it is run."""
    return Finding("", Verdict.OK, found)


def look(found: str, mend: str) -> Finding:
    """Return a finding that may be intended."""
    return Finding("", Verdict.LOOK, found, mend)


def wrong(found: str, mend: str) -> Finding:
    """Return a finding that is never intended."""
    return Finding("", Verdict.WRONG, found, mend)


def word(text: str) -> str:
    """Return a word found in a source in a printable form; its length alone where it may be more than a word: an
    address, a name, a payload."""
    return text if _ORDINARY.fullmatch(text) else f"(text of {len(text)} characters)"


def listed(words: Iterable[str], most: int = 12) -> str:
    """Return words separated by commas, the first ones of many."""
    every = list(words)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
