"""Every expression of every panel, queried as by Grafana, from a real Prometheus that scrapes two real exporters.

The exporters read the same made-up HiveSync, as a redundant pair does, so that double counting shows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
import psycopg
import pytest

from demo.history import make_history
from demo.tables import insert
from demo.traffic import Traffic
from exporter.spec import Label, MetricSpec
from grafana.promql import NONE, ever_above_zero, max_by, without_zeros
from servers.postgres import PostgresServer
from servers.prometheus import PrometheusServer
from servers.valkey import ValkeyServer
from tests.grafana.boards import Target, metrics_in, specs, targets
from tests.running import RunningExporter, get
from tests.waiting import until

pytestmark = pytest.mark.prometheus

SCRAPE_SECONDS = 0.5
RANGE_SECONDS = 300
STEP_SECONDS = 1
RATE_SECONDS = max(STEP_SECONDS + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)
"""`$__rate_interval`, as Grafana calculates it."""

VARIABLES = {
    "$__rate_interval": f"{int(RATE_SECONDS * 1000)}ms",
    "$__range": f"{RANGE_SECONDS}s",
    "$__interval": f"{STEP_SECONDS}s",
}

MAY_BE_EMPTY = {
    "hivesync-operations/42 A (Alerts)": "no alert is pending or firing, which is what one wants to see",
}
"""Queries that may return nothing here, with the reason."""

NOT_SHOWN = {
    "hivesync_log_events_dropped_total": "0 unless the log is not read, which its own events report",
    "hivesync_source_changes_total": "an event says so at once, and the values are those of the new server",
    "hivesync_projects": "shown on the Analytics page alone",
    "hivesync_oldest_unacked_timestamp_seconds": "shown on the Analytics page alone",
    "hivesync_resyncs_total": "a detail of how windows are kept, for whoever looks into it",
    "hivesync_resync_corrections_total": "as above",
}
"""Metrics that are on no dashboard, with the reason."""

PROMQL = [pytest.param(target, id=target.where) for target in targets("prometheus")]

OF_EACH_EXPORTER = {"up", "scrape_duration_seconds", "ALERTS", "hivesync_exporter_build_info"}
"""Metrics that differ between exporters, so that the value over two is not that of one."""


@dataclass
class Prometheus:
    """Queries of the server's API, as by Grafana's datasource."""

    server: PrometheusServer
    exporters: tuple[RunningExporter, RunningExporter]

    def api(self, path: str, **parameters: object) -> list[dict[str, Any]]:
        status, _, body = get(f"{self.server.url}/api/v1/{path}?{urlencode(parameters)}")
        answer = orjson.loads(body)
        assert (status, answer["status"]) == (200, "success"), answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def ask(self, target: Target) -> list[dict[str, Any]]:
        """The series of a panel's query."""
        now = time.time()
        if target.query["instant"]:
            return self.api("query", query=filled_in(target.expression), time=now)
        span = {"start": now - RANGE_SECONDS, "end": now, "step": STEP_SECONDS}
        return self.api("query_range", query=filled_in(target.expression), **span)

    def values(self, expression: str, at: float) -> dict[str, float]:
        """The value of each series at one time, by its labels."""
        return {
            str(sorted(series["metric"].items())): float(series["value"][1])
            for series in self.api("query", query=filled_in(expression), time=at)
        }


