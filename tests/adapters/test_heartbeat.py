"""Heartbeats and statistics of real Celery workers, in each pool, and the exporter's values of them.

The broker and the server of the heartbeats are two, so that tasks run on while the latter is gone.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis

from exporter.collectors.queues import Queues
from exporter.collectors.workers import Workers
from exporter.heartbeats import RedisHeartbeats
from exporter.queue_keys import STATS
from exporter.spec import Summary
from exporter.state import StateFile
from exporter.worker_keys import Kinds
from servers.celery import CeleryWorker
from servers.valkey import ValkeyServer
from tests.celery_app import application, release
from tests.rows import NO_DATABASE, by_name, only, sources
from tests.waiting import until

MODULE = Path(__file__).parents[2] / "adapters" / "hivesync" / "hivesync_heartbeat.py"
POOLS = ("prefork", "threads", "solo")
KEY = "worker:heartbeat:w@here"


@pytest.fixture(scope="module")
def beats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """The server of the heartbeats."""
    with ValkeyServer(tmp_path_factory.mktemp("beats")) as server:
        yield server


class Site:
    """A worker, its broker, and the server of its heartbeats."""

    def __init__(self, broker: ValkeyServer, beats: ValkeyServer, folder: Path) -> None:
        self.broker, self.beats, self.folder = broker, beats, folder
        self.jobs = redis.Redis.from_url(broker.url, decode_responses=True)
        self.redis = redis.Redis.from_url(beats.url, decode_responses=True)
        self.app = application(broker.url)
        for client in (self.jobs, self.redis):
            client.flushall()

    def close(self) -> None:
        self.app.close()
        self.jobs.close()
        self.redis.close()

    def worker(self, pool: str = "prefork", *options: str, **settings: str) -> CeleryWorker:
        return CeleryWorker(
            self.folder,
            self.broker.url,
            app="tests.celery_app",
            queues=("ai_tasks", "preview_tasks"),
            environment={
                "PYTHONPATH": str(MODULE.parent),
                "WORKER_HEARTBEAT_REDIS_URL": self.beats.url,
                "WORKER_HEARTBEAT_SECONDS": "0.2",
                **{f"WORKER_HEARTBEAT_{name}": value for name, value in settings.items()},
            },
            options=("--include", MODULE.stem, "--pool", pool, "--hostname", "w@here", *options),
        )

    def run(self, jobs: int, queue: str = "ai_tasks") -> None:
        """Run jobs that end at once, and wait until the worker has no more."""
        for _ in range(jobs):
            self.app.send_task("hold", queue=queue)
        release(self.jobs, jobs)
        until(lambda: not self.jobs.exists("test:released"), "no job is left")

    def stats(self) -> dict[str, str]:
        return self.hash(STATS)

    def hash(self, key: str) -> dict[str, str]:
        return {str(name): str(value) for name, value in self.redis.hgetall(key).items()}

    def processed(self) -> int:
        return int(self.stats().get("processed", 0))

    def beat(self) -> dict[str, str]:
        """A new heartbeat."""
        before = self.redis.hget(KEY, "last_heartbeat")
        return until(lambda: {} if self.redis.hget(KEY, "last_heartbeat") == before else self.hash(KEY), "a heartbeat")

    def exported(self) -> dict[str, Any]:
        """The exporter's values."""
        heartbeats = RedisHeartbeats(("worker:heartbeat:*",), (), Kinds())
        workers = Workers(
            heartbeats, StateFile(self.folder, "gpu"), None, healthy_seconds=120, forgotten_seconds=86_400
        )
        queues = Queues({"ai": ("ai_queue:*",)})

        async def read() -> dict[str, Any]:
            async with sources(NO_DATABASE, self.beats.url) as opened:
                gauges = [*await workers.refresh(opened), *await queues.refresh(opened)]
                return by_name([*gauges, *queues.counters()])

        return asyncio.run(read())


@pytest.fixture
def site(valkey_server: ValkeyServer, beats_server: ValkeyServer, tmp_path: Path) -> Iterator[Site]:
    site = Site(valkey_server, beats_server, tmp_path)
    try:
        yield site
    finally:
        site.close()


