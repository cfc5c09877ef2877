"""A deliberate fault, and the doctor's finding of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from exporter.doctor.findings import Verdict
from tests.exporter.doctor.house import House

LOOK, WRONG = Verdict.LOOK, Verdict.WRONG


@dataclass(frozen=True)
class Fault:
    """A fault: `harm` makes it; `check` alone finds it, with a mend that contains `mend`. With `mends`, the mend as
    written makes it good."""

    name: str
    harm: Callable[[House], object]
    check: str
    verdict: Verdict
    mend: str
    mends: bool = True
    also: str = ""
    """A second check that finds the same."""


def sql(statements: str) -> Callable[[House], object]:
    """Harm by statements, `{role}` for the exporter's role."""
    return lambda house: house.sql(statements.replace("{role}", house.role))


def env(**settings: str) -> Callable[[House], object]:
    """Harm by settings."""
    return lambda house: house.env.update({f"HIVESYNC_{name.upper()}": value for name, value in settings.items()})


def every(*harms: Callable[[House], object]) -> Callable[[House], object]:
    """Harm by several."""
    return lambda house: [harm(house) for harm in harms]


def parametrised(faults: Sequence[Fault]) -> pytest.MarkDecorator:
    """The decorator of a test of each fault."""
    return pytest.mark.parametrize("fault", faults, ids=lambda fault: fault.name.replace(" ", "-"))


def check(house: House, fault: Fault, *subjects: str) -> None:
    """Make the fault; assert the findings of its one check, with its mend, and no others in these subjects; and the
    mend's effect, if it can be carried out here."""
    fault.harm(house)
    found = house.new_findings(*subjects)
    verdicts = {(each.check, each.verdict) for each in found if each.check != fault.also}
    assert verdicts == {(fault.check, fault.verdict)}, found
    mend = fault.mend.replace("{role}", house.role)
    assert any(mend in each.mend for each in found), found
    if fault.mends:
        for each in found:
            house.apply(each.mend)
        assert house.new_findings("settings", house.subject_of(fault.check)) == []
