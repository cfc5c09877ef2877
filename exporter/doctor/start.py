"""The cheap checks of the settings and of PostgreSQL, made once after the start of the service.

They are made after the first pass of all collectors, so that no value is later for them. A check that cannot be made,
as PostgreSQL is down, is left out: the source's own event names the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from exporter.collector import Collector, Sources
from exporter.doctor import columns, configuration, postgres, rights
from exporter.doctor.findings import Verdict
from exporter.doctor.installation import Installation
from exporter.doctor.run import CheckGroup, examine
from exporter.settings import Settings
from exporter.sources.postgres import Postgres

SUBJECTS = (
    CheckGroup("settings", configuration.CHECKS),
    CheckGroup("postgres", (*postgres.CHECKS, *rights.CHECKS, *columns.CHECKS), Postgres.name),
)

SECONDS = 5.0
_log = structlog.get_logger()


async def report(
    settings: Settings, sources: Sources, collectors: Callable[[], Sequence[Collector]], env_file: Path | None
) -> None:
    """Log each wrong finding of the cheap checks."""
    installation = Installation(settings, sources, collectors, env_file)
    for finding in await examine(installation, SUBJECTS, cheap=True, seconds=SECONDS):
        if finding.verdict is Verdict.WRONG and finding.check != "postgres.reachable":
            _log.warning("doctor.found", check=finding.check, found=finding.found, mend=finding.mend)