@pytest.mark.parametrize("pool", POOLS)
def test_the_exporter_reads_a_worker_and_its_jobs(pool: str, site: Site) -> None:
    with site.worker(pool, "--concurrency", "3") as worker:
        until(lambda: site.redis.exists(KEY), "the first heartbeat")
        site.run(5)
        site.run(2, "preview_tasks")
        site.run(1)
        until(lambda: site.processed() == 6, "six jobs of the AI queue")
        values = site.exported()
        assert only(values, "hivesync_worker_healthy") == {"w@here,cpu": 1}
        processing = values["hivesync_queue_processing_seconds{ai}"]
        assert isinstance(processing, Summary)
        assert processing.count == 6
        assert 0 < processing.total < 60
        assert set(only(values, "hivesync_skipped_values").values()) == {0}
        assert 3600 < site.redis.ttl(KEY) <= 86_400
        worker.stop()
    assert site.redis.keys("*heartbeat*") == []
    assert site.processed() == 6
    assert "Traceback" not in worker.log.read_text()


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_is_active_while_it_works(pool: str, site: Site) -> None:
    with site.worker(pool, KIND="GPU", INSTANCE_TYPE="g5.xlarge", LIFECYCLE="spot"):
        until(lambda: site.beat()["state"] == "idle", "an idle worker")
        site.app.send_task("hold", queue="preview_tasks")
        until(lambda: site.beat()["state"] == "active", "an active worker")
        beat = site.beat()
        assert beat.keys() - {"last_heartbeat", "state"} == {"kind", "instance_type", "lifecycle"}
        release(site.jobs)
        until(lambda: site.beat()["state"] == "idle", "an idle worker")
        values = site.exported()
    assert only(values, "hivesync_gpu_worker_info") == {"w@here,g5.xlarge,spot": 1}
    assert values["hivesync_gpu_worker_state{w@here,idle}"] == 1


@pytest.mark.parametrize("pool", POOLS)
def test_jobs_run_on_while_redis_hangs_and_are_counted_once(pool: str, site: Site) -> None:
    """A server that is stopped takes commands and answers later: an addition whose answer is lost is not repeated."""
    with site.worker(pool) as worker:
        site.run(3)
        until(lambda: site.processed() == 3, "three jobs")
        os.kill(site.beats.pid, signal.SIGSTOP)
        try:
            site.run(4)
            until(lambda: "does not take this worker's statistics" in worker.log.read_text(), "a time-out")
            site.run(5)
        finally:
            os.kill(site.beats.pid, signal.SIGCONT)
        until(lambda: site.processed() == 12, "all jobs")
        site.run(1)
        until(lambda: site.processed() == 13, "one job more")
        log = worker.log.read_text()
    assert log.count("does not take this worker's statistics") == 1
    assert log.count("takes this worker's statistics again") == 1


def test_jobs_are_kept_while_redis_is_gone_and_processes_are_replaced(site: Site) -> None:
    with site.worker("prefork", "--max-tasks-per-child", "1") as worker:
        until(lambda: site.redis.exists(KEY), "the first heartbeat")
        site.beats.stop()
        site.run(1)
        until(lambda: "does not take" in worker.log.read_text(), "a refused connection")
        site.run(1)
        site.beats.start()  # without data
        until(lambda: site.processed() == 2, "the jobs meanwhile")
        until(lambda: site.redis.exists(KEY), "a heartbeat")
        assert "Traceback" not in worker.log.read_text()


def test_redis_that_is_gone_does_not_keep_a_worker_from_stopping(site: Site) -> None:
    with site.worker() as worker:
        until(lambda: site.redis.exists(KEY), "the first heartbeat")
        site.beats.stop()
        try:
            site.run(1)
            worker.stop()
        finally:
            site.beats.start()
        assert "Traceback" not in worker.log.read_text()


def test_a_killed_worker_is_shown_as_unhealthy(site: Site) -> None:
    with site.worker() as worker:
        site.beat()
        worker.kill()
    beat = site.hash(KEY)
    site.redis.hset(KEY, "last_heartbeat", float(beat["last_heartbeat"]) - 121)
    assert only(site.exported(), "hivesync_worker_healthy") == {"w@here,cpu": 0}


