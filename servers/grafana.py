"""Grafana from the PATH with the contents of `grafana/`: its variables, its provisioning, its dashboards.

    prometheus, PostgreSQL  ->  Grafana (this)  ->  the exporter's Analytics section, which passes it through

As in an installation, the Analytics section is the only way in, so `url` is the address there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

from presentation.panels import GRAFANA_PATH
from servers.child import Child, ChildError
from servers.fetch import fetch
from servers.ports import LOOPBACK, free_port

SHIPPED = Path(__file__).parents[1] / "grafana"
DEFAULTS = Path("conf") / "defaults.ini"
"""The file that identifies Grafana's home directory: Grafana does not start without it."""


class GrafanaServer(Child):
    """Grafana, with its database, logs and plugins in the directory."""

    name = "Grafana"
    start_seconds = 180  # the first start creates its database, table by table

    def __init__(
        self,
        directory: Path,
        *,
        analytics: str,
        prometheus_url: str,
        database_address: str,
        database: str,
        user: str,
        password: str,
        port: int | None = None,
    ) -> None:
        """`analytics` is the origin of the Analytics section; the database is PostgreSQL's, at `host:port`."""
        super().__init__(directory)
        self.port = port or free_port()
        self._analytics = analytics.rstrip("/")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GF_")}
        self.environment = {
            **inherited,
            **shipped_variables(),
            "GF_SERVER_ROOT_URL": self.url,
            "GF_SERVER_HTTP_ADDR": LOOPBACK,
            "GF_SERVER_HTTP_PORT": str(self.port),
            "GF_AUTH_PROXY_WHITELIST": LOOPBACK,
            "GF_PATHS_DATA": str(self.directory / "data"),
            "GF_PATHS_LOGS": str(self.directory / "logs"),
            "GF_PATHS_PLUGINS": str(self.directory / "plugins"),
            "GF_PATHS_PROVISIONING": str(SHIPPED / "provisioning"),
            "GF_LOG_MODE": "console",
            "GF_HIVESYNC_DASHBOARDS": str(SHIPPED / "generated"),
            "GF_HIVESYNC_PROMETHEUS_URL": prometheus_url,
            "GF_HIVESYNC_DB_ADDRESS": database_address,
            "GF_HIVESYNC_DB_NAME": database,
            "GF_HIVESYNC_DB_USER": user,
            "GF_HIVESYNC_DB_PASSWORD": password,
            "GF_HIVESYNC_DB_SSLMODE": "disable",
        }

    @staticmethod
    def binary() -> str | None:
        """Return the path of the program, under its name or that of older packages; None when it is not installed."""
        return shutil.which("grafana") or shutil.which("grafana-server")

    @classmethod
    def is_installed(cls) -> bool:
        """Return whether Grafana is installed."""
        return cls.binary() is not None

    @property
    def origin(self) -> str:
        """Address for the Analytics section."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """Address for people: in the Analytics section."""
        return f"{self._analytics}{GRAFANA_PATH}"

    def command(self) -> Sequence[str]:
        binary = self.binary()
        if binary is None:
            raise ChildError("Grafana is not installed")
        path = Path(binary).absolute()
        words = [str(path), *(["server"] if path.name == "grafana" else [])]
        home = home_of(path)
        return [*words, *([f"--homepath={home}"] if home else [])]

    def is_ready(self) -> bool:
        try:
            return fetch(f"{self.origin}{GRAFANA_PATH}api/health")[0] == 200
        except (OSError, HTTPException):
            return False


def home_of(binary: Path) -> Path | None:
    """Return the home directory of this Grafana: beside an unpacked archive's `bin`, or in a package's place. None when
    there is no such directory: Grafana itself may then know it."""
    beside = binary.resolve().parents[1]
    candidates = (beside, beside / "share" / "grafana", Path("/usr/share/grafana"))
    return next((home for home in candidates if (home / DEFAULTS).is_file()), None)


def shipped_variables() -> Mapping[str, str]:
    """Return the variables in grafana.env."""
    lines = (SHIPPED / "grafana.env").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}
