"""The cheap checks of the settings and of PostgreSQL, made once after the start of the service.

They begin after the first pass of all collectors, so that no value is later for them. A check that cannot be made, as
PostgreSQL is down, is left out: the source's own event names the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from exporter.doctor import columns, configuration, postgres, rights
from exporter.doctor.findings import Verdict
from exporter.doctor.installation import Installation
from exporter.doctor.run import CheckGroup, examine
from exporter.sources.postgres import Postgres

SUBJECTS = (
    CheckGroup("settings", configuration.CHECKS),
    CheckGroup("postgres", (*postgres.CHECKS, *rights.CHECKS, *columns.CHECKS), Postgres.name),
)

SECONDS = 5.0
LOOK_SECONDS = 0.2

_log = structlog.get_logger()


async def report(installation: Installation, is_ready: Callable[[], bool]) -> None:
    """Log each wrong finding of the cheap checks, once `is_ready`."""
    while not is_ready():  # noqa: ASYNC110 - readiness is a property of the snapshot
        await asyncio.sleep(LOOK_SECONDS)
    for finding in await examine(installation, SUBJECTS, cheap=True, seconds=SECONDS):
        if finding.verdict is Verdict.WRONG and finding.check != "postgres.reachable":
            _log.warning("doctor.found", check=finding.check, found=finding.found, mend=finding.mend)
