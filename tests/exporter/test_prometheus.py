"""A real Prometheus on the real exporter: it accepts both formats, and has the same numbers.

Prometheus requests OpenMetrics; for the text format it scrapes a second target, a proxy to the same exporter that
requests text.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode

import orjson
import psycopg
import pytest
import redis

from exporter.exposition import TEXT_TYPE
from servers.ports import LOOPBACK
from servers.postgres import PostgresServer
from servers.prometheus import PrometheusServer
from servers.valkey import ValkeyServer
from tests.running import COUNTERS, FED_BY, RunningExporter, all_there, get, seed_database, seed_valkey
from tests.waiting import patience, until

pytestmark = pytest.mark.prometheus

SCRAPE_SECONDS = 1.0
SERIES = 3_000
"""An upper bound: 200 workers with seven series each, 400 queues, 18 collectors with 18 each, and the rest."""

OPEN_LABELS = {"worker", "name", "instance_type", "lifecycle"}
ALLOWED = re.compile(r"[A-Za-z0-9._:-]{1,100}")


class AsText(BaseHTTPRequestHandler):
    """Forwards a scrape without its Accept header."""

    target: str

    def do_GET(self) -> None:  # the name required by http.server
        status, headers, body = get(f"{self.target}/metrics", {"accept": "text/plain;version=0.0.4"})
        assert headers["content-type"] == TEXT_TYPE
        self.send_response(status)
        self.send_header("content-type", headers["content-type"])
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def as_text(target: str) -> Iterator[str]:
    """The address of a proxy to the target that serves the text format only."""
    handler = type("AsTextOfTarget", (AsText,), {"target": target})
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Observed:
    """Prometheus, its exporter, and the names of both targets."""

    prometheus: PrometheusServer
    exporter: RunningExporter
    openmetrics: str
    text: str

    @property
    def instances(self) -> tuple[str, str]:
        return self.openmetrics, self.text

    def api(self, path: str, **parameters: str) -> Any:
        status, _, body = get(f"{self.prometheus.url}/api/v1/{path}?{urlencode(parameters)}")
        answer = orjson.loads(body)
        assert (status, answer["status"]) == (200, "success"), answer
        return answer["data"]

    def query(self, promql: str) -> dict[str, float]:
        """The value of an instant query for each instance."""
        found = self.api("query", query=promql)["result"]
        return {result["metric"].get("instance", ""): float(result["value"][1]) for result in found}

    def until_both_say(self, promql: str, value: float) -> None:
        until(lambda: self.query(promql) == dict.fromkeys(self.instances, value), f"{promql} is {value}")


@pytest.fixture(scope="module")
def observed(
    postgres_server: PostgresServer, valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("prometheus")
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE observed TEMPLATE hivesync")
    url = postgres_server.url_of("observed")
    with psycopg.connect(url, autocommit=True) as connection:
        seed_database(connection)
    with redis.Redis.from_url(valkey_server.url) as valkey:
        valkey.flushall()
    seed_valkey(valkey_server.url)
    exporter = RunningExporter(folder, database_url=url, redis_url=valkey_server.url)
    exporter.ai_log.write_bytes(b'{"event": "ai.requested"}\n' * 7)
    exporter.preview_log.touch()
    with exporter, as_text(exporter.url) as text:
        exporter.wait_for(lambda samples: all_there(samples, COUNTERS.union(*FED_BY.values())))
        targets = [exporter.address, text]
        interval = f"{patience(SCRAPE_SECONDS) * 1_000:.0f}ms"  # also what a scrape may take
        with PrometheusServer(folder / "prometheus", targets, scrape_interval=interval) as prometheus:
            observed = Observed(prometheus, exporter, *targets)
            observed.until_both_say("up", 1)
            yield observed
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE observed WITH (FORCE)")


def test_a_gauge_a_counter_and_the_histogram_have_the_values_of_metrics(observed: Observed) -> None:
    observed.until_both_say('hivesync_users{plan="free"}', 1)
    observed.until_both_say('hivesync_queue_depth{queue="ai",name="default"}', 2)
    observed.until_both_say('hivesync_ai_log_events_total{event="ai.requested"}', 7)
    observed.until_both_say(
        "hivesync_queue_processing_seconds_sum / hivesync_queue_processing_seconds_count", 90.5 / 40
    )
    observed.until_both_say('count(hivesync_refresh_duration_seconds_bucket{le="+Inf"}) by (instance)', 19)
    for instance, seconds in observed.query(
        "histogram_quantile(0.5, sum by (instance, le) (hivesync_refresh_duration_seconds_bucket))"
    ).items():
        assert instance in observed.instances
        assert 0 < seconds < patience(5)
    observed.until_both_say("count(hivesync_exporter_build_info) by (instance)", 1)


def test_whatever_is_in_metrics_is_in_prometheus(observed: Observed) -> None:
    """Every series, by name and labels, in both formats."""

    def series(instance: str) -> set[str]:
        names = set()
        for labels in observed.api("series", **{"match[]": f'{{instance="{instance}",__name__=~"hivesync_.+"}}'}):
            own = sorted((k, v) for k, v in labels.items() if k not in {"__name__", "instance", "job"})
            shown = ",".join(f'{name}="{value}"' for name, value in own)
            names.add(f"{labels['__name__']}{{{shown}}}" if shown else labels["__name__"])
        return names

    expected = observed.exporter.samples().keys()
    assert len(expected) > 200
    for instance in observed.instances:
        until(lambda instance=instance: series(instance) == expected, f"all series of {instance}")  # type: ignore[misc]


def test_a_counter_that_goes_on_is_a_rate_and_what_it_counted_is_counted_once(observed: Observed) -> None:
    with observed.exporter.ai_log.open("ab") as log:
        log.write(b'{"event": "ai.completed"}\n' * 5)
    observed.until_both_say('hivesync_ai_log_events_total{event="ai.completed"}', 5)
    observed.until_both_say('resets(hivesync_ai_log_events_total{event="ai.completed"}[1m])', 0)
    rates = observed.query('rate(hivesync_ai_log_events_total{event="ai.completed"}[1m])')
    assert set(rates) == set(observed.instances)
    assert min(rates.values()) > 0


def test_it_knows_the_type_and_help_of_each_metric_from_both_formats(observed: Observed) -> None:
    metadata = until(lambda: observed.api("metadata"), "metadata")
    types = {name: {entry["type"] for entry in entries} for name, entries in metadata.items()}
    assert types["hivesync_users"] == {"gauge"}
    assert types["hivesync_refresh_duration_seconds"] == {"histogram"}
    assert types["hivesync_queue_processing_seconds"] == {"summary"}
    # The formats differ in the names of these two metrics: both names are there.
    assert types["hivesync_ai_log_events"] == types["hivesync_ai_log_events_total"] == {"counter"}
    assert (types["hivesync_exporter_build"], types["hivesync_exporter_build_info"]) == ({"info"}, {"gauge"})
    assert all(entry["help"] for name, entries in metadata.items() if name.startswith("hivesync_") for entry in entries)


def test_hostile_keys_cannot_blow_up_the_number_of_series(observed: Observed, valkey_server: ValkeyServer) -> None:
    """A thousand workers and a thousand queues, all with names not allowed in labels."""
    worker: Mapping[str, str] = {"kind": "gpu", "last_heartbeat": "0", "state": "x" * 999}
    hostile = '"},\n\\evil ü'
    try:
        with redis.Redis.from_url(valkey_server.url) as valkey:
            now = str(valkey.time()[0])
            with valkey.pipeline(transaction=False) as pipeline:
                for number in range(1_000):
                    of_worker = {
                        "last_heartbeat": now,
                        "instance_type": f"{hostile}{number}",
                        "lifecycle": f"l{number}",
                    }
                    pipeline.hset(f"worker:heartbeat:{hostile}{number}", mapping={**worker, **of_worker})
                    pipeline.rpush(f"ai_queue:{hostile}{number}", "job")
                    pipeline.rpush(f"preview_queue:{number}{'y' * 300}", "job")
                pipeline.execute()
        observed.until_both_say("count(hivesync_queue_depth{name='other'}) by (instance)", 2)
        observed.until_both_say("count(hivesync_worker_healthy) by (instance)", 201)
        for labels in observed.api("series", **{"match[]": '{__name__=~"hivesync_(queue_depth|worker.*|gpu.*)"}'}):
            values = {name: value for name, value in labels.items() if name in OPEN_LABELS}
            assert values
            assert all(ALLOWED.fullmatch(value) for value in values.values()), values
        total = observed.exporter.samples()
        assert len(total) < SERIES
        counted = observed.query("scrape_samples_scraped")
        assert set(counted) == set(observed.instances)
        assert max(counted.values()) < SERIES
        assert sum(value for name, value in total.items() if 'queue="ai"' in name and "depth" in name) == 1_002
    finally:
        with redis.Redis.from_url(valkey_server.url) as valkey:
            valkey.flushall()
        seed_valkey(valkey_server.url)
    observed.until_both_say("count(hivesync_worker_healthy) by (instance)", 1)


def test_no_scrape_ever_went_wrong(observed: Observed) -> None:
    """The last test of this file: every scrape until now was accepted, without dropped samples."""
    targets = observed.api("targets")["activeTargets"]
    assert {
        target["labels"]["instance"]: (target["health"], target["lastError"]) for target in targets
    } == dict.fromkeys(observed.instances, ("up", ""))
    until(lambda: min(observed.query("count_over_time(up[10m])").values()) > 3, "some scrapes")
    assert observed.query("min_over_time(up[10m])") == dict.fromkeys(observed.instances, 1)
    dropped = observed.query(
        "max_over_time((scrape_samples_scraped - scrape_samples_post_metric_relabeling)[10m:500ms])"
    )
    assert dropped == dict.fromkeys(observed.instances, 0)
    warnings = [line for line in observed.prometheus.log.read_text().splitlines() if "scrape" in line.lower()]
    assert not [line for line in warnings if "level=warn" in line or "level=error" in line]
