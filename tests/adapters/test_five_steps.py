"""The five steps of adapters/hivesync/README.md, as they are written, beside a HiveSync that works.

HiveSync's tables are on Debian's PostgreSQL, its queues on Valkey with a real Celery worker. Other than on the page are
the addresses, the clone's environment, `sudo` and `systemctl`; the exporter refreshes and Prometheus evaluates more
often. The rules are as shipped.
"""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from playwright.sync_api import expect, sync_playwright

from demo.exporting import PROJECT
from rollup.adapter import FOLDER
from servers.alertmanager import AlertmanagerServer
from servers.ports import LOOPBACK, free_port
from servers.prometheus import PrometheusServer
from servers.valkey import ValkeyServer
from tests.adapters.guide import Guide, Service
from tests.adapters.working import HiveSync
from tests.admin.access.credentials import token
from tests.admin.page.looking import number, settled
from tests.exporter.test_service_freshness import InstalledPostgres
from tests.prometheus.live import ask, query
from tests.running import get, parse
from tests.waiting import patience, until

README = FOLDER / "hivesync" / "README.md"

pytestmark = [pytest.mark.postgresql, pytest.mark.prometheus, pytest.mark.alertmanager, pytest.mark.chromium]

INSTALLATION, SETTINGS, CHECK, SERVICES, PAGE, HEARTBEATS = (
    "1. Installation, views, indexes and roles",
    "2. Settings",
    "3. Check",
    "4. Exporter, roll-up and Prometheus",
    "5. Page",
    "Heartbeats of workers",
)
ROLES = ("hivesync_exporter", "hivesync_rollup", "hivesync_grafana")
JWT_SECRET = "Tq8vRk3nXw6ZbY1mLd4PfHs7GcJt2Ae9"
OPTIONS = (
    "--concurrency 1 --queues ai_tasks,preview_tasks --without-gossip --without-mingle --hostname one@hivesync"
    " --loglevel INFO"
)
API = {
    "summary/ai_requests_last_hour": "hivesync_ai_requests_in_window{1h}",
    "summary/paid_users": "hivesync_users{paid}",
    "summary/free_users": "hivesync_users{free}",
    "users/daily_active_users_by_plan/paid": "hivesync_active_users{24h,paid}",
    "users/daily_active_users_by_plan/free": "hivesync_active_users{24h,free}",
    "users/monthly_active_users_by_plan/paid": "hivesync_active_users{30d,paid}",
    "users/monthly_active_users_by_plan/free": "hivesync_active_users{30d,free}",
    "ai/requests_per_day": "hivesync_ai_requests_in_window{24h}",
    "ai/requests_per_user/median": "hivesync_ai_requests_per_user{24h,median}",
    "ai/requests_per_user/p90": "hivesync_ai_requests_per_user{24h,p90}",
    "ai/requests_per_user/max": "hivesync_ai_requests_per_user{24h,max}",
    "ai/errors_per_day": "hivesync_ai_errors_in_window{24h,other}",
    "queues/preview_requests/1h": "hivesync_preview_requests_in_window{1h}",
    "queues/preview_requests/24h": "hivesync_preview_requests_in_window{24h}",
    "queues/latency_seconds/ai/1h": "hivesync_job_latency_average_seconds{ai,1h}",
    "queues/latency_seconds/preview/1h": "hivesync_job_latency_average_seconds{preview,1h}",
    "monetization/projects": "hivesync_projects",
}
"""Values of the API, and the same numbers in SQL (`tests.adapters.hivesync.NUMBERS`)."""

EVALUATIONS = 30
"""Evaluations of every rule before alerts are looked at."""


