"""The real roll-up, `python -m rollup`, on the demo's database: its rights, the metrics' past, its process."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.database import EXPORTER_ROLE, GRAFANA_ROLE, ROLLUP_ROLE
from demo.exporting import PROJECT
from demo.past import read_past
from rollup.openmetrics import render
from servers.child import Child

EVERY = "1m"
LONGEST_BLOCK = "256h"
"""promtool reads the whole file once per block, and makes blocks of two hours by default: 720 of them for 60 days."""


class Rollup(Child):
    """The roll-up, every minute by default; its log is roll-up.log in the directory."""

    name = "Roll-up"

    def __init__(self, directory: Path, *, owner_url: str, variables: Mapping[str, str], every: str = EVERY) -> None:
        """`owner_url` is the connection of a role that may create the table; `variables` are the roll-up's settings."""
        super().__init__(directory)
        self._every = every
        self.working_directory = self.directory  # outside any directory with a .env
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
        self.environment = {**inherited, "PYTHONPATH": str(PROJECT), **variables}
        self._owner = {**inherited, "PYTHONPATH": str(PROJECT), "HIVESYNC_ROLLUP_DATABASE_URL": owner_url}

    @property
    def url(self) -> str:
        """The destination of its rows, since it has no address of its own."""
        return "usage_analytics_daily"

    def grant_rights(self) -> None:
        """Grant the three roles their rights on the tables, as the owner."""
        roles = {"exporter": EXPORTER_ROLE, "rollup": ROLLUP_ROLE, "grafana": GRAFANA_ROLE}
        self._run_as_owner("--migrate", "--grant", *(f"{kind}={role}" for kind, role in roles.items()))

    def prepare(self) -> None:
        """Write all days before the process starts."""
        self.run(_ROLLUP)

    def make_blocks(self, data: Path) -> None:
        """Write the metrics' past as blocks into the data directory of a Prometheus that has not been started yet: the
        roll-up's, and that of metrics without rows."""
        promtool = shutil.which("promtool")
        if promtool is None:
            return
        past = self.directory / "past.openmetrics"
        create = ["tsdb", "create-blocks-from", f"--max-block-duration={LONGEST_BLOCK}", "openmetrics"]
        self._run_as_owner("--history", str(past))  # the roll-up's own role may not read users' plans
        self.run([str(Path(promtool).absolute()), *create, str(past), str(data)])
        past.write_bytes(render(read_past(self._owner["HIVESYNC_ROLLUP_DATABASE_URL"])))
        self.run([str(Path(promtool).absolute()), *create, str(past), str(data)])
        past.unlink()

    def _run_as_owner(self, *arguments: str) -> None:
        own, self.environment = self.environment, self._owner
        try:
            self.run([*_ROLLUP, *arguments])
        finally:
            self.environment = own

    def command(self) -> Sequence[str]:
        return [*_ROLLUP, "--every", self._every]

    def is_ready(self) -> bool:
        return self.is_alive


_ROLLUP = [sys.executable, "-m", "rollup"]
