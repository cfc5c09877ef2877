"""VictoriaMetrics in place of Prometheus, with two hosts of logs as in docker-compose.scale.yml.

Every expression of every panel and rule is queried from both, over samples that are identical to the last bit (see
`recording.py`), and must have the same result. VictoriaMetrics also scrapes two real exporters by the shipped
configuration, to the same series as Prometheus.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import yaml

from demo.history import make_history
from demo.monitoring import SHIPPED, replace
from demo.tables import insert
from demo.traffic import Traffic
from servers.postgres import PostgresServer
from servers.prometheus import PrometheusServer
from servers.valkey import ValkeyServer
from tests.prometheus.live import ask
from tests.running import RunningExporter, is_up
from tests.scale.expressions import of_panels, of_rules
from tests.scale.recording import (
    STEP_SECONDS,
    STEPS,
    alert,
    series,
    store_in_prometheus,
    store_in_victoriametrics,
)
from tests.scale.victoriametrics import VictoriaMetricsServer
from tests.waiting import until

pytestmark = [pytest.mark.prometheus, pytest.mark.victoriametrics]

RANGE_SECONDS = 600
RANGE_STEP_SECONDS = 30

ROUNDED = 1e-5
"""VictoriaMetrics keeps about 15 digits, which leaves a unix time its microseconds."""

MAY_BE_EMPTY = {
    "HiveSyncExporterDown": "the exporters answer",
    "HiveSyncExporterInstanceDown": "all of them",
    "HiveSyncCollectorFailing": "no collector fails",
    "HiveSyncSourceDown": "no source is down",
    "HiveSyncNoHealthyWorker": "there are healthy workers",
    "HiveSyncGPUWorkerOffline": "no GPU worker is offline",
    "HiveSyncQueueStalled": "jobs end",
}
"""Alerts without a threshold, and so silent in both stores while there is no failure."""

EXPRESSIONS = of_panels() | of_rules()

Answer = Mapping[str, list[tuple[float, float]]]
"""The points in time of each series, by its labels."""


@dataclass
class StorePair:
    """Two running exporters, and two stores of the same samples: from `start` on, every 15 seconds."""

    exporters: tuple[RunningExporter, RunningExporter]
    traffic: Traffic
    stores: tuple[PrometheusServer, VictoriaMetricsServer]
    start: int

    def answers(self, expression: str, at: float) -> list[Answer]:
        """The results of both stores at one time."""
        return [by_labels(ask(store.url, "query", query=expression, time=str(at))) for store in self.stores]

    def answers_over_time(self, expression: str, end: int) -> list[Answer]:
        """The results of both stores over ten minutes."""
        span = {"start": str(end - RANGE_SECONDS), "end": str(end), "step": str(RANGE_STEP_SECONDS)}
        return [by_labels(ask(store.url, "query_range", query=expression, **span)) for store in self.stores]


def by_labels(answer: Any) -> Answer:
    """The result by labels, without names of metrics, which no rule, legend or column shows."""
    if answer["resultType"] == "scalar":
        return {"": [(float(answer["result"][0]), float(answer["result"][1]))]}
    found = {}
    for one in answer["result"]:
        labels = {name: value for name, value in one["metric"].items() if name != "__name__"}
        points = one.get("values") or [one["value"]]
        found[str(sorted(labels.items()))] = [(float(at), float(value)) for at, value in points]
    return found


def difference(ours: Answer, theirs: Answer) -> str:
    """The first difference between the two results; empty without one."""
    if ours.keys() != theirs.keys():
        return f"series {sorted(ours.keys() ^ theirs.keys())} are in one only"
    for labels, points in ours.items():
        if [at for at, _ in points] != [at for at, _ in theirs[labels]]:
            return f"{labels}: {len(points)} points and {len(theirs[labels])}"
        for (at, value), (_, other) in zip(points, theirs[labels], strict=True):
            if not (math.isnan(value) and math.isnan(other)) and value != pytest.approx(other, rel=1e-9, abs=ROUNDED):
                return f"{labels} at {at:.0f}: {value} and {other}"
    return ""


@pytest.fixture(scope="module")
def pair(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorePair]:
    folder = tmp_path_factory.mktemp("scale")
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE scale TEMPLATE hivesync")
    url = postgres_server.url_of("scale")
    with psycopg.connect(url) as connection:
        (now,) = connection.execute("SELECT now()").fetchone() or (None,)
        assert now is not None
        insert(connection, make_history(60, 20, 1, now))
        connection.execute("INSERT INTO ai_usage_events (created_at) VALUES (now() - interval '40 days')")
        connection.execute("INSERT INTO usage_analytics_daily VALUES (current_date, 1, 1, 1, 1, 1, 1)")
        for table in ("ai_usage_events", "preview_jobs"):
            query = f"INSERT INTO {table} (status, created_at) VALUES ('queued', now() - interval '1 hour')"
            connection.execute(query.encode())
    with ExitStack() as stack:
        valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        with redis.Redis.from_url(valkey.url) as celery:
            celery.rpush("dlq_tasks", "a message")
            celery.hset("unacked", "tag", "a message")
            celery.zadd("unacked_index", {"tag": time.time()})
        queues: dict[str, Any] = {"ai_queue_keys": "ai_queue:*,celery:ai_tasks", "dead_letter_keys": "dlq_tasks"}
        a = RunningExporter(folder / "a", database_url=url, redis_url=valkey.url, **queues)
        b = RunningExporter(folder / "b", database_url=url, redis_url=valkey.url, collectors="ai_log,preview_log")
        traffic = Traffic(url, valkey.url, a.ai_log.parent, seed=1, speed=60, note=lambda _: None)
        stack.callback(traffic.stop)
        traffic.start()
        for exporter in (a, b):
            write_logs(exporter)
            stack.enter_context(exporter)
        first = [exporter.refreshed() for exporter in (a, b)]
        for exporter in (a, b):
            write_logs(exporter)
        second = [exporter.refreshed(4) for exporter in (a, b)]
        start = int(time.time()) // 60 * 60 - STEPS * STEP_SECONDS - 60
        recorded = [alert()]
        for exporter, host, readings in zip((a, b), "ab", zip(first, second, strict=True), strict=True):
            recorded += series(*readings, job="hivesync", instance=exporter.address, log_host=host)
        nothing = folder / "nothing.yml"
        nothing.write_text("global: {}\n")
        prometheus = PrometheusServer(folder / "prometheus", configuration=nothing)
        store_in_prometheus(recorded, start, prometheus.data)
        victoria = stack.enter_context(VictoriaMetricsServer(folder / "victoria"))
        store_in_victoriametrics(recorded, start, victoria.url)
        stack.enter_context(prometheus)
        yield StorePair((a, b), traffic, (prometheus, victoria), start)
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE scale WITH (FORCE)")


def write_logs(exporter: RunningExporter) -> None:
    """Append a line of every event and kind of error."""
    events = (
        "ai.requested",
        "ai.completed",
        *(f'ai.error","error_kind":"{kind}' for kind in ("timeout", "unheard of")),
    )
    previews = ("preview.requested", "preview.completed", 'preview.failed","error_kind":"timeout', "live_view.joined")
    for log, lines in ((exporter.ai_log, events), (exporter.preview_log, previews)):
        with log.open("ab") as file:
            file.write("".join(f'{{"event":"{line}"}}\n' for line in lines).encode())


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_has_the_same_answer_in_both(pair: StorePair, name: str) -> None:
    """At times of samples, and between two samples."""
    end = pair.start + (STEPS - 1) * STEP_SECONDS
    expression = EXPRESSIONS[name]
    for at in (end, end - 60, end - 67, end - 300 - 1):
        ours, theirs = pair.answers(expression, at)
        assert difference(ours, theirs) == "", expression
        assert (ours == {}) == (name.partition(" ")[2].rpartition(" ")[0] in MAY_BE_EMPTY), expression
    ours, theirs = pair.answers_over_time(expression, end // RANGE_STEP_SECONDS * RANGE_STEP_SECONDS)
    assert difference(ours, theirs) == "", expression


def test_there_are_enough_expressions_and_few_that_say_nothing() -> None:
    assert len(of_panels()) > 50
    assert len(of_rules()) > 30
    assert len(MAY_BE_EMPTY) < 8


def test_a_difference_is_noticed(pair: StorePair) -> None:
    """A known difference: a range longer than the recorded samples."""
    ours, theirs = pair.answers("rate(hivesync_log_lines_total[2h])", pair.start + STEPS * STEP_SECONDS)
    assert ours
    assert difference(ours, theirs) != ""


def test_logs_of_two_hosts_are_added_up_and_all_else_is_not(pair: StorePair) -> None:
    at = pair.start + (STEPS - 1) * STEP_SECONDS
    for store in pair.stores:

        def value(query: str, url: str = store.url) -> float:
            ((_, number),) = by_labels(ask(url, "query", query=query, time=str(at)))[str([])]
            return number

        lines = "sum(max without (instance) (increase(hivesync_ai_log_events_total{event='ai.error'}[15m])))"
        each = [value(lines.replace("}", f",log_host='{host}'}}")) for host in "ab"]
        assert min(each) > 0
        assert value(lines) == pytest.approx(sum(each))
        assert value("max(hivesync_projects)") == value("sum(hivesync_projects)"), "host b's exporter asks no database"


def test_it_scrapes_two_exporters_by_the_configuration_that_ships(pair: StorePair, tmp_path: Path) -> None:
    shipped = tmp_path / "scale.yml"
    shipped.write_text((SHIPPED / "scale.yml").read_text())
    for name, exporter in zip(("exporter:10177", "exporter-b:10177"), pair.exporters, strict=True):
        replace(shipped, f'"{name}"', f'"{exporter.address}"')
    scrapes = yaml.safe_load(shipped.read_text())["scrape_configs"]
    alone = tmp_path / "scrapes.yml"
    alone.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": scrapes}))
    # Scrapes by two servers, one after the other, are the same without traffic between them.
    pair.traffic.stop()
    with (
        PrometheusServer(tmp_path / "prometheus", configuration=alone) as prometheus,
        VictoriaMetricsServer(tmp_path / "victoria", shipped) as victoria,
    ):

        def scraped(url: str) -> set[str]:
            found = ask(url, "series", **{"match[]": '{job="hivesync",__name__=~"hivesync_.+|up"}'})
            return {str(sorted(labels.items())) for labels in found}

        def same_series() -> bool:
            ours, theirs = scraped(prometheus.url), scraped(victoria.url)
            return len(ours) > 200 and ours == theirs

        def same_numbers() -> bool:
            query, at = "sum by (log_host) (hivesync_log_lines_total)", str(time.time())
            ours, theirs = (
                by_labels(ask(store.url, "query", query=query, time=at)) for store in (prometheus, victoria)
            )
            return len(ours) == 2 and difference(ours, theirs) == ""

        until(same_series, "both have the same series", within=90)
        until(same_numbers, "both have the same numbers", within=90)


def test_an_exporter_for_logs_alone_says_nothing_of_what_it_does_not_ask(pair: StorePair) -> None:
    everything, logs_alone = (exporter.samples() for exporter in pair.exporters)
    sources = ("postgres", "redis", "ai_events_log", "preview_log")
    assert [is_up(everything, source) for source in sources] == [True] * 4
    assert [is_up(logs_alone, source) for source in sources] == [None, None, True, True]
    collectors = {name for name in logs_alone if name.startswith("hivesync_collector_up")}
    assert collectors == {f'hivesync_collector_up{{collector="{name}"}}' for name in ("ai_log", "preview_log")}
