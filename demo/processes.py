"""The processes of the demo, started in order and stopped in reverse.

A process that is ended by hand, other than the traffic and the exporter, is started again after a while: so the
exporter's reaction to a failure can be seen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from demo.alerts import listening
from demo.console import Console
from demo.database import DATABASE, EXPORTER_ROLE, GRAFANA_ROLE, ROLLUP_ROLE, create_database, fill_database
from demo.exporting import Exporter, exporter_variables
from demo.monitoring import fit
from demo.rolling_up import Rollup
from demo.traffic import Traffic
from servers.alertmanager import AlertmanagerServer
from servers.child import Child, ChildError
from servers.grafana import GrafanaServer
from servers.ports import LOOPBACK, free_port
from servers.postgres import PostgresServer
from servers.prometheus import PrometheusServer
from servers.valkey import ValkeyServer

AWAY_SECONDS = 15.0
PROMETHEUS_PORT = 9090
ALERTMANAGER_PORT = 9093
GRAFANA_PORT = 3000


class Processes:
    """The servers, the traffic and the exporter of one demo, in one directory."""

    database: str
    exporter: Exporter
    traffic: Traffic

    def __init__(self, directory: Path, console: Console) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self.logs = directory / "logs"
        self.postgres = PostgresServer(directory / "postgresql")
        self.children: list[Child] = []  # all processes, in the order of their start
        self._console = console
        self._running = ExitStack()
        self._missing_since: dict[Child, float] = {}

    def start(
        self, *, users: int, days: int, seed: int, speed: float, settings: Mapping[str, str] | None = None
    ) -> None:
        """Start everything; with a Grafana in `settings`, the exporter's further ones, no other is started. Raises
        ChildError when a process does not start."""
        step = self._console.step
        postgres = self.postgres
        valkey = ValkeyServer(self.directory / "valkey")
        with step(postgres.name, "a new server"):
            self._run(postgres)
        with step(valkey.name, "a new server"):
            self._run(valkey)
        with step("History", f"{users} made-up users, {days} days back") as results:
            self.database = create_database(postgres)
            rows = fill_database(self.database, users=users, days=days, seed=seed)
            results.append(f"{rows:,} rows")
        prometheus_port = free_port(PROMETHEUS_PORT) if PrometheusServer.is_installed() else None
        has_grafana = "HIVESYNC_GRAFANA_URL" in (settings or {})
        grafana_port = free_port(GRAFANA_PORT) if GrafanaServer.is_installed() and not has_grafana else None
        variables = exporter_variables(
            self.directory,
            database_url=postgres.url_of(DATABASE, EXPORTER_ROLE),
            rollup_url=postgres.url_of(DATABASE, ROLLUP_ROLE),
            redis_url=valkey.url,
            prometheus_url=_origin(prometheus_port),
            grafana_url=_origin(grafana_port),
            log_directory=self.logs,
            others=settings,
        )
        self.exporter = Exporter(self.directory, variables)
        rollup = Rollup(self.directory, owner_url=self.database, variables=variables)
        if prometheus_port:
            self._start_prometheus(rollup, prometheus_port, retention=f"{days + 30}d")
        else:
            self._console.say("Prometheus   not installed (on Debian: apt-get install prometheus)")
        with step(rollup.name, "python -m rollup: every day there is, then again every minute"):
            rollup.grant_rights()
            self._run(rollup)
        with step("Traffic", f"made up as it goes, at speed {speed:g}"):
            self.traffic = Traffic(self.database, valkey.url, self.logs, seed=seed, speed=speed, note=self._console.say)
            self._running.callback(self.traffic.stop)
            self.traffic.start()
        with step(Exporter.name, "python -m exporter, and its first pass over the history"):
            self._run(self.exporter)
        if grafana_port:
            grafana = GrafanaServer(
                self.directory / "grafana",
                analytics=f"http://{variables['HIVESYNC_ADMIN_LISTEN']}",
                prometheus_url=_origin(prometheus_port),
                database_address=f"{LOOPBACK}:{postgres.port}",
                database=DATABASE,
                user=GRAFANA_ROLE,
                password=postgres.password,
                port=grafana_port,
            )
            with step(grafana.name, "a new server, with the dashboards that ship"):
                self._run(grafana)
        elif not has_grafana:
            self._console.say("Grafana      not installed: the Analytics page draws its charts without it")

    def stop(self) -> None:
        """Stop all processes, the last one first."""
        self._running.close()

    def watch(self) -> None:
        """Restart ended processes; called now and then. Raises ChildError when the traffic or the exporter has
        ended."""
        if not self.traffic.is_alive:
            raise ChildError("The traffic ended; what happened to it stands above")
        for child in self.children:
            if child.is_alive:
                self._missing_since.pop(child, None)
            elif isinstance(child, Exporter):
                raise child.failure("The exporter ended")
            elif child not in self._missing_since:
                self._missing_since[child] = time.monotonic()
                self._console.say(f"{child.name} has ended; it comes back in {AWAY_SECONDS:.0f} s")
            elif time.monotonic() - self._missing_since[child] >= AWAY_SECONDS:
                child.start()
                self._console.say(f"{child.name} is back")

    def _start_prometheus(self, rollup: Rollup, port: int, retention: str) -> None:
        """Start Prometheus with the shipped rules and, where it is installed, Alertmanager, which reports to the
        console."""
        folder, alerts = self.directory / "rules", None
        if AlertmanagerServer.is_installed():
            webhook = self._running.enter_context(listening(self._console.say))
            alerts = AlertmanagerServer(
                self.directory / "alertmanager", folder / "alertmanager.yml", free_port(ALERTMANAGER_PORT)
            )
            fit(folder, exporters=[self.exporter.address], alertmanager=alerts.address, webhook=webhook)
            with self._console.step(alerts.name, "a new server, which tells of alerts here"):
                self._run(alerts)
        else:
            fit(folder, exporters=[self.exporter.address])
            self._console.say("Alertmanager not installed (on Debian: apt-get install prometheus-alertmanager)")
        prometheus = PrometheusServer(
            self.directory / "prometheus", retention=retention, port=port, configuration=folder / "prometheus.yml"
        )
        with self._console.step(prometheus.name, "a new server, with a past"):
            rollup.make_blocks(prometheus.data)
            self._run(prometheus)

    def _run(self, child: Child) -> None:
        self.children.append(child)
        self._running.callback(child.stop)
        child.start()


def _origin(port: int | None) -> str:
    """Return the origin of a server on that port; empty without a port."""
    return f"http://{LOOPBACK}:{port}" if port else ""
