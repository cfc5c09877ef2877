"""Prometheus, where it is installed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from servers.child import Child, ChildError
from servers.fetch import is_ready
from servers.ports import LOOPBACK, free_port


class PrometheusServer(Child):
    """Prometheus from the PATH, with the given `host:port` targets or with a configuration file."""

    name = "Prometheus"

    def __init__(
        self,
        directory: Path,
        targets: Sequence[str] = (),
        scrape_interval: str = "5s",
        retention: str = "1d",
        port: int | None = None,
        configuration: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """`configuration` is a file that replaces targets and interval; `options` are appended to the command."""
        super().__init__(directory)
        self.port = port or free_port()
        self._given = configuration
        self._options = tuple(options)
        self._targets = tuple(targets)
        self._scrape_interval = scrape_interval
        self._retention = retention

    @staticmethod
    def is_installed() -> bool:
        """Return whether Prometheus is installed."""
        return shutil.which("prometheus") is not None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def data(self) -> Path:
        """Directory of its blocks."""
        return self.directory / "data"

    def prepare(self) -> None:
        """Write the configuration, unless one is given."""
        if self._given is not None:
            return
        interval, targets = self._scrape_interval, ", ".join(f"'{target}'" for target in self._targets)
        self._configuration().write_text(
            f"global: {{scrape_interval: {interval}, evaluation_interval: {interval}}}\n"
            f"scrape_configs:\n  - job_name: hivesync\n    static_configs: [{{targets: [{targets}]}}]\n"
        )

    def command(self) -> Sequence[str]:
        binary = shutil.which("prometheus")
        if binary is None:
            raise ChildError("Prometheus is not installed (on Debian: apt-get install prometheus)")
        return [
            str(Path(binary).absolute()),
            f"--config.file={self._configuration()}",
            f"--storage.tsdb.path={self.data}",
            f"--storage.tsdb.retention.time={self._retention}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            *self._options,
        ]

    def is_ready(self) -> bool:
        return is_ready(self.url)

    def _configuration(self) -> Path:
        return self._given or self.directory / "prometheus.yml"
