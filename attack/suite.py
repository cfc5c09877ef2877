"""Runs the attacks: those that wait for a limit in threads beside the others, the flood alone at the end.

target, classes -> suite (this) -> report
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from attack.classes import ATTACKS, flood
from attack.findings import Attack, Finding, Verdict, judged
from attack.target import Instance
from attack.wire import BoundReachedError

THREADS = 32
"""At least the attacks that wait, so that their waits are one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An attack and its finding."""

    attack: Attack
    finding: Finding


def chosen(*, quick: bool = False, subjects: Iterable[str] = ()) -> Sequence[Attack]:
    """The attacks of these subjects (all by default); `quick`: without those that wait for a limit in time."""
    only = set(subjects)
    return [one for one in ATTACKS if not (quick and one.waits) and (not only or one.subject in only)]


def subjects() -> Sequence[str]:
    """The subjects in their order."""
    return list(dict.fromkeys(attack.subject for attack in ATTACKS))


def run(
    target: Instance, attacks: Sequence[Attack], note: Callable[[Outcome], None] = lambda _: None
) -> Sequence[Outcome]:
    """Run them, and note each row when it is known; the rows in the attacks' order."""
    found: dict[int, Outcome] = {}

    def keep(number: int, finding: Finding) -> None:
        found[number] = Outcome(attacks[number], finding)
        note(found[number])

    last = [number for number, attack in enumerate(attacks) if attack.subject == flood.SUBJECT]
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: dict[int, Future[Finding]] = {
            number: pool.submit(_run, attack, target) for number, attack in enumerate(attacks) if attack.waits
        }
        for number, attack in enumerate(attacks):
            if number not in waiting and number not in last:
                keep(number, _run(attack, target))
        for number, future in waiting.items():
            keep(number, future.result())
    for number in last:
        keep(number, _run(attacks[number], target))
    return [found[number] for number in range(len(attacks))]


def is_held(rows: Iterable[Outcome]) -> bool:
    """Whether nothing was not held."""
    return all(row.finding.verdict is not Verdict.NOT_HELD for row in rows)


def _run(attack: Attack, target: Instance) -> Finding:
    """An attack that ends without a verdict was not held: the instance does not answer, or takes too long."""
    try:
        return attack.run(target)
    except BoundReachedError as error:
        return judged(False, str(error))
    except (OSError, ValueError) as error:
        return judged(False, f"no verdict: {type(error).__name__}")
