"""A single VictoriaMetrics server as a child process: long-term storage with Prometheus' query API."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from servers.child import Child, ChildError
from servers.fetch import fetch
from servers.ports import LOOPBACK, free_port


class VictoriaMetricsServer(Child):
    """A server from the PATH; scrapes by the given Prometheus configuration, if any."""

    name = "VictoriaMetrics"

    def __init__(self, directory: Path, configuration: Path | None = None) -> None:
        super().__init__(directory)
        self.port = free_port()
        self._configuration = configuration

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        binary = shutil.which("victoria-metrics")
        if binary is None:
            raise ChildError("VictoriaMetrics is not installed (on Debian: apt-get install victoria-metrics)")
        scraping = [f"-promscrape.config={self._configuration}", "-promscrape.config.strictParse=false"]
        return [
            str(Path(binary).absolute()),
            f"-httpListenAddr={LOOPBACK}:{self.port}",
            f"-storageDataPath={self.directory / 'data'}",
            "-search.latencyOffset=0s",  # samples are visible at once
            "-search.disableCache",
            *(scraping if self._configuration else ()),
        ]

    def is_ready(self) -> bool:
        try:
            return fetch(f"{self.url}/health")[0] == 200
        except (OSError, HTTPException):
            return False
