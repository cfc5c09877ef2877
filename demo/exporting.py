"""The real exporter, `python -m exporter`, on the demo's servers: its variables, its prices, its process."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

from exporter.control import ask_for_login_link
from servers.child import Child, ChildError
from servers.fetch import fetch
from servers.ports import LOOPBACK, free_port
from servers.private import private_file

PROJECT = Path(__file__).parents[1]
METRICS_PORT = 10177
ADMIN_PORT = 10178
REFRESH_SECONDS = 5

PRICES = """\
# Dollars per million tokens. The local model costs GPU hours only, and so has no price here.
[models."gpt-4.1"]
prompt = 2.0
completion = 8.0

[models."gpt-4.1-mini"]
prompt = 0.4
completion = 1.6

# Dollars per hour.
[instances."g5.xlarge"]
spot = 0.45
on-demand = 1.006

[instances."g6.xlarge"]
spot = 0.36
on-demand = 0.805
"""


def exporter_variables(
    directory: Path,
    *,
    database_url: str,
    redis_url: str,
    log_directory: Path,
    rollup_url: str = "",
    prometheus_url: str = "",
    grafana_url: str = "",
    others: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the settings of the exporter and the roll-up, and write them and the prices into the directory. `others`
    replace or add settings."""
    prices = directory / "prices.toml"
    prices.write_text(PRICES)
    variables = {
        "HIVESYNC_DATABASE_URL": database_url,
        "HIVESYNC_ROLLUP_DATABASE_URL": rollup_url,
        "HIVESYNC_REDIS_URL": redis_url,
        "HIVESYNC_PROMETHEUS_URL": prometheus_url,
        "HIVESYNC_GRAFANA_URL": grafana_url,
        "HIVESYNC_AI_EVENTS_LOG": str(log_directory / "ai-events.log"),
        "HIVESYNC_PREVIEW_LOG": str(log_directory / "preview.log"),
        "HIVESYNC_STATE_DIR": str(directory / "state"),
        "HIVESYNC_METRICS_LISTEN": f"{LOOPBACK}:{free_port(METRICS_PORT)}",
        "HIVESYNC_ADMIN_LISTEN": f"{LOOPBACK}:{free_port(ADMIN_PORT)}",
        "HIVESYNC_ADMIN_API_KEY": secrets.token_urlsafe(32),
        "HIVESYNC_PRICES_FILE": str(prices),
        "HIVESYNC_AI_QUEUE_KEYS": "ai_queue:default,ai_queue:*",
        "HIVESYNC_PREVIEW_QUEUE_KEYS": "preview_queue:default,preview_queue:*",
        "HIVESYNC_REFRESH_SECONDS": str(REFRESH_SECONDS),
        **(others or {}),
    }
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    private_file(environment_file(directory), "".join(lines))
    return variables


def environment_file(directory: Path) -> Path:
    """Return the file of the variables, for `python -m exporter --env-file`."""
    return directory / "exporter.env"


class Exporter(Child):
    """The exporter; its log is exporter.log in the directory."""

    name = "Exporter"

    def __init__(self, directory: Path, variables: Mapping[str, str]) -> None:
        super().__init__(directory)
        self.address = variables["HIVESYNC_METRICS_LISTEN"]
        self._admin_address = variables["HIVESYNC_ADMIN_LISTEN"]
        self._state_directory = Path(variables["HIVESYNC_STATE_DIR"])
        self.working_directory = self.directory  # outside any directory with a .env
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
        self.environment = {**inherited, "PYTHONPATH": str(PROJECT), **variables}

    @property
    def url(self) -> str:
        """Port of the metrics."""
        return f"http://{self.address}"

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "exporter"]

    def is_ready(self) -> bool:
        try:
            return fetch(f"{self.url}/-/ready")[0] == 200
        except (OSError, HTTPException):
            return False

    @property
    def page(self) -> str:
        """URL of the Analytics page."""
        return f"http://{self._admin_address}/admin/analytics/"

    def login_link(self) -> str:
        """Return a link that logs in to the page, once. Raises ChildError when the exporter gives none."""
        link = asyncio.run(ask_for_login_link(self._state_directory))
        if link is None:
            raise ChildError("The exporter gives no login link")
        return link

    def metrics(self) -> str:
        """Return the present answer of /metrics. Raises OSError or HTTPException when there is no answer."""
        return fetch(f"{self.url}/metrics")[1]
