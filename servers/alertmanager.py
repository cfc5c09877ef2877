"""Alertmanager, where it is installed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from servers.child import Child, ChildError
from servers.fetch import is_ready
from servers.ports import LOOPBACK, free_port


class AlertmanagerServer(Child):
    """Alertmanager from the PATH, without a cluster and with the given configuration file."""

    name = "Alertmanager"

    def __init__(self, directory: Path, configuration: Path, port: int | None = None) -> None:
        super().__init__(directory)
        self.port = port or free_port()
        self._configuration = configuration

    @staticmethod
    def binary() -> str | None:
        """Return the path of the program, under Debian's name or its own; None when it is not installed."""
        return shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

    @classmethod
    def is_installed(cls) -> bool:
        """Return whether Alertmanager is installed."""
        return cls.binary() is not None

    @property
    def address(self) -> str:
        """`host:port`, for Prometheus' configuration."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def command(self) -> Sequence[str]:
        binary = self.binary()
        if binary is None:
            raise ChildError("Alertmanager is not installed (on Debian: apt-get install prometheus-alertmanager)")
        return [
            str(Path(binary).absolute()),
            f"--config.file={self._configuration}",
            f"--storage.path={self.directory / 'data'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]

    def is_ready(self) -> bool:
        return is_ready(self.url)
