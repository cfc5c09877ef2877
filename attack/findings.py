"""Attacks and their verdicts.

classes/ make attacks -> suite runs them -> findings (this) -> report
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from attack.target import Instance
from attack.wire import Reply


class Verdict(StrEnum):
    """The outcome of an attack."""

    HELD = "held"
    NOT_HELD = "NOT HELD"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict; `answer`: the answer of the instance, or the reason for which the attack does not apply."""

    verdict: Verdict
    answer: str


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack. `waits`: it takes the time of a limit, and is run beside the others."""

    subject: str
    name: str
    run: Callable[[Instance], Finding]
    waits: bool = False


def judged(is_held: bool, answer: str) -> Finding:
    """Held or not."""
    return Finding(Verdict.HELD if is_held else Verdict.NOT_HELD, answer)


def not_applicable(reason: str) -> Finding:
    """No verdict, for this reason."""
    return Finding(Verdict.NOT_APPLICABLE, reason)


def shown(answer: Reply | None) -> str:
    """A response in a few characters."""
    return "no response" if answer is None else str(answer.status)


def refused(answer: Reply | None, statuses: Collection[int]) -> Finding:
    """Held if it is a refusal with one of these statuses."""
    return judged(answer is not None and answer.status in statuses, shown(answer))