class FiveSteps:
    """The analytics system as the page installs it, and the commands of the page."""

    def __init__(self, hivesync: HiveSync, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.metrics, self.admin, self.prometheus_address = (f"{LOOPBACK}:{free_port()}" for _ in range(3))
        self.alertmanager = f"{LOOPBACK}:{free_port()}"
        self.passwords = {role: secrets.token_hex(24) for role in ROLES}
        self.server = f"{LOOPBACK}:{hivesync.server.port}"
        for name in ("prometheus", "workers"):
            (folder / name).mkdir()
        words = {
            "/etc/hivesync-analytics": str(folder / "etc"),
            "/var/lib/hivesync-analytics": str(folder / "state"),
            "/etc/prometheus": str(folder / "prometheus"),
            "OWNER:PASSWORD@": f"hivesync:{hivesync.password}@",
            **{f"{role}:PASSWORD@": f"{role}:{password}@" for role, password in self.passwords.items()},
            "JWT_SECRET\n": f"{JWT_SECRET}\n",
            "127.0.0.1:5432": self.server,
            "127.0.0.1:10177": self.metrics,
            "127.0.0.1:9093": self.alertmanager,
            "DIRECTORY": str(folder / "workers"),
            "APP": "tests.celery_app",
            "OPTIONS": OPTIONS,
        }
        self.guide = Guide(README, words, folder)
        self._given = {
            "HIVESYNC_REDIS_URL": hivesync.broker.url,
            "HIVESYNC_STATE_DIR": str(folder / "state"),
            "HIVESYNC_METRICS_LISTEN": self.metrics,
            "HIVESYNC_ADMIN_LISTEN": self.admin,
        }

    def install(self) -> None:
        """Steps 1 and 2."""
        guide = self.guide
        assert "requirements/runtime.lock" in guide.take(INSTALLATION, "python3 -m venv")
        migration, passwords = guide.take(INSTALLATION, "export"), guide.take(INSTALLATION, "psql")
        typed = [
            line
            for role, password in self.passwords.items()
            for line in ((f'Enter new password for user "{role}": ', password), ("Enter it again: ", password))
        ]
        guide.script(migration + passwords, *typed)
        guide.run(SETTINGS, "sudo install")
        for name in ("database_url", "rollup_database_url", "jwt_secret"):
            guide.write(SETTINGS, f"/etc/hivesync-analytics/{name}")
        self.adapt()

    @property
    def settings(self) -> Path:
        """The file of the settings."""
        return self._folder / "etc" / "settings.env"

    def adapt(self) -> None:
        """Complete the upper half of the settings."""
        text = self.settings.read_text().replace("/etc/hivesync-analytics", str(self.settings.parent))
        text = text.replace("127.0.0.1:9090", self.prometheus_address)
        for name, value in self._given.items():
            line = f"{name}={value}"
            text, changed = re.subn(rf"^{name}=.*$", line, text, flags=re.MULTILINE)
            text += "" if changed else f"{line}\n"
        self.settings.write_text(text)

    def findings(self, *arguments: str) -> list[str]:
        """The lines of step 3 that are not ok; a busy machine is slow, which is no finding here."""
        command = f"NO_COLOR=1 {self.guide.take(CHECK).strip()} {shlex.join(arguments)}"
        lines = re.findall(r"^  (ok|look|wrong) +(.+(?:\n {8}.+)*)", self.guide.script(command), re.MULTILINE)
        assert len(lines) > 40
        return [text for verdict, text in lines if verdict != "ok" and not text.startswith("time:")]

    def verify(self) -> str:
        """The output of `verify`, which finds no difference."""
        return self.guide.script(f"python -m exporter --env-file {shlex.quote(str(self.settings))} verify")

    def service(self, name: str, begin: str, ready: Callable[[], bool], **settings: str) -> Service:
        """A command of step 4, running."""
        command = self.guide.take(SERVICES, begin).strip()
        environment = {**self.guide.environment, **settings}
        service = Service(name, self._folder / name, command, environment, ready)
        return self._stack.enter_context(service)

    def worker(self, *, heartbeats: bool = False) -> Service:
        """A worker of HiveSync, with the module of heartbeats or without."""
        folder = self._folder / "workers"
        copy, start = self.guide.take(HEARTBEATS, "cp").splitlines()
        if heartbeats:
            self.guide.script(copy)
        else:
            start = start.removesuffix(" -I hivesync_heartbeat")
        environment = {
            **self.guide.environment,
            "PYTHONPATH": str(PROJECT),
            "CELERY_BROKER_URL": self._given["HIVESYNC_REDIS_URL"],
        }
        worker = Service(
            "worker", self._folder / "worker", start, environment, lambda: " ready." in worker.log_tail(100), folder
        )
        return self._stack.enter_context(worker)

    def exporter(self) -> Service:
        """The running exporter."""

        def ready() -> bool:
            try:
                return get(f"http://{self.metrics}/-/ready")[0] == 200
            except OSError:
                return False

        return self.service("exporter", "python -m exporter", ready, HIVESYNC_REFRESH_SECONDS="1")

    def rollup(self) -> Service:
        """The running roll-up."""
        log = self._folder / "rollup" / "rollup.log"
        return self.service("rollup", "python -m rollup", lambda: "rollup." in log.read_text())

    def prometheus(self) -> PrometheusServer:
        """Prometheus with the files that step 4 copies, and an Alertmanager."""
        self.guide.run(SERVICES, "sudo cp")
        assert self.guide.asked_of_systemd() == ["restart prometheus"]
        folder = self._folder / "prometheus"
        configuration, alerts = folder / "prometheus.yml", folder / "alertmanager.yml"
        text, changed = re.subn(r"(scrape_interval|evaluation_interval): 15s", r"\1: 250ms", configuration.read_text())
        assert changed == 2
        configuration.write_text(text)
        alerts.write_text("route: {receiver: nowhere}\nreceivers: [{name: nowhere}]\n")
        alertmanager = AlertmanagerServer(folder / "alerts", alerts, port_of(self.alertmanager))
        server = PrometheusServer(folder / "data", configuration=configuration, port=port_of(self.prometheus_address))
        self._stack.enter_context(alertmanager)
        return self._stack.enter_context(server)

    def expect_no_alert(self, prometheus: PrometheusServer) -> None:
        """Wait for evaluations of every rule: no alert has fired, and none is about to."""

        def evaluations() -> float:
            samples = parse(get(f"{prometheus.url}/metrics")[2].decode())
            return min(
                value for name, value in samples.items() if name.startswith("prometheus_rule_group_iterations_total{")
            )

        least = evaluations() + EVALUATIONS
        until(lambda: evaluations() >= least, "every rule is evaluated often")
        rules = [rule for group in ask(prometheus.url, "rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        assert query(prometheus.url, "queue:hivesync_jobs_waiting:max") != []
        assert query(prometheus.url, "ALERTS") == []
        assert query(prometheus.url, 'count_over_time(ALERTS{alertstate="firing"}[1h])') == []

    def look_at_the_page(self, expected: Mapping[str, int]) -> None:
        """Step 5 in a browser: the page has these numbers, and lines for that which HiveSync does not record."""
        link = self.guide.run(PAGE, "python -m exporter").split()[-1]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
            page = browser.new_page(locale="en-GB")
            expect.set_options(timeout=patience() * 1_000)
            page.goto(link)
            page.wait_for_url(f"http://{self.admin}/admin/analytics/")
            settled(page)
            for path, value in expected.items():
                expect(number(page, path)).to_have_text(str(value))
            expect(page.locator("#header-online-users [data-not-provided]")).to_be_visible()
            expect(page.locator("[data-note]:visible")).to_have_count(0)
            browser.close()

    def most_waiting(self, hivesync: HiveSync) -> int | None:
        """The most waiting jobs of a day in the daily roll-up, read as Grafana's role."""
        role = "hivesync_grafana"
        url = f"postgresql://{role}:{self.passwords[role]}@{LOOPBACK}:{hivesync.server.port}/hivesync"
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT max(max_queue_depth) FROM usage_analytics_daily").fetchone()
        return row[0] if row else None

    def token(self, tier: str = "Admin") -> str:
        """A token as HiveSync signs it."""
        return token(JWT_SECRET, scope=None, tier=tier, type="access")

    def shown(self, paths: Iterable[str]) -> dict[str, Any]:
        """The API's values, by paths that begin with the document's name."""
        documents = {name: self.document(name, self.token()) for name in {path.partition("/")[0] for path in paths}}
        found = {}
        for path in paths:
            value: Any = documents
            for name in path.split("/"):
                value = value[name]
            assert value["status"] == ("not_provided" if "input" in value else "ok"), (path, value)
            found[path] = value["value"]
        return found

    def document(self, path: str, bearer: str) -> Any:
        """A document of the API for this token."""
        status, _, body = get(f"http://{self.admin}/admin/analytics/{path}", {"authorization": f"Bearer {bearer}"})
        return orjson.loads(body) if status == 200 else status


def port_of(address: str) -> int:
    """The port of `host:port`."""
    return int(address.rpartition(":")[2])


def restart(*services: Service) -> None:
    """Restart services, one after the other."""
    for service in services:
        service.stop()
        service.start()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Everything that ends with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def hivesync(tmp_path: Path, stack: ExitStack) -> HiveSync:
    """A HiveSync with a past, and without jobs."""
    postgres = stack.enter_context(
        InstalledPostgres(tmp_path / "postgres", {"shared_preload_libraries": ""}, in_memory=True)
    )
    hivesync = HiveSync(postgres, stack.enter_context(ValkeyServer(tmp_path / "broker")))
    stack.callback(hivesync.close)
    return hivesync


@pytest.fixture
def ours(tmp_path: Path, hivesync: HiveSync, stack: ExitStack) -> FiveSteps:
    """The installation beside it, not yet begun."""
    return FiveSteps(hivesync, tmp_path, stack)


def test_five_steps_lead_to_true_numbers_and_no_alert(ours: FiveSteps, hivesync: HiveSync) -> None:
    ours.install()
    assert ours.findings() == []
    worker = ours.worker()
    hivesync.request("ai_tasks", 0, 0, 0, 0, 0, 0, 3, 9)
    hivesync.request("preview_tasks", 0, 0, 0)
    until(lambda: hivesync.queues.hlen("unacked") == 4, "the worker has fetched all that it takes at once")
    hivesync.begin("ai_tasks")
    exporter, rollup = ours.exporter(), ours.rollup()
    prometheus = ours.prometheus()
    until(lambda: query(prometheus.url, "max_over_time(sum(hivesync_jobs)[1m:15s])"), "the roll-up's step")
    ours.guide.run(SERVICES, "sed -i")
    restart(exporter, rollup)

    until(lambda: ours.shown(API) == hivesync.numbers(API), "the API has the numbers of HiveSync's tables")
    depths = {f"summary/{name}_queue_depth": hivesync.listed(f"{name}_tasks") for name in ("ai", "preview")}
    present = depths | {
        "summary/ai_jobs_waiting": 7,
        "summary/preview_jobs_waiting": 3,
        "queues/jobs/ai/running": 1,
        "queues/jobs/preview/running": 0,
        "queues/unacked/messages": hivesync.queues.hlen("unacked"),
        "workers/total": None,
    }
    assert sum(depths.values()) == 11 - 1 - 4
    assert ours.shown(present) == present
    ours.look_at_the_page({path: number for path, number in present.items() if number is not None})
    until(lambda: ours.most_waiting(hivesync) == 7 + 3, "the roll-up has the depth that Prometheus recorded")
    assert ours.findings("--token", ours.token()) == []
    assert ours.document("summary", ours.token(tier="Pro")) == 403
    assert "difference: nil" in ours.verify()
    ours.expect_no_alert(prometheus)

    hivesync.finish()
    worker.stop()
    ours.worker(heartbeats=True)
    ours.guide.run(HEARTBEATS, "sed -i")
    hivesync.request("ai_tasks", 0, 0, 0)
    hivesync.request("preview_tasks", 0)
    hivesync.finish()
    restart(exporter, rollup)
    of_workers = {"workers/healthy": 1, "workers/total": 1, "queues/processing/jobs": 3}
    until(lambda: ours.shown(of_workers) == of_workers, "the worker and its jobs")
    assert ours.findings() == []
    assert "difference: nil" in ours.verify()
    ours.expect_no_alert(prometheus)
    assert ours.guide.left() == []
