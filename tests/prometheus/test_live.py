"""A real Prometheus and a real Alertmanager with the shipped configuration, on a real exporter over real servers.

Addresses are replaced, and durations are shorter (`live.HURRY`). The servers are started once for all tests here:
Prometheus takes five seconds to its first scrape, with any interval.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from demo.monitoring import fit, replace
from servers.alertmanager import AlertmanagerServer
from servers.ports import LOOPBACK
from servers.postgres import PostgresServer
from servers.prometheus import PrometheusServer
from servers.valkey import ValkeyServer
from tests.prometheus.live import Webhook, ask, hasten, query, webhook
from tests.prometheus.rules import RUNBOOKS, alert_names, fences, recorded, rules
from tests.running import RunningExporter, beat, seed_database, seed_valkey
from tests.waiting import until

pytestmark = [pytest.mark.prometheus, pytest.mark.alertmanager]

DATABASE = "alerting"
NO_EXPORTER = f"{LOOPBACK}:1"

SILENT = {
    "HiveSyncExporterDown": "an exporter answers, until the test ends it",
    "HiveSyncThresholdMissing": "no threshold is missing",
}
"""Alerts that stay silent even with every threshold exceeded, with the reason."""


@dataclass
class Running:
    """The running servers: Prometheus with the shipped configuration, the receiver of its alerts, and its remote
    storage."""

    exporter: RunningExporter
    prometheus: PrometheusServer
    strict: PrometheusServer
    """A second Prometheus, with every threshold at -1, and one of two exporters missing."""
    told: Webhook
    store: PrometheusServer


@pytest.fixture(scope="module")
def running(
    postgres_server: PostgresServer, valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("alerting")
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE hivesync".encode())
    url = postgres_server.url_of(DATABASE)
    with psycopg.connect(url, autocommit=True) as connection:
        seed_database(connection)
    with redis.Redis.from_url(valkey_server.url) as valkey:
        valkey.flushall()
        seed_valkey(valkey_server.url)
        beat(valkey, time.time() - 600)
    exporter = RunningExporter(
        directory / "exporter", database_url=url, redis_url=valkey_server.url, dead_letter_keys="celery:dlq_tasks"
    )
    exporter.ai_log.touch()
    exporter.preview_log.touch()
    with ExitStack() as stack:
        told = stack.enter_context(webhook())
        alertmanager = AlertmanagerServer(directory / "alertmanager", directory / "shipped" / "alertmanager.yml")
        store = PrometheusServer(directory / "store", options=["--web.enable-remote-write-receiver"])
        folder = fit(
            directory / "shipped",
            exporters=[exporter.address],
            alertmanager=alertmanager.address,
            webhook=told.url,
        )
        configuration = writing_to(store, hasten(folder))
        strict = strictest(hasten(fit(directory / "strict", exporters=[exporter.address, NO_EXPORTER])))
        prometheus = PrometheusServer(directory / "prometheus", configuration=configuration)
        strict_prometheus = PrometheusServer(directory / "strict-prometheus", configuration=strict)
        for child in (store, alertmanager, prometheus, strict_prometheus, exporter):
            stack.enter_context(child)
        yield Running(exporter, prometheus, strict_prometheus, told, store)
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)".encode())


def writing_to(store: PrometheusServer, folder: Path) -> Path:
    """The configuration with remote_write.yml appended, as its comment says, and this store in it."""
    both = folder / "with-remote-write.yml"
    both.write_text((folder / "prometheus.yml").read_text() + (folder / "remote_write.yml").read_text())
    replace(both, "http://victoriametrics:8428", store.url)
    # Samples are sent at once, not after five seconds.
    replace(both, "  - name: store\n", "  - name: store\n    queue_config: {batch_send_deadline: 250ms}\n")
    return both


def strictest(folder: Path) -> Path:
    """The configuration with thresholds that every value exceeds."""
    thresholds = folder / "rules" / "thresholds.yml"
    lines = thresholds.read_text().splitlines(keepends=True)
    thresholds.write_text("".join("        expr: -1\n" if "  expr: " in line else line for line in lines))
    return folder / "prometheus.yml"


def every_rule() -> dict[str, str]:
    """All expressions of recording and alerting rules, by name."""
    named = {f"{rule['record']} {rule.get('labels', '')}": rule["expr"] for rule in rules("recording")}
    alerts = {f"{rule['alert']} {rule['labels']['severity']}": rule["expr"] for rule in rules("alerts")}
    return named | alerts


def test_prometheus_loads_what_ships_and_every_rule_is_evaluated(running: Running) -> None:
    def loaded() -> list[Any]:
        return [rule for group in ask(running.prometheus.url, "rules")["groups"] for rule in group["rules"]]

    until(lambda: {rule["health"] for rule in loaded()} == {"ok"}, "every rule is evaluated without an error")
    assert {rule["name"] for rule in loaded()} == recorded() | alert_names()
    targets = until(lambda: ask(running.prometheus.url, "targets")["activeTargets"], "there are targets")
    assert [target["labels"] for target in targets] == [{"instance": running.exporter.address, "job": "hivesync"}]
    until(lambda: query(running.prometheus.url, "queue:hivesync_queue_depth:sum"), "what is recorded can be asked for")


def test_a_full_queue_is_told_and_so_is_its_end(running: Running, valkey_server: ValkeyServer) -> None:
    def jobs_end() -> list[Any]:
        """Complete a preview; without completed jobs the queue would count as stalled instead of long."""
        with running.exporter.preview_log.open("ab") as log:
            log.write(b'{"event": "preview.completed"}\n')
        return query(running.prometheus.url, 'queue:hivesync_jobs_ended:rate10m{queue="preview"} > 0')

    until(jobs_end, "it is seen that previews end")
    full = {"alertname": "HiveSyncQueueBacklog", "queue": "preview", "severity": "warning", "source": "redis"}
    assert running.told.told("firing", **full) == []

    with redis.Redis.from_url(valkey_server.url) as valkey:
        valkey.rpush("preview_queue:default", *(f"job {number}" for number in range(51)))
        (alert, *_) = until(lambda: running.told.told("firing", **full), "the webhook is told of the full queue")
        assert alert["annotations"] == {
            "summary": "Many jobs are waiting in a queue.",
            "description": "51 jobs are waiting in the preview queue.",
            "runbook_url": "docs/runbooks/HiveSyncQueueBacklog.md",
        }
        assert running.told.told("firing", alertname="HiveSyncQueueBacklog", queue="ai") == []

        valkey.delete("preview_queue:default")
        until(lambda: running.told.told("resolved", **full), "the webhook is told that the queue is short again")


def test_what_prometheus_records_goes_to_a_store_too(running: Running) -> None:
    for name in ("hivesync_projects", "queue:hivesync_queue_depth:sum", "hivesync:ai_jobs_ended:threshold", "up"):
        until(lambda name=name: query(running.store.url, name), f"{name} is in the store")  # type: ignore[misc]
    assert query(running.store.url, '{__name__=~"scrape_.+|prometheus_.+"}') == []


def test_every_query_of_a_page_can_be_asked(running: Running, database: str) -> None:
    pages = sorted(RUNBOOKS.iterdir())
    promql = [line for page in pages for block in fences(page, "promql") for line in block.splitlines() if line]
    assert len(promql) > len(pages)
    for line in promql:
        ask(running.prometheus.url, "query", query=line)
    sql = [block for page in pages for block in fences(page, "sql")]
    assert sql
    with psycopg.connect(database) as connection:
        for block in sql:
            connection.execute(block.encode())


def test_every_expression_of_every_rule_has_data_where_it_should(running: Running) -> None:
    exporter, prometheus = running.exporter, running.strict
    until(lambda: query(prometheus.url, 'hivesync_preview_log_events_total{event="preview.failed"}'), "a scrape")
    with exporter.ai_log.open("ab") as log:
        log.write(b'{"event": "ai.completed"}\n{"event": "ai.error"}\n')
    with exporter.preview_log.open("ab") as log:
        log.write(b'{"event": "preview.completed"}\n{"event": "preview.failed"}\n')
    counted = (
        'hivesync_ai_log_events_total{event="ai.error"}',
        'hivesync_preview_log_events_total{event="preview.failed"}',
    )
    exporter.wait_for(lambda samples: all(samples[name] for name in counted))
    exporter.ai_log.unlink()  # so that a source is down; its counters stay

    def empty() -> set[str]:
        return {name.partition(" ")[0] for name, promql in every_rule().items() if not query(prometheus.url, promql)}

    try:
        assert len(every_rule()) > 30
        until(lambda: empty() == SILENT.keys(), "every expression has data, but for those that may not")
        exporter.kill()
        until(lambda: "HiveSyncExporterDown" not in empty(), "it is noticed that no exporter answers")
    finally:
        exporter.kill()
        exporter.ai_log.touch()
        exporter.start()