def filled_in(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def shown_as(legend: str, labels: dict[str, str]) -> str:
    """A legend as Grafana renders it."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels[match[1]], legend)


@pytest.fixture(scope="module")
def prometheus(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("dashboards")
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE dashboards TEMPLATE hivesync")
    url = postgres_server.url_of("dashboards")
    with psycopg.connect(url) as connection:
        (now,) = connection.execute("SELECT now()").fetchone() or (None,)
        assert now is not None
        insert(connection, make_history(60, 20, 1, now))
        connection.execute("INSERT INTO ai_usage_events (created_at) VALUES (now() - interval '40 days')")
        connection.execute("INSERT INTO usage_analytics_daily VALUES (current_date, 1, 1, 1, 1, 1, 1)")
    logs = folder / "logs"
    with ValkeyServer(folder / "valkey") as valkey:
        traffic = Traffic(url, valkey.url, logs, seed=1, speed=60, note=lambda _: None)

        def exporter(name: str) -> RunningExporter:
            """An exporter with a state of its own, and the common logs."""
            shared = {
                "ai_events_log": logs / "ai-events.log",
                "preview_log": logs / "preview.log",
                "dead_letter_keys": "celery:dlq_tasks",
            }
            return RunningExporter(folder / name, database_url=url, redis_url=valkey.url, **shared)  # type: ignore[arg-type]

        with (
            exporter("a") as a,
            exporter("b") as b,
            PrometheusServer(folder / "p", [a.address, b.address], f"{int(SCRAPE_SECONDS * 1000)}ms") as server,
        ):
            traffic.start()
            try:
                yield Prometheus(server, (a, b))
            finally:
                traffic.stop()
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE dashboards WITH (FORCE)")


@pytest.mark.parametrize("target", PROMQL)
def test_every_expression_returns_data(prometheus: Prometheus, target: Target) -> None:
    """The result has the labels of the legend, the columns and the colours."""
    if target.where in MAY_BE_EMPTY:
        prometheus.ask(target)
        return
    series = until(lambda: prometheus.ask(target), f"data of {target.where}: {target.expression}", within=90)
    labels = {name for one in series for name in one["metric"]}
    if target.panel["type"] == "table":
        columns = target.panel["transformations"][0]["options"]["renameByName"]
        assert columns.keys() - {"Value"} == labels
        return
    legend = target.query["legendFormat"]
    placeholders = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert placeholders <= labels
    assert placeholders or len(series) == 1, "several series under one name"
    overridden = {override["matcher"]["options"] for override in target.panel["fieldConfig"]["overrides"]}
    overridden -= {NONE, f"{NONE}: {NONE}"} if len(overridden) == 1 else set()
    if overridden and placeholders:
        shown = {shown_as(legend, one["metric"]) for one in series}
        assert shown <= overridden, "without a title and colour of its own"


def test_the_list_of_what_may_be_empty_is_short_and_true() -> None:
    assert len(MAY_BE_EMPTY) < 4
    assert MAY_BE_EMPTY.keys() <= {target.where for target in targets("prometheus")}


@pytest.mark.parametrize("target", PROMQL)
def test_two_exporters_say_what_one_says(prometheus: Prometheus, target: Target) -> None:
    """At one moment, the value over both exporters lies between the values of each, and is never their sum."""
    if metrics_in(target.expression) & OF_EACH_EXPORTER or target.where in MAY_BE_EMPTY:
        return

    def agree() -> bool:
        at = time.time() - 2 * SCRAPE_SECONDS
        together = prometheus.values(target.expression, at)
        alone = [prometheus.values(only(target.expression, one.address), at) for one in prometheus.exporters]
        if not together or together.keys() != alone[0].keys() | alone[1].keys():
            return False
        # A queue is shown by one exporter alone, if only that one has ever seen a job in it.
        said = {name: [one[name] for one in alone if name in one] for name in together}
        return all(min(said[name]) - 1e-6 <= value <= max(said[name]) + 1e-6 for name, value in together.items())

    until(agree, f"the same from two: {target.expression}", within=60)


def only(expression: str, instance: str) -> str:
    """The expression over one exporter."""
    for name in metrics_in(expression):
        expression = re.sub(rf"\b{name}\b(?!\{{)", f"{name}{{}}", expression)
        expression = expression.replace(f"{name}{{", f'{name}{{instance="{instance}",')
    return expression


def test_what_is_counted_twice_would_be_noticed(prometheus: Prometheus) -> None:
    """The sum over both exporters differs from the value of each."""
    until(lambda: prometheus.values("hivesync_users > 0", time.time()), "users")

    def twice_as_many() -> bool:
        at = time.time()
        both, *alone = (
            prometheus.values(query, at)["[]"]
            for query in (
                "sum(hivesync_users)",
                *(only("sum(hivesync_users)", exporter.address) for exporter in prometheus.exporters),
            )
        )
        return both == sum(alone) > max(alone) > 0  # one exporter may lack a new user

    until(twice_as_many, "the users of both exporters added up")


def test_hosts_of_logs_are_added_up_by_their_label(
    prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two exporters of one host count once; those of another host, with another `log_host`, are added."""
    a, b = prometheus.exporters
    folder = tmp_path_factory.mktemp("hosts")
    configuration = folder / "two-hosts.yml"
    configuration.write_text(
        f"global: {{scrape_interval: {int(SCRAPE_SECONDS * 1000)}ms}}\n"
        "scrape_configs:\n  - job_name: hivesync\n    static_configs:\n"
        f"      - targets: ['{a.address}']\n"
        f"      - targets: ['{b.address}']\n        labels: {{log_host: b}}\n"
    )
    (lines,) = [target for target in targets("prometheus") if target.panel["title"] == "Log lines per second"]
    lasting = lines.expression.replace("$__rate_interval", "60s")  # long enough for both to have read the same lines
    with PrometheusServer(folder / "p", configuration=configuration) as server:
        hosts = Prometheus(server, (a, b))

        def added_up() -> bool:
            at = time.time() - 2 * SCRAPE_SECONDS
            queries = (lasting, only(lasting, a.address), only(lasting, b.address))
            both, one, other = (sum(hosts.values(query, at).values()) for query in queries)
            return both > 0 and one == pytest.approx(other, rel=0.3) and both == pytest.approx(one + other)

        until(added_up, "the rates of two hosts added up", within=60)


def test_zeros_alone_are_one_series_and_no_data_is_none(prometheus: Prometheus) -> None:
    """Only what is above 0 is in a legend; 0 everywhere is `none`, and an absent metric still shows as no data."""
    users = MetricSpec("hivesync_users", "gauge", "", "", (Label("plan"),))
    nothing = MetricSpec("hivesync_nothing", "gauge", "", "", (Label("plan"),))
    by_plan, absent = (max_by(spec, "plan") for spec in (users, nothing))
    until(lambda: prometheus.values("hivesync_users > 0", time.time()), "users")
    at = time.time()

    def plans(expression: str) -> dict[str, float]:
        return {name[11:-3]: value for name, value in prometheus.values(expression, at).items()}

    some = {plan: value for plan, value in plans(by_plan).items() if value > 0}
    assert len(some) > 1
    assert plans(without_zeros(by_plan, "plan")) == some
    assert plans(without_zeros(f"{by_plan} * 0", "plan")) == {NONE: 0}
    assert plans(without_zeros(absent, "plan")) == {}
    assert some.items() <= plans(ever_above_zero(by_plan, users, "plan")).items()
    never = ever_above_zero(f"{by_plan} * 0", nothing, "plan")
    assert plans(never) == {NONE: 0}
    assert plans(ever_above_zero(absent, nothing, "plan")) == {}
    paid = ever_above_zero(f"{by_plan} * 0", users, "plan", plan="paid")
    assert plans(paid) == {"paid": 0}, "a series that was above 0 in the range keeps its zeros"


def test_every_metric_there_is_is_on_a_dashboard() -> None:
    shown = {specs()[name].name for target in targets("prometheus") for name in metrics_in(target.expression)}
    assert len(shown) > 30
    assert {spec.name for spec in specs().values()} - shown <= NOT_SHOWN.keys()
