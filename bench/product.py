"""The product as in production: `python -m exporter` with its environment, watched through `/metrics` and `verify`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse

from bench.command import run
from bench.measure import NotMeasured
from demo.exporting import Exporter, exporter_variables
from exporter.collectors.charts import Charts
from exporter.collectors.incidents import Incidents
from exporter.collectors.top_users import TopUsers
from servers.fetch import fetch

REFRESH_SECONDS = 15
FIRST_PASS_SECONDS = 600.0
VERIFY_SECONDS = 900.0
POLL_SECONDS = 0.03

Samples = dict[str, float]
"""Values by `name{label="value",...}`, labels in alphabetical order."""

NEEDS_NO_HISTORY = (
    "hivesync_users",
    "hivesync_projects",
    "hivesync_online_users",
    "hivesync_online_devices",
    "hivesync_queue_depth",
    "hivesync_worker_healthy",
    "hivesync_gpu_worker_state",
    "hivesync_log_lines_total",
    "hivesync_log_unread_bytes",
    "hivesync_source_up",
)
"""Metrics without a window, available soon after the start."""


class Product(Exporter):
    """The exporter with an empty state directory of its own; ready at its first answer."""

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str,
        redis_url: str,
        logs: Path | None = None,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        """`logs` is the directory of the log files; by default a directory of its own with two empty files."""
        directory.mkdir(parents=True, exist_ok=True)
        logs = logs or directory / "logs"
        logs.mkdir(exist_ok=True)
        for name in ("ai-events.log", "preview.log"):
            (logs / name).touch()
        variables = exporter_variables(directory, database_url=database_url, redis_url=redis_url, log_directory=logs)
        super().__init__(directory, variables | {"HIVESYNC_REFRESH_SECONDS": str(refresh_seconds)})

    def is_ready(self) -> bool:
        try:
            return fetch(f"{self.url}/metrics")[0] == 200
        except (OSError, HTTPException):
            return False

    def samples(self) -> Samples:
        """Return the present samples of `/metrics`."""
        values = {}
        for family in parse(self.metrics()):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return values

    def wait_for(self, condition: Callable[[Samples], object], what: str, within: float) -> Samples:
        """Wait for a condition and return the samples that meet it. Raises NotMeasured when there are none in time
        (seconds)."""
        deadline = time.monotonic() + within
        while not condition(samples := self.samples()):
            if time.monotonic() > deadline:
                raise NotMeasured(f"not within {within:g} s: {what}")
            time.sleep(POLL_SECONDS)
        return samples

    def wait_for_page(self) -> None:
        """Wait until the Analytics section, which is loaded beside the first pass, answers too. Raises NotMeasured."""
        deadline = time.monotonic() + FIRST_PASS_SECONDS
        while True:
            with suppress(OSError, HTTPException):
                fetch(self.page)
                return
            if time.monotonic() > deadline:
                raise NotMeasured("the Analytics section does not answer")
            time.sleep(POLL_SECONDS)

    def verify(self) -> str:
        """Return the differences that `python -m exporter verify` finds in the windows of this process; empty if
        none."""
        ended = run(
            [sys.executable, "-m", "exporter", "verify"],
            within=VERIFY_SECONDS,
            environment=self.environment,
            ok=(0, 1, 2),
        )
        if not self.is_alive:
            return "the exporter has ended"  # verify would then read windows of its own
        return "" if ended.returncode == 0 else f"{ended.stdout}\n{ended.stderr}".strip()


FOR_THE_PAGE = (Charts.name, Incidents.name, TopUsers.name)
"""Collectors without metrics."""


def all_up(samples: Samples) -> bool:
    """Return whether every collector has refreshed and is up."""
    up = [value for name, value in samples.items() if name.startswith("hivesync_collector_up{")]
    tried = [name for name in samples if name.startswith("hivesync_refresh_failures_total{")]
    return bool(up) and len(up) == len(tried) and all(up)


def all_metrics(samples: Samples) -> bool:
    """Return whether every collector with metrics is up; the collectors of the Analytics page may follow later."""
    up = {name for name, value in samples.items() if name.startswith("hivesync_collector_up{") and value}
    tried = {name for name in samples if name.startswith("hivesync_refresh_failures_total{")}
    makes_metrics = [name for name in tried if not any(f'"{other}"' in name for other in FOR_THE_PAGE)]
    wanted = {name.replace("hivesync_refresh_failures_total", "hivesync_collector_up") for name in makes_metrics}
    return bool(wanted) and wanted <= up


def all_immediate(samples: Samples) -> bool:
    """Return whether all metrics that need no history are present."""
    there = {name.partition("{")[0] for name in samples}
    return there.issuperset(NEEDS_NO_HISTORY)


def refreshes(samples: Samples) -> dict[str, float]:
    """Return the number of refreshes of each collector."""
    name = "hivesync_refresh_duration_seconds_count"
    return {key.removeprefix(name): value for key, value in samples.items() if key.startswith(name)}
