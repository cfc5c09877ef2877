"""The checks of all subjects, run side by side and within limits.

A check that fails is a finding: of the source that does not answer, with the remedy, or of the check itself. Its error
text may contain data and is not shown.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from exporter import disk
from exporter.doctor.findings import Check, Finding, Findings, Verdict, look, wrong
from exporter.doctor.installation import Installation
from exporter.doctor.remedies import remedy
from exporter.errors import CollectionFailed, SettingsError, SourceUnavailable

TOTAL_SECONDS = 9.0
"""The time limit of all checks together: with the start of the process, the command ends within ten seconds."""


@dataclass(frozen=True, slots=True)
class CheckGroup:
    """A subject: its checks, in their order, and the source without which they are left out."""

    name: str
    checks: tuple[Check, ...]
    source: str = ""


async def examine(
    installation: Installation, subjects: Sequence[CheckGroup], *, cheap: bool = False, seconds: float = TOTAL_SECONDS
) -> list[Finding]:
    """Return the findings of all subjects, or of their cheap checks, in the order of the subjects.

    Raises SettingsError for settings with which the service cannot start.
    """
    end = asyncio.get_running_loop().time() + seconds
    read = installation.sources_read
    chosen = [
        replace(subject, checks=tuple(each for each in subject.checks if each.cheap or not cheap))
        for subject in subjects
        if not subject.source or subject.source in read
    ]
    found = await asyncio.gather(*(_examine(installation, subject, end) for subject in chosen))
    return [finding for findings in found for finding in findings]


async def _examine(installation: Installation, subject: CheckGroup, end: float) -> list[Finding]:
    findings: list[Finding] = []
    for check in subject.checks:
        found = await _run(check, installation, end)
        findings += [
            replace(each, check=check.name, found=_printable(each.found), mend=_printable(each.mend)) for each in found
        ]
        if check.gate and any(each.verdict is Verdict.WRONG for each in found):
            break
    return findings


async def _run(check: Check, installation: Installation, end: float) -> list[Finding]:
    limit = min(check.seconds, max(0.0, end - asyncio.get_running_loop().time()))
    try:
        async with asyncio.timeout(limit):
            if inspect.iscoroutinefunction(check.run):
                found = await check.run(installation)
            else:
                found = await disk.run(lambda: list(cast("Findings", check.run(installation))))
            return list(found)
    except SettingsError:
        raise
    except TimeoutError:
        return [look(f"not finished within {limit:.1f} s", "run the doctor again while the machine is less busy")]
    except (SourceUnavailable, CollectionFailed) as error:
        return [wrong(str(error), remedy(error.source, error.kind))]
    except Exception as error:  # noqa: BLE001 - a check that fails is a finding, and the other checks are made
        return [wrong(f"the check itself failed: {type(error).__name__} at {_place(error)}", "report this line")]


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "an unknown place" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _printable(text: str) -> str:
    """Return the text without control characters, which a terminal would obey."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)