def test_jobs_of_a_killed_process_are_counted(site: Site) -> None:
    """The pool replaces the process; the job in its hands is lost to the statistics, all before it are not."""
    with site.worker():
        site.run(2)
        until(lambda: site.processed() == 2, "two jobs")
        site.app.send_task("hold")
        until(lambda: site.beat()["state"] == "active", "an active worker")
        os.kill(working_process(site), signal.SIGKILL)
        site.run(3)
        # Celery replaces a lost process after half a minute.
        until(lambda: site.processed() == 5, "the jobs of the next process", within=120)


def working_process(site: Site) -> int:
    """The process id of the one child of the worker's main process."""
    (main, *_) = site.app.control.inspect(timeout=10, limit=1).stats().values()
    (child,) = main["pool"]["processes"]
    return int(child)


def test_a_retry_is_one_job_with_the_time_of_both(site: Site) -> None:
    with site.worker():
        site.app.send_task("fail_once", args=[0])
        site.run(1)
        until(lambda: site.processed() == 2, "two jobs")
        site.run(1)
        until(lambda: site.processed() == 3, "a third job")


def test_statistics_that_are_not_numbers_stop_no_heartbeat(site: Site) -> None:
    site.redis.hset(STATS, mapping={"processed": "7", "processing_ms": "many"})
    with site.worker() as worker:
        site.run(2)
        until(lambda: "does not take this worker's statistics (ResponseError)" in worker.log.read_text())
        site.beat()
        assert site.stats() == {"processed": "7", "processing_ms": "many"}
        site.redis.hset(STATS, "processing_ms", "90500.5")
        until(lambda: site.processed() == 9, "both jobs")


def test_a_wrong_setting_is_logged_and_the_worker_works(site: Site) -> None:
    with site.worker("solo", REDIS_URL="redis://user:s3cret@broker:port/") as worker:
        site.run(1)
        until(lambda: "sends no heartbeats" in worker.log.read_text())
        assert "WORKER_HEARTBEAT_REDIS_URL" in worker.log.read_text()
        assert "s3cret" not in worker.log.read_text()


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location(MODULE.stem, MODULE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize(
    ("url", "connection"),
    [
        ("redis://user:p%40ss@cache:6380/2", {"host": "cache", "port": 6380, "db": 2, "password": "p@ss"}),
        ("redis://one:1/0;redis://two:2/0", {"host": "one", "port": 1}),
        ("rediss://cache/0?ssl_cert_reqs=CERT_NONE", {"host": "cache", "ssl_cert_reqs": "none"}),
        ("redis+socket:///run/redis.sock?virtual_host=/3", {"path": "/run/redis.sock", "db": 3}),
    ],
)
def test_a_url_of_celery_s_is_one_of_redis(url: str, connection: dict[str, Any], module: ModuleType) -> None:
    with module.client_of(url) as client:
        given = client.connection_pool.connection_kwargs
        assert {name: given[name] for name in connection} == connection
        assert given["retry"]._retries == 0


@pytest.mark.parametrize("url", ["amqp://user:s3cret@broker/", "sentinel://user:s3cret@one:1", "", "cache:6379"])
def test_a_broker_of_another_kind_is_named_without_its_url(url: str, module: ModuleType) -> None:
    with pytest.raises(
        ValueError, match=r"WORKER_HEARTBEAT_REDIS_URL is not set, and the broker is no single Redis"
    ) as e:
        module.client_of(url)
    assert "s3cret" not in str(e.value)


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "inf"])
def test_a_time_is_a_positive_number(given: str, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_HEARTBEAT_SECONDS", given)
    with pytest.raises(ValueError, match="WORKER_HEARTBEAT_SECONDS should be a number of seconds"):
        module.seconds_of("SECONDS", 10)


def test_what_finds_no_room_in_the_pipe_goes_with_the_next_job(module: ModuleType) -> None:
    ended = module.Ended()
    for _ in range(10_000):
        ended.add(1, 3)
    assert ended.read() == (10_000, 30_000)
    assert ended.read() == (0, 0)


def test_the_broker_is_the_default_server(site: Site) -> None:
    with site.worker("solo", REDIS_URL=""):
        until(lambda: site.jobs.exists(KEY), "a heartbeat in the broker")


def test_the_module_stands_alone_on_python_3_9() -> None:
    tree = ast.parse(MODULE.read_text(), feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - sys.stdlib_module_names == {"celery", "redis"}
