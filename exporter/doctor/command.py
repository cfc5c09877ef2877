"""The command `doctor`: every check of an installation, printed as a table or as JSON."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.collector import Collector
from exporter.collectors import build_collectors
from exporter.doctor import printing, subjects
from exporter.doctor.findings import Verdict
from exporter.doctor.installation import Installation
from exporter.doctor.run import examine
from exporter.running import open_sources
from exporter.settings import Settings
from exporter.state import StateFile
from exporter.web_config.port import PortConfig


async def examine_all(
    settings: Settings,
    env_file: Path | None,
    ports: Mapping[str, PortConfig | None],
    *,
    token: str | None,
    public_url: str | None,
    as_json: bool,
) -> bool:
    """Print the findings of every check. Return whether none is wrong."""
    with tempfile.TemporaryDirectory() as scratch:

        def build() -> Sequence[Collector]:
            return build_collectors(settings, lambda name: StateFile(Path(scratch), name))

        async with open_sources(settings) as sources:
            installation = Installation(settings, sources, build, env_file, token, public_url, ports=ports)
            findings = await examine(installation, subjects.SUBJECTS)
    if as_json:
        print(printing.as_json(findings))
    else:
        print(printing.as_table(findings, colour=printing.wants_colour(sys.stdout, os.environ)))
    return printing.worst(findings) is not Verdict.WRONG
